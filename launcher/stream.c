#define _GNU_SOURCE
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "descriptor.h"
#include "kernel.h"

#define PIPE_BYTES (256 << 10)
/* CREDIT goes back in steps, not for each key that is pressed. */
#define REPAY_BYTES MAX_PAYLOAD
/* A file system that does not answer, or a workload that stops our child, must not stop us at its exec. */
#define START_TIMEOUT_S 30

int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int stream_input_fd(const struct process *process)
{
	return process->child.tty >= 0 ? process->child.tty : process->child.io[0];
}

int stream_output_fd(const struct process *process, int which)
{
	if (process->child.tty >= 0)
		return which == 0 ? process->child.tty : -1;
	return process->child.io[1 + which];
}

static void prepare_fd(int fd)
{
	if (fd < 0)
		return;
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES); /* fewer wake-ups; on anything but a pipe it only fails */
}

void stream_begin(struct process *process, uint32_t stream, struct connection *owner)
{
	process->state = PROCESS_PREPARED;
	process->stream = stream;
	process->owner = owner;
	process->credit = INITIAL_CREDIT;
	process->window = INITIAL_CREDIT;
	ring_init(&process->input, INITIAL_CREDIT);
	struct timeval limit = {.tv_sec = START_TIMEOUT_S};
	setsockopt(process->child.status_fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	prepare_fd(process->child.tty);
	for (int i = 0; i < 3; i++)
		prepare_fd(process->child.io[i]);
	for (int which = 0; which < 2; which++)
		process->open[which] = stream_output_fd(process, which) >= 0;
}

int stream_signal(const struct process *process, int signal)
{
	if (process->state != PROCESS_PREPARED && process->state != PROCESS_RUNNING)
		return -ESRCH;
	return sys_pidfd_send_signal(process->child.pidfd, signal);
}

void stream_discard(struct process *process)
{
	if (process->state == PROCESS_NONE)
		return;
	if (process->state != PROCESS_ENDED) {
		siginfo_t info;
		stream_signal(process, SIGKILL);
		while (waitid((idtype_t)P_PIDFD, (id_t)process->child.pidfd, &info, WEXITED) < 0 && errno == EINTR)
			;
	}
	child_close(&process->child);
	ring_release(&process->input);
	process->state = PROCESS_NONE;
	process->owner = NULL;
	process->source = NULL;
	process->input_ended = process->eof_sent = process->overdue = false;
	process->open[0] = process->open[1] = false;
}

/* The window and the debt of a client's input: an exec has its own, the main process one for each client. */
static uint32_t *window_of(struct process *process, struct connection *client)
{
	return process->owner ? &process->window : &client->window;
}

static void repay(struct process *process, struct connection *client, size_t bytes)
{
	if (!client)
		return;
	uint32_t *unpaid = process->owner ? &process->unpaid : &client->unpaid;
	*unpaid += (uint32_t)bytes;
	if (*unpaid < REPAY_BYTES)
		return;
	*window_of(process, client) += *unpaid;
	connection_send_u32(client, process->stream, FRAME_CREDIT, *unpaid);
	*unpaid = 0;
}

static void drop_input(struct process *process)
{
	repay(process, process->source, process->input.used);
	ring_release(&process->input);
	process->source = NULL;
	process->input_ended = true;
	fd_close(&process->child.io[0]);
}

int stream_take(struct process *process, struct connection *from, const struct frame *frame)
{
	uint32_t *window = window_of(process, from);
	if (frame->length > *window)
		return -EBADMSG;
	if (process->input.used && process->source != from)
		return -EAGAIN; /* another client's bytes come first */
	if (ring_room(&process->input) < frame->length)
		return -EAGAIN; /* of a copy, whose client knows nothing of what lies there */
	*window -= frame->length;
	process->source = from;
	int fd = stream_input_fd(process);
	if (fd < 0 || process->input_ended) {
		repay(process, from, frame->length);
		return 0;
	}
	ssize_t written = process->input.used ? 0 : write(fd, frame->payload, frame->length);
	if (written < 0 && errno != EAGAIN && errno != EINTR) {
		repay(process, from, frame->length);
		drop_input(process);
		return 0;
	}
	size_t done = written < 0 ? 0 : (size_t)written;
	repay(process, from, done);
	if (done < frame->length)
		return ring_put(&process->input, frame->payload + done, frame->length - done);
	return 0;
}

void stream_push(struct process *process)
{
	ssize_t written = ring_write(&process->input, stream_input_fd(process));
	if (written > 0)
		repay(process, process->source, (size_t)written);
	if (written < 0 || (process->input_ended && !process->input.used))
		drop_input(process);
}

void stream_end_input(struct process *process)
{
	/* A terminal has no end: it stays for whoever attaches next. */
	if (process->state == PROCESS_NONE || process->child.tty >= 0)
		return;
	process->input_ended = true;
	if (!process->input.used)
		drop_input(process);
}

void stream_forget(struct process *process, const struct connection *gone)
{
	if (process->source == gone)
		process->source = NULL;
}

bool stream_outputs_open(const struct process *process)
{
	return process->open[0] || process->open[1];
}

uint32_t stream_room(const struct server *server, const struct process *process, int which)
{
	if (!process->open[which])
		return 0;
	const struct connection *client = process->owner;
	uint32_t credit = process->credit;
	if (process == &server->main) {
		client = server->starter && server->starter->attached ? server->starter : NULL;
		credit = client ? client->credit : 0;
	}
	uint32_t room = client && !client->broken && !client->deaf ? connection_room(client, credit) : MAX_PAYLOAD;
	if (process->overdue && process->left[which] < room)
		room = (uint32_t)process->left[which];
	return room;
}

static void deliver(struct server *server, struct process *process, uint16_t kind, uint32_t length)
{
	if (process != &server->main) {
		if (!process->owner)
			return;
		process->credit -= length;
		connection_send(process->owner, process->stream, kind, server->chunk, length);
		return;
	}
	if (server->hooks.output)
		server->hooks.output(server->hooks.context, kind, server->chunk, length);
	for (size_t i = 0; i < MAX_CONNECTIONS; i++)
		if (server->connections[i].attached)
			connection_publish(&server->connections[i], process->stream, kind, server->chunk, length);
}

static void close_output(struct server *server, struct process *process, int which)
{
	process->open[which] = false;
	fd_close(&process->child.io[1 + which]); /* a terminal's master stays open: closing it hangs up */
	if (!stream_outputs_open(process))
		stream_send_eof(server, process);
}

void stream_pull(struct server *server, struct process *process, int which)
{
	uint32_t room = stream_room(server, process, which);
	if (!room || (!server->chunk && !(server->chunk = map_memory(MAX_PAYLOAD))))
		return;
	ssize_t got = read(stream_output_fd(process, which), server->chunk, room);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) { /* EIO: the terminal's other side is closed */
		close_output(server, process, which);
		return;
	}
	deliver(server, process, which == 0 ? FRAME_STDOUT : FRAME_STDERR, (uint32_t)got);
	if (process->overdue && (process->left[which] -= (size_t)got) == 0)
		close_output(server, process, which);
}

void stream_overdue(struct server *server, struct process *process)
{
	process->overdue = true;
	for (int which = 0; which < 2; which++) {
		int pending = 0;
		if (!process->open[which])
			continue;
		ioctl(stream_output_fd(process, which), FIONREAD, &pending);
		process->left[which] = (size_t)(pending > 0 ? pending : 0);
		if (!process->left[which])
			close_output(server, process, which);
	}
}

void stream_send_eof(struct server *server, struct process *process)
{
	if (process->eof_sent)
		return;
	process->eof_sent = true;
	if (process->owner)
		connection_send(process->owner, process->stream, FRAME_EOF, NULL, 0);
	if (process != &server->main)
		return;
	for (size_t i = 0; i < MAX_CONNECTIONS; i++)
		if (server->connections[i].attached)
			connection_publish(&server->connections[i], process->stream, FRAME_EOF, NULL, 0);
}

bool stream_reap(struct server *server, struct process *process)
{
	siginfo_t info = {0};
	if (waitid((idtype_t)P_PIDFD, (id_t)process->child.pidfd, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
		return false;
	uint32_t status = (uint32_t)info.si_status;
	bool killed = info.si_code != CLD_EXITED;
	process->status = (struct exit_status){.code = killed ? 128 + status : status, .signal = killed ? status : 0};
	if (killed && status == SIGKILL)
		process->status.oom = host_oom(server->host) == 1;
	process->state = PROCESS_ENDED;
	process->drain_until_ms = now_ms() + DRAIN_MS;
	fd_close(&process->child.pidfd);
	drop_input(process);
	return true;
}
