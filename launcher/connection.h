/* One client: frames over a descriptor (a socket, or a guest's port), and its share of the main process's output.
 *
 * The client that started the workload is lossless: whoever produces output asks connection_room first, and stops
 * reading its source when there is none. Any other client has a backlog of BACKLOG_BYTES and is cut off beyond it.
 * The server and a VM's relay use it alike.
 */
#ifndef TWINHULL_CONNECTION_H
#define TWINHULL_CONNECTION_H

#include "frames.h"
#include "plan.h"
#include "ring.h"

#define BACKLOG_BYTES (1u << 20)
#define IN_BYTES (4u * MAX_PAYLOAD)
#define OUT_BYTES (8u * MAX_PAYLOAD)
/* Kept free in the queue for answers, so that output alone never fills it. */
#define OUT_RESERVE_BYTES (MAX_PAYLOAD + 4096u)

struct exit_status {
	uint32_t code; /* as a shell shows it: 128+n after signal n */
	uint32_t signal;
	bool oom;
};

struct connection {
	int fd;       /* non-blocking; -1: no client here */
	bool broken;  /* to be dropped by the loop that owns it */
	bool deaf;    /* it takes no more; what it said before is still read */
	bool closing; /* to be dropped once its queue is written */
	bool stalled; /* a complete frame waits for the handler or for room in the queue */

	/* The main process's output. */
	bool attached;
	bool lossless;
	uint32_t credit; /* bytes of it that may be sent */
	struct ring backlog;
	bool waiting; /* wants EXIT though it is not attached */

	/* The main process's input. */
	bool has_stdin;
	uint32_t window; /* bytes that the client may still send */
	uint32_t unpaid; /* bytes taken, not yet given back as CREDIT */

	/* A plan that arrives in chunks (PLAN, EXEC). */
	uint8_t *plan;
	size_t plan_length;
	uint32_t plan_stream;

	struct ring out;
	uint8_t *in; /* IN_BYTES, mapped on first use */
	size_t in_used;
};

/* Called once a frame. 0; -EAGAIN: not now, offer it again later; any other error drops the connection. */
typedef int frame_handler(void *context, struct connection *from, const struct frame *frame);

void connection_open(struct connection *connection, int fd);
void connection_close(struct connection *connection);
/* Give back what a client at rest does not need. */
void connection_rest(struct connection *connection);

/* Read what is there and hand every complete frame over; sets broken at the end of file and on errors. */
void connection_receive(struct connection *connection, frame_handler *handler, void *context);
/* As receive, for what was read before and put back with -EAGAIN. */
void connection_dispatch(struct connection *connection, frame_handler *handler, void *context);

/* Send or queue a frame; a client that does not read its answers is broken. */
void connection_send(struct connection *connection, uint32_t stream, uint16_t kind, const void *payload,
                     uint32_t length);
void connection_send_flags(struct connection *connection, uint32_t stream, uint16_t kind, uint16_t flags);
void connection_send_u32(struct connection *connection, uint32_t stream, uint16_t kind, uint32_t value);
void connection_send_error(struct connection *connection, uint32_t stream, const struct failure *why);
void connection_send_exit(struct connection *connection, uint32_t stream, const struct exit_status *status);
/* Write what is queued as far as the client takes it, and move the backlog up as far as credit allows. */
void connection_flush(struct connection *connection);
/* Nothing of ours is left to send, or nobody to take it. */
bool connection_idle(const struct connection *connection);
/* It may be read: its answers have room. */
bool connection_readable(const struct connection *connection);

/* Bytes of output that fit under `credit` into this client's queue now. */
uint32_t connection_room(const struct connection *connection, uint32_t credit);
/* Make it a later client of the main process's output. */
void connection_attach(struct connection *connection, bool lossless);
void connection_detach(struct connection *connection);
/* The main process's frame (STDOUT, STDERR, EOF, EXIT) to an attached client, in order, under its credit. */
void connection_publish(struct connection *connection, uint32_t stream, uint16_t kind, const void *payload,
                        uint32_t length);

/* Append a chunk of a plan; -EBADMSG when it belongs to another stream or is too large. */
int connection_plan_chunk(struct connection *connection, const struct frame *frame);
void connection_plan_drop(struct connection *connection);

/* Connect a listening socket named `name` in a directory; -errno. */
int listen_at(int directory_fd, const char *name);
/* Accept one client whose user is root or ours: its descriptor, non-blocking; -errno. */
int accept_trusted(int listen_fd);

#endif
