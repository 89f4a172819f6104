/* `launcher oci`: start, state, kill and delete of twinhull-oci without an interpreter. It does what goes well;
 * whatever else there may be to do or to say is the interpreter's, which is then started in our place with the same
 * words. */
#ifndef TWINHULL_FRONT_H
#define TWINHULL_FRONT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define FRONT_ARGUMENT "oci " /* how argv[1] begins: the rest is the interpreter's path */

/* Not done, and nothing was changed that the interpreter would miss. */
#define LEAVE_IT (-1)

enum front_state { STATE_CREATED, STATE_RUNNING, STATE_PAUSED, STATE_STOPPED };

/* A container's directory and its record, as runtime/oci/record.py writes it. */
struct container {
	int directory;
	char *record; /* mapped; the texts below lie in it */
	size_t length;
	pid_t pid;
	unsigned long long start_time; /* ticks after boot */
	const char *unified;           /* directory of the v2 group, "" for none */
	const char *freezer;           /* of v1's freezer group, "" for none */
	const char *marks;             /* a letter for each thing that is to be left to the interpreter */
	const char *head, *tail;       /* the state document before its status, and from there to its pid */
};

/* marks */
#define MARK_POSTSTART 's'
#define MARK_POSTSTOP 'p'
#define MARK_SHARES_PIDS 'g'
#define MARK_GUEST 'v'

/* Open ROOT/ID and read its record. Returns 0 or -errno; -ENOENT: there is no such
 * container, -EAGAIN: it is not complete. */
int container_open(const char *root, const char *id, bool locks, struct container *container);

enum front_state container_state(const struct container *container);
bool container_lives(const struct container *container);
bool container_is(const struct container *container, char mark);

/* The verbs return an exit status, or LEAVE_IT. */
int front_start(const char *root, const char *id);
int front_state(const char *root, const char *id);
int front_kill(const char *root, const char *id, const char *signal, bool everyone);
int front_delete(const char *root, const char *id, bool force);

int front_main(int argc, char **argv);

#endif
