/* Processes served to clients: the event loop of the shim, of a VM's keeper and of the guest's agent.
 *
 * connections × processes. One main process (performed plan → READY → START → STARTED → output → EXIT) and up to
 * MAX_EXECS further ones, each the child of whoever runs the loop. It knows nothing of paths, logs, records or
 * undo lists: its owner gives it hooks. All memory is in struct server (static in its owner) and in maps that go
 * back when idle.
 *
 *	server_init(&server, &host, &hooks);
 *	server_adopt(&server, fd, true);          the client that starts the workload: lossless
 *	server_prepare(&server, plan);            or server.accepts_plan: PLAN frames bring it
 *	server_run(&server);                      until everything is over and sent
 */
#ifndef TWINHULL_SERVER_H
#define TWINHULL_SERVER_H

#include <poll.h>

#include "connection.h"
#include "spawn.h"

#define MAX_EXECS 64
#define MAX_CONNECTIONS 64
#define NO_STREAM 0xffffffffu
/* How long a process's outputs may stay open after its end (a descendant may keep them). */
#define DRAIN_MS 2000
/* How long clients other than the first have to take what is theirs at the very end. */
#define FAREWELL_MS 2000

enum process_state {
	PROCESS_NONE,
	PROCESS_PREPARED, /* the plan is performed; waits for START */
	PROCESS_RUNNING,
	PROCESS_ENDED, /* reaped; outputs may still hold bytes */
};

struct process {
	enum process_state state;
	uint32_t stream;
	struct child child;
	struct connection *owner; /* an exec's client. NULL: the main process, or an exec that was detached */
	uint32_t credit;          /* an exec's: bytes of output that its owner may be sent */
	uint32_t window;          /* an exec's: bytes of stdin that its owner may send */
	uint32_t unpaid;

	struct ring input;         /* stdin that the process has not taken yet */
	struct connection *source; /* whose bytes they are */
	bool input_ended;          /* close stdin once input is empty */

	bool open[2]; /* stdout or terminal, stderr */
	bool eof_sent;
	bool overdue; /* DRAIN_MS after its end: read what is left[] and no more */
	size_t left[2];
	int64_t drain_until_ms;
	struct exit_status status;
	bool thaws; /* a tool: the workload is frozen until it has ended */
};

enum outcome_kind {
	OUTCOME_EXITED,
	OUTCOME_FAILED,    /* the plan, or exec */
	OUTCOME_ABANDONED, /* the starting client went away before START */
};

struct outcome {
	enum outcome_kind kind;
	bool start_received;       /* START had come: the engine has committed */
	struct exit_status status; /* EXITED; settle may change it (a VM's is its guest's) */
	struct failure failure;    /* FAILED */
};

struct server;

/* Any of them may be NULL. */
struct server_hooks {
	void *context;
	/* Say HELLO to a new client; NULL: the protocol's version and no more. */
	void (*greet)(void *context, struct connection *client);
	/* Output of the main process (FRAME_STDOUT or FRAME_STDERR), before any client gets it. */
	void (*output)(void *context, uint16_t kind, const uint8_t *data, size_t length);
	/* A main plan that came as PLAN frames, before its child is made: 0, or -errno with why filled in. */
	int (*plan)(void *context, const struct plan *plan, struct failure *why);
	/* The main process's child waits for START: 0, or -errno with why filled in. */
	int (*prepared)(void *context, const struct plan *plan, struct failure *why);
	/* The main process has exec'ed; STARTED is queued for the starting client. */
	void (*started)(void *context);
	/* Exactly once, when it is clear how the main process ended; EXIT or ERROR goes out after it. */
	void (*settle)(void *context, struct outcome *outcome);
	/* Fill in a JSON object; its length, 0: none. */
	size_t (*stats)(void *context, char *text, size_t size);
	/* Nothing moved for a second: give memory back. */
	void (*rest)(void *context);
	/* Frames the server does not know (TIME, SEED, EXIT …): 0, or an error that drops the connection. */
	frame_handler *request;
};

struct server {
	/* Set by the owner between server_init and server_run. */
	struct host *host;
	struct server_hooks hooks;
	int listen_fd;         /* -1: no further clients */
	uint32_t main_stream;  /* 0; a VM's keeper: NO_STREAM */
	bool accepts_plan;     /* the starting client sends the main plan as PLAN frames */
	bool starter_is_vital; /* without the starting client the main process is killed (a VM's relay) */

	/* The server's own. */
	struct process main;
	struct process execs[MAX_EXECS];
	struct connection connections[MAX_CONNECTIONS];
	struct connection *starter; /* NULL once it is gone */
	struct outcome outcome;
	bool settled;  /* hooks.settle was called */
	bool farewell; /* the last frames are queued */
	bool frozen;
	bool held; /* HOLD: the workload stands still, and nothing of it is read or told */
	bool busy; /* something moved since the last rest */
	int64_t farewell_until_ms;
	uint8_t *chunk;    /* MAX_PAYLOAD, mapped while output flows */
	struct plan *plan; /* that is being performed, mapped until the next rest */
};

void server_init(struct server *server, struct host *host, const struct server_hooks *hooks);

/* Make a client of fd (made non-blocking) and greet it with HELLO. NULL: too many, fd is closed. */
struct connection *server_adopt(struct server *server, int fd, bool starter);
/* Take a client out of the loop once its queue is written; its descriptor, for another process to serve it. */
int server_release(struct server *server, struct connection *connection);

/* Clone the main process and perform its plan: READY to the starting client, or failed (-errno). */
int server_prepare(struct server *server, const struct plan *plan);
/* The workload cannot start: settles and tells the starting client. server_run then only says good-bye. */
void server_fail(struct server *server, const struct failure *why);

/* The loop, until the workload is over and every client knows; how it ended. */
enum outcome_kind server_run(struct server *server);
/* One turn of it, waiting at most wait_ms (-1: no limit). False when everything is over. */
bool server_turn(struct server *server, int wait_ms);
/* Close every client's descriptor; server_run does it itself. */
void server_close(struct server *server);

/* Signal the main process, or with all every process of its cgroup. */
int server_signal(struct server *server, int signal, bool all);
#endif
