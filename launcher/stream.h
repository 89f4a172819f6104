/* The bytes of one process: its stdin, its outputs, its end. Internal to the server. */
#ifndef TWINHULL_STREAM_H
#define TWINHULL_STREAM_H

#include "server.h"

/* child is filled in: take it over as PREPARED. */
void stream_begin(struct process *process, uint32_t stream, struct connection *owner);
/* Kill what there is and free the slot, without a word to anybody. */
void stream_discard(struct process *process);

/* stdin: of the process, or -1. */
int stream_input_fd(const struct process *process);
/* A STDIN frame: 0, -EAGAIN, or -EBADMSG when it exceeds the client's credit. */
int stream_take(struct process *process, struct connection *from, const struct frame *frame);
/* Write pending input as far as the process takes it. */
void stream_push(struct process *process);
/* No more input will come. */
void stream_end_input(struct process *process);
/* A client is gone: its input stays, nobody is paid for it. */
void stream_forget(struct process *process, const struct connection *gone);

int stream_output_fd(const struct process *process, int which);
/* Bytes of output that can be taken now. */
uint32_t stream_room(const struct server *server, const struct process *process, int which);
/* Read once and hand it to the log and the clients. */
void stream_pull(struct server *server, struct process *process, int which);
bool stream_outputs_open(const struct process *process);
/* Nobody waits longer than for what lies in the pipes now. */
void stream_overdue(struct server *server, struct process *process);
/* EOF to the clients, once. */
void stream_send_eof(struct server *server, struct process *process);

/* The process has become waitable: take its status. False: not yet. */
bool stream_reap(struct server *server, struct process *process);
int stream_signal(const struct process *process, int signal);

int64_t now_ms(void);

#endif
