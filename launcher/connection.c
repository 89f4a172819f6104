#define _GNU_SOURCE
#include "connection.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define LISTEN_BACKLOG 64

void connection_open(struct connection *connection, int fd)
{
	int flags = fcntl(fd, F_GETFL);
	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	*connection = (struct connection){.fd = fd, .window = INITIAL_CREDIT};
	ring_init(&connection->out, OUT_BYTES);
	ring_init(&connection->backlog, BACKLOG_BYTES);
}

void connection_close(struct connection *connection)
{
	close(connection->fd);
	ring_release(&connection->out);
	ring_release(&connection->backlog);
	unmap_memory(connection->in, IN_BYTES);
	connection_plan_drop(connection);
	*connection = (struct connection){.fd = -1};
}

void connection_rest(struct connection *connection)
{
	ring_rest(&connection->out);
	ring_rest(&connection->backlog);
	if (connection->in && !connection->in_used) {
		unmap_memory(connection->in, IN_BYTES);
		connection->in = NULL;
	}
}

void connection_dispatch(struct connection *connection, frame_handler *handler, void *context)
{
	size_t at = 0;
	connection->stalled = false;
	while (!connection->broken && at < connection->in_used) {
		struct frame frame;
		int size = frame_parse(connection->in + at, connection->in_used - at, &frame);
		if (size == 0)
			break;
		int result = size;
		if (size > 0)
			result = ring_room(&connection->out) < OUT_RESERVE_BYTES ? -EAGAIN
			                                                         : handler(context, connection, &frame);
		if (result == -EAGAIN) {
			connection->stalled = true;
			break;
		}
		if (result < 0)
			connection->broken = true;
		else
			at += (size_t)size;
	}
	if (at) {
		connection->in_used -= at;
		memmove(connection->in, connection->in + at, connection->in_used);
	}
}

void connection_receive(struct connection *connection, frame_handler *handler, void *context)
{
	if (!connection->in && !(connection->in = map_memory(IN_BYTES))) {
		connection->broken = true;
		return;
	}
	ssize_t got = read(connection->fd, connection->in + connection->in_used, IN_BYTES - connection->in_used);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		connection->broken = true;
		return;
	}
	connection->in_used += (size_t)got;
	connection_dispatch(connection, handler, context);
}

bool connection_readable(const struct connection *connection)
{
	return !connection->broken && !connection->closing && !connection->stalled &&
	       ring_room(&connection->out) >= OUT_RESERVE_BYTES;
}

/* Write directly when nothing is queued: output then crosses this process without another copy. */
static ssize_t write_now(struct connection *connection, const uint8_t *header, const void *payload, size_t length)
{
	if (connection->out.used)
		return 0;
	struct iovec parts[2] = {{(void *)(uintptr_t)header, FRAME_HEADER_BYTES}, {(void *)(uintptr_t)payload, length}};
	ssize_t written = writev(connection->fd, parts, length ? 2 : 1);
	if (written < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	return written;
}

/* Its end may be reached only after words of its own (EXIT, say), so that is for the reader to find. */
static void turn_deaf(struct connection *connection)
{
	connection->deaf = true;
	ring_release(&connection->out);
	ring_release(&connection->backlog);
	connection->broken = connection->broken || connection->closing;
}

static void send_frame(struct connection *connection, const uint8_t *header, const void *payload, uint32_t length)
{
	if (connection->broken || connection->deaf || connection->closing)
		return;
	ssize_t written = write_now(connection, header, payload, length);
	if (written < 0) {
		turn_deaf(connection);
		return;
	}
	size_t done = (size_t)written;
	if (FRAME_HEADER_BYTES + length - done > ring_room(&connection->out)) {
		connection->broken = true;
		return;
	}
	int result = 0;
	if (done < FRAME_HEADER_BYTES) {
		result = ring_put(&connection->out, header + done, FRAME_HEADER_BYTES - done);
		done = FRAME_HEADER_BYTES;
	}
	size_t sent = done - FRAME_HEADER_BYTES;
	if (result == 0 && sent < length)
		result = ring_put(&connection->out, (const uint8_t *)payload + sent, length - sent);
	if (result < 0)
		connection->broken = true;
}

void connection_send(struct connection *connection, uint32_t stream, uint16_t kind, const void *payload,
                     uint32_t length)
{
	uint8_t header[FRAME_HEADER_BYTES];
	frame_header(header, stream, kind, 0, length);
	send_frame(connection, header, payload, length);
}

void connection_send_flags(struct connection *connection, uint32_t stream, uint16_t kind, uint16_t flags)
{
	uint8_t header[FRAME_HEADER_BYTES];
	frame_header(header, stream, kind, flags, 0);
	send_frame(connection, header, NULL, 0);
}

void connection_send_u32(struct connection *connection, uint32_t stream, uint16_t kind, uint32_t value)
{
	uint8_t payload[4];
	put_u32(payload, value);
	connection_send(connection, stream, kind, payload, sizeof(payload));
}

void connection_send_error(struct connection *connection, uint32_t stream, const struct failure *why)
{
	uint8_t payload[12 + sizeof(why->text)];
	put_u32(payload, why->index);
	put_u32(payload + 4, (uint32_t)why->error);
	put_u32(payload + 8, why->exit_code);
	size_t length = strnlen(why->text, sizeof(why->text));
	memcpy(payload + 12, why->text, length);
	connection_send(connection, stream, FRAME_ERROR, payload, (uint32_t)(12 + length));
}

static void exit_payload(uint8_t payload[12], const struct exit_status *status)
{
	put_u32(payload, status->code);
	put_u32(payload + 4, status->signal);
	put_u32(payload + 8, status->oom);
}

void connection_send_exit(struct connection *connection, uint32_t stream, const struct exit_status *status)
{
	uint8_t payload[12];
	exit_payload(payload, status);
	if (connection->attached)
		connection_publish(connection, stream, FRAME_EXIT, payload, sizeof(payload));
	else
		connection_send(connection, stream, FRAME_EXIT, payload, sizeof(payload));
}

static bool is_output(uint16_t kind)
{
	return kind == FRAME_STDOUT || kind == FRAME_STDERR;
}

/* Move frames from the backlog into the queue, as far as credit and room allow. */
static void promote(struct connection *connection)
{
	struct ring *backlog = &connection->backlog;
	while (backlog->used && !connection->broken) {
		uint8_t header[FRAME_HEADER_BYTES];
		struct frame frame;
		ring_peek(backlog, header, sizeof(header));
		frame_parse(header, sizeof(header), &frame);
		size_t size = FRAME_HEADER_BYTES + frame.length;
		if (ring_room(&connection->out) < size + OUT_RESERVE_BYTES)
			return;
		if (is_output(frame.kind)) {
			if (connection->credit < frame.length)
				return;
			connection->credit -= frame.length;
		}
		if (ring_move(backlog, &connection->out, size) < 0)
			connection->broken = true;
	}
}

void connection_flush(struct connection *connection)
{
	ssize_t written;
	do {
		promote(connection);
		written = ring_write(&connection->out, connection->fd);
	} while (written > 0);
	if (written < 0)
		turn_deaf(connection);
	else if (connection->closing && !connection->out.used)
		connection->broken = true;
}

bool connection_idle(const struct connection *connection)
{
	return connection->broken || (!connection->out.used && !connection->backlog.used);
}

uint32_t connection_room(const struct connection *connection, uint32_t credit)
{
	size_t room = ring_room(&connection->out);
	if (room < OUT_RESERVE_BYTES + MAX_PAYLOAD + FRAME_HEADER_BYTES)
		return 0;
	return credit < MAX_PAYLOAD ? credit : MAX_PAYLOAD;
}

void connection_attach(struct connection *connection, bool lossless)
{
	connection->attached = true;
	connection->lossless = lossless;
	connection->credit = INITIAL_CREDIT;
}

void connection_detach(struct connection *connection)
{
	connection->attached = false;
	connection->lossless = false;
	connection->has_stdin = false;
	ring_release(&connection->backlog);
}

/* A client that does not keep up is told so and dropped; the workload does not wait for it. */
static void cut_off(struct connection *connection, uint32_t stream)
{
	struct failure why = {.index = UINT32_MAX,
	                      .error = ENOBUFS,
	                      .exit_code = 125,
	                      .text = "attach: output came faster than it was read"};
	connection_detach(connection);
	connection_send_error(connection, stream, &why);
	connection->closing = true;
}

void connection_publish(struct connection *connection, uint32_t stream, uint16_t kind, const void *payload,
                        uint32_t length)
{
	if (connection->deaf)
		return;
	uint32_t cost = is_output(kind) ? length : 0;
	bool queue = connection->backlog.used || cost > connection->credit ||
	             ring_room(&connection->out) < FRAME_HEADER_BYTES + length + OUT_RESERVE_BYTES;
	if (connection->lossless || !queue) {
		connection->credit -= cost < connection->credit ? cost : connection->credit;
		connection_send(connection, stream, kind, payload, length);
		return;
	}
	uint8_t header[FRAME_HEADER_BYTES];
	frame_header(header, stream, kind, 0, length);
	if (ring_room(&connection->backlog) < sizeof(header) + length) {
		cut_off(connection, stream);
		return;
	}
	if (ring_put(&connection->backlog, header, sizeof(header)) < 0 ||
	    (length && ring_put(&connection->backlog, payload, length) < 0))
		connection->broken = true;
}

int connection_plan_chunk(struct connection *connection, const struct frame *frame)
{
	if (connection->plan_length && connection->plan_stream != frame->stream)
		return -EBADMSG;
	if (frame->length > MAX_PLAN_BYTES - connection->plan_length)
		return -EBADMSG;
	if (!connection->plan && !(connection->plan = map_memory(MAX_PLAN_BYTES)))
		return -ENOMEM;
	memcpy(connection->plan + connection->plan_length, frame->payload, frame->length);
	connection->plan_length += frame->length;
	connection->plan_stream = frame->stream;
	return 0;
}

void connection_plan_drop(struct connection *connection)
{
	unmap_memory(connection->plan, MAX_PLAN_BYTES);
	connection->plan = NULL;
	connection->plan_length = 0;
}

int listen_at(int directory_fd, const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	/* Through the descriptor: a path may be longer than sun_path. */
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", directory_fd, name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	unlinkat(directory_fd, name, 0);
	mode_t mask = umask(0177);
	int result = bind(fd, (struct sockaddr *)&address, sizeof(address));
	umask(mask);
	if (result < 0 || listen(fd, LISTEN_BACKLOG) < 0) {
		result = -errno;
		close(fd);
		return result;
	}
	return fd;
}

int accept_trusted(int listen_fd)
{
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return -errno;
	struct ucred peer;
	socklen_t length = sizeof(peer);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && (peer.uid == 0 || peer.uid == geteuid()))
		return fd;
	close(fd);
	return -EACCES;
}
