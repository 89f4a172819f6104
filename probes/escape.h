/* Known ways out of a container, each tried so that nothing happens where it is open.
 *
 * A trial returns 0 where the way is open, NOT_TRIED, or the errno that closed it. Three kinds are used, and each
 * trial says which is its own:
 *   - look: something is opened, listed or connected to, and closed again; nothing is written through it;
 *   - past the check: a call whose arguments cannot succeed, made so that the kernel looks at the caller's
 *     privileges first. EPERM: refused. The error of the arguments: the privileges would have sufficed;
 *   - own process: something is done to the trial's own process, which ends with the trial. */
#pragma once

#include <stddef.h>

#define NOT_TRIED (-1)
#define DETAIL_BYTES 160

/* What of the host the trials may aim at. */
struct host {
	const char *address; /* a listening socket of the comparison's; NULL: there is none */
	int port;
	const char *process; /* the one process to look at, where strangers can be seen; NULL: every one */
};

struct trial {
	const char *name;
	int (*run)(const struct host *host, char *detail);
};

/* Each ends with an entry without a name. */
extern const struct trial file_trials[];
extern const struct trial call_trials[];
extern const struct trial network_trials[];

void say(char *detail, const char *format, ...) __attribute__((format(printf, 2, 3)));
int look_at(const char *path, int flags, char *detail);
void report_foreign_programs(void);
void report_sharing(const char *directory);
