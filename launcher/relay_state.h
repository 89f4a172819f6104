/* What the parts of the relay share. Internal to relay*.c. */
#ifndef TWINHULL_RELAY_STATE_H
#define TWINHULL_RELAY_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "connection.h"
#include "console.h"
#include "log.h"
#include "relay.h"
#include "ring.h"
#include "server.h"

#define SEED_BYTES 48
#define MAX_RUNS 256
/* CREDIT goes back in steps, as in stream.c. */
#define REPAY_BYTES MAX_PAYLOAD
/* How long a guest may take to obey SIGKILL before its machine is switched off. */
#define KILL_GRACE_MS 3000

/* An exec: a client's stream and the guest's, which all clients' execs share. */
struct link {
	struct connection *client; /* NULL: free */
	uint32_t stream;           /* the client's number */
	uint32_t guest_stream;     /* ours, never used twice */
	uint32_t credit;           /* bytes of output that the guest may still send */
	uint32_t window;           /* bytes of stdin that the client may still send */
};

/* Output of the main process that its first client has no room for yet: bytes, and whose they are. */
struct held {
	struct ring bytes;
	struct {
		uint16_t kind;
		uint32_t length;
	} runs[MAX_RUNS];
	size_t first, count;
};

/* stdin of the main process that the guest has no room for yet. */
struct input {
	struct ring bytes;
	struct connection *source;
	uint32_t window; /* bytes that the guest takes */
	bool ended, end_sent;
};

/* A question that somebody else answers: one at a time. */
struct question {
	struct connection *asker; /* NULL while open: gone meanwhile */
	bool open;
};

/* A guest that is held so that its machine can be copied. Between its answer and RESUME nothing is on the way. */
struct hold {
	struct connection *asker; /* NULL while open: gone meanwhile */
	bool open;
	bool answered;
	size_t left; /* bytes of what is queued for the guest that may still go out: up to HOLD */
};

struct state {
	struct connection guest, keeper, clients[MAX_CONNECTIONS];
	struct connection *starter; /* NULL once it is gone */
	bool starter_is_vital;      /* the workload ends with it */
	int listen_fd, console_fds[2];

	struct link links[MAX_EXECS];
	uint32_t next_stream;
	struct connection *planner; /* whose PLAN or EXEC is on its way in chunks */
	uint32_t planner_stream;    /* the guest's number for it */

	struct held held;
	uint32_t output_credit, output_unpaid; /* of the guest's main process */
	bool eof_received, eof_sent;
	struct input input;
	struct question ping, control; /* of the guest, of the keeper */
	struct hold hold;

	bool greeted, seeded, start_sent, started;
	bool kill_sent;
	int64_t kill_until_ms; /* 0: nobody has asked for SIGKILL */
	bool told;             /* the guest has said how it ended: status, or failure */
	bool failed;
	struct exit_status status;
	struct failure failure;
	bool over; /* the keeper has written the record and undone everything */
	bool farewell;
	int64_t farewell_until_ms;

	struct log log;
	struct console console;
	uint8_t seed[SEED_BYTES];
	uint8_t chunk[MAX_PAYLOAD];
};

/* relay.c */
/* Queue a frame for the guest. 0, also when there is no guest any more, or -EAGAIN. */
int relay_to_guest(struct state *state, uint32_t stream, uint16_t kind, uint16_t flags, const void *payload,
                   uint32_t length);
/* Ask the keeper to end QEMU, once. */
void relay_switch_off(struct state *state);
void relay_forget_link(struct link *link);
/* Write what is queued for the guest; while it is held, what was queued after HOLD waits. */
void relay_flush_guest(struct state *state);
/* Whoever had the guest held is done with it, or gone: it goes on once it has answered. */
void relay_let_go_on(struct state *state);

/* relay_client.c */
frame_handler relay_client_frame;
/* Everything that hangs on a client, undone; its slot is free afterwards. */
void relay_client_drop(struct state *state, struct connection *client);
/* Hand pending stdin to the guest as far as it takes it. */
void relay_pump_input(struct state *state);

/* relay_guest.c */
frame_handler relay_guest_frame;
/* Hand pending output to the clients as far as the first one takes it. */
void relay_pump_output(struct state *state);

/* relay_confine.c: give up everything but these descriptors. Returns 0 or -errno. */
int relay_confine(int directory_fd, int *keep, size_t count);

#endif
