/* The relay's life: see relay.h. Its memory is static; what comes from the guest is judged in relay_guest.c. */
#define _GNU_SOURCE
#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "relay_state.h"
#include "stream.h"

#define MAX_POLLS (MAX_CONNECTIONS + 5)
#define REST_MS 1000

static bool alive(const struct connection *connection)
{
	return connection->fd >= 0;
}

int relay_to_guest(struct state *state, uint32_t stream, uint16_t kind, uint16_t flags, const void *payload,
                   uint32_t length)
{
	struct connection *guest = &state->guest;
	uint8_t header[FRAME_HEADER_BYTES];
	if (!alive(guest) || guest->broken)
		return 0;
	/* Data leaves the reserve to the short frames. */
	size_t reserve = kind == FRAME_STDIN || kind == FRAME_PLAN || kind == FRAME_EXEC ? OUT_RESERVE_BYTES : 0;
	if (ring_room(&guest->out) < sizeof(header) + length + reserve)
		return -EAGAIN;
	frame_header(header, stream, kind, flags, length);
	if (ring_put(&guest->out, header, sizeof(header)) < 0 || ring_put(&guest->out, payload, length) < 0)
		guest->broken = true;
	return 0;
}

/* Past what has been queued meanwhile: only then may that go out. */
void relay_let_go_on(struct state *state)
{
	uint8_t header[FRAME_HEADER_BYTES];
	state->hold.asker = NULL;
	if (!state->hold.open || !state->hold.answered)
		return;
	state->hold = (struct hold){0};
	frame_header(header, 0, FRAME_RESUME, 0, 0);
	if (alive(&state->guest) && write(state->guest.fd, header, sizeof(header)) != sizeof(header))
		state->guest.broken = true; /* nothing lay in the way of it */
}

void relay_flush_guest(struct state *state)
{
	struct connection *guest = &state->guest;
	if (!state->hold.open) {
		connection_flush(guest);
		return;
	}
	while (state->hold.left) {
		size_t part = state->hold.left < MAX_PAYLOAD ? state->hold.left : MAX_PAYLOAD;
		ring_peek(&guest->out, state->chunk, part);
		ssize_t written = write(guest->fd, state->chunk, part);
		guest->broken = guest->broken || (written < 0 && errno != EAGAIN && errno != EINTR);
		if (written <= 0)
			return;
		ring_take(&guest->out, (size_t)written);
		state->hold.left -= (size_t)written;
	}
}

void relay_switch_off(struct state *state)
{
	if (state->kill_sent)
		return;
	state->kill_sent = true;
	if (alive(&state->keeper))
		connection_send_u32(&state->keeper, NO_STREAM, FRAME_SIGNAL, SIGKILL);
}

void relay_forget_link(struct link *link)
{
	*link = (struct link){0};
}

/* --- the keeper */

static int keeper_answers(struct state *state, const struct frame *frame)
{
	struct connection *asker = state->control.asker;
	if (state->control.open && asker)
		connection_send(asker, 0, frame->kind, frame->payload, frame->length);
	state->control = (struct question){0};
	return 0;
}

static int keeper_frame(void *context, struct connection *from, const struct frame *frame)
{
	(void)from;
	struct state *state = context;
	switch (frame->kind) {
	case FRAME_EXIT:
		state->over = true;
		if (!state->told)
			state->status =
				(struct exit_status){frame_u32(frame, 0), frame_u32(frame, 1), frame_u32(frame, 2)};
		return 0;
	case FRAME_PAUSE:
	case FRAME_STATS: return keeper_answers(state, frame);
	case FRAME_ERROR: return keeper_answers(state, frame);
	default: return 0;
	}
}

/* --- the end */

static void end_links(struct state *state)
{
	struct exit_status killed = {.code = 128 + SIGKILL, .signal = SIGKILL};
	for (size_t i = 0; i < MAX_EXECS; i++) {
		if (!state->links[i].client)
			continue;
		connection_send_exit(state->links[i].client, state->links[i].stream, &killed);
		relay_forget_link(&state->links[i]);
	}
}

static void tell_starter_failure(struct state *state)
{
	if (!state->failed) {
		state->failure = (struct failure){.index = UINT32_MAX, .error = EIO, .exit_code = 125};
		snprintf(state->failure.text, sizeof(state->failure.text), "guest: it ended before the workload began");
	}
	connection_send_error(state->starter, 0, &state->failure);
}

/* QEMU has ended: what its console still holds may say why. */
static void drain_console(struct state *state)
{
	for (size_t i = 0; i < 2; i++)
		while (state->console_fds[i] >= 0 && console_copy(&state->console, state->console_fds[i]) > 0)
			;
}

static void begin_farewell(struct state *state)
{
	drain_console(state);
	state->farewell = true;
	state->farewell_until_ms = now_ms() + FAREWELL_MS;
	if (state->listen_fd >= 0)
		close(state->listen_fd);
	state->listen_fd = -1;
	end_links(state);
	for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
		struct connection *client = &state->clients[i];
		if (!alive(client))
			continue;
		if (client == state->starter && (state->failed || !state->started)) {
			tell_starter_failure(state);
			continue;
		}
		if (client->attached || client->waiting || client == state->starter)
			connection_send_exit(client, 0, &state->status);
	}
}

/* QEMU is gone, but the keeper may still hold its end of the channel: what lies in it now is the last. */
static void drain_guest(struct state *state)
{
	struct pollfd waiting = {.fd = state->guest.fd, .events = POLLIN};
	if (!state->over || state->told || !alive(&state->guest))
		return;
	if (state->guest.broken || (!state->guest.stalled && poll(&waiting, 1, 0) == 0))
		connection_close(&state->guest);
}

/* Farewell begins when the record is written and the first client has been given all output. */
static void tend_end(struct state *state, int64_t now)
{
	drain_guest(state);
	bool silent = state->told || !alive(&state->guest);
	if (!alive(&state->guest) && !state->told)
		relay_switch_off(state);
	if (state->kill_until_ms && now >= state->kill_until_ms)
		relay_switch_off(state);
	if (state->over && silent)
		state->eof_received = true;
	relay_pump_output(state);
	if (state->over && silent && !state->held.count && !state->farewell)
		begin_farewell(state);
}

static bool finished(const struct state *state, int64_t now)
{
	if (!state->farewell)
		return false;
	if (state->starter && !connection_idle(state->starter))
		return false;
	for (size_t i = 0; i < MAX_CONNECTIONS && now < state->farewell_until_ms; i++)
		if (alive(&state->clients[i]) && !connection_idle(&state->clients[i]))
			return false;
	return true;
}

/* --- the loop */

static struct connection *adopt(struct state *state, int fd, bool starter)
{
	for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
		struct connection *client = &state->clients[i];
		if (alive(client))
			continue;
		connection_open(client, fd);
		if (!starter) { /* the keeper has greeted the first one */
			connection_send_u32(client, 0, FRAME_HELLO, PROTOCOL_VERSION);
			return client;
		}
		connection_attach(client, true);
		client->has_stdin = true;
		state->starter = client;
		return client;
	}
	close(fd);
	return NULL;
}

static void tend(struct state *state, struct connection *connection, frame_handler *handler)
{
	if (!alive(connection))
		return;
	connection_flush(connection);
	if (connection->stalled && !connection->broken)
		connection_dispatch(connection, handler, state);
}

static void tend_all(struct state *state)
{
	tend(state, &state->keeper, keeper_frame);
	if (alive(&state->keeper) && state->keeper.broken) {
		connection_close(&state->keeper);
		if (!state->over) /* killed: nobody is left to tell */
			_exit(1);
	}
	for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
		tend(state, &state->clients[i], relay_client_frame);
		if (alive(&state->clients[i]) && state->clients[i].broken)
			relay_client_drop(state, &state->clients[i]);
	}
	relay_pump_input(state);
	if (alive(&state->guest)) {
		relay_flush_guest(state);
		if (state->guest.stalled && !state->guest.broken)
			connection_dispatch(&state->guest, relay_guest_frame, state);
	}
	if (alive(&state->guest) && state->guest.broken)
		connection_close(&state->guest);
}

static short wanted(const struct connection *connection)
{
	return (short)((connection_readable(connection) ? POLLIN : 0) | (connection->out.used ? POLLOUT : 0));
}

static void serve(struct state *state, struct connection *connection, short events, frame_handler *handler)
{
	if (!alive(connection) || !events)
		return;
	if (connection_readable(connection)) {
		if (events & (POLLIN | POLLHUP | POLLERR))
			connection_receive(connection, handler, state);
	} else if (events & (POLLHUP | POLLERR) && !connection->stalled) {
		connection->broken = true;
	}
}

static int next_wait(const struct state *state, int64_t now)
{
	int64_t until = now + REST_MS;
	if (!state->kill_until_ms && !state->farewell)
		return -1;
	if (state->kill_until_ms > now && state->kill_until_ms < until)
		until = state->kill_until_ms;
	return (int)(until - now);
}

static void serve_console(struct state *state, int *fd, short events)
{
	if (!events || console_copy(&state->console, *fd) >= 0)
		return;
	close(*fd);
	*fd = -1;
}

static void turn(struct state *state)
{
	enum { LISTEN, KEEPER, GUEST, CONSOLE, CLIENTS = CONSOLE + 2 };
	struct pollfd fds[MAX_POLLS];
	fds[LISTEN] = (struct pollfd){.fd = state->listen_fd, .events = POLLIN};
	fds[KEEPER] = (struct pollfd){.fd = state->keeper.fd, .events = wanted(&state->keeper)};
	fds[GUEST] = (struct pollfd){.fd = state->guest.fd, .events = wanted(&state->guest)};
	if (state->hold.open && !state->hold.left)
		fds[GUEST].events &= (short)~POLLOUT;
	for (size_t i = 0; i < 2; i++)
		fds[CONSOLE + i] = (struct pollfd){.fd = state->console_fds[i], .events = POLLIN};
	for (size_t i = 0; i < MAX_CONNECTIONS; i++)
		fds[CLIENTS + i] = (struct pollfd){.fd = state->clients[i].fd, .events = wanted(&state->clients[i])};
	if (poll(fds, MAX_POLLS, next_wait(state, now_ms())) <= 0)
		return;
	serve(state, &state->keeper, fds[KEEPER].revents, keeper_frame);
	serve(state, &state->guest, fds[GUEST].revents, relay_guest_frame);
	for (size_t i = 0; i < 2; i++)
		serve_console(state, &state->console_fds[i], fds[CONSOLE + i].revents);
	for (size_t i = 0; i < MAX_CONNECTIONS; i++)
		serve(state, &state->clients[i], fds[CLIENTS + i].revents, relay_client_frame);
	if (fds[LISTEN].revents) {
		int fd = accept_trusted(state->listen_fd);
		if (fd >= 0)
			adopt(state, fd, false);
	}
}

static int prepare(struct state *state, const struct relay *relay)
{
	int keep[] = {0,
	              1,
	              2,
	              relay->client_fd,
	              relay->listen_fd,
	              relay->channel_fd,
	              relay->keeper_fd,
	              relay->console_fds[0],
	              relay->console_fds[1],
	              relay->log_directory_fd};
	state->listen_fd = relay->listen_fd;
	state->starter_is_vital = relay->starter_is_vital;
	state->next_stream = 1;
	state->output_credit = state->input.window = INITIAL_CREDIT;
	ring_init(&state->held.bytes, INITIAL_CREDIT);
	ring_init(&state->input.bytes, INITIAL_CREDIT);
	for (size_t i = 0; i < MAX_CONNECTIONS; i++)
		state->clients[i].fd = -1;
	log_init(&state->log, relay->log_directory_fd, relay->log_max_bytes);
	console_init(&state->console, relay->log_directory_fd);
	for (size_t i = 0; i < 2; i++) {
		state->console_fds[i] = relay->console_fds[i];
		fcntl(relay->console_fds[i], F_SETFL, O_NONBLOCK);
	}
	if (getrandom(state->seed, sizeof(state->seed), 0) != sizeof(state->seed))
		return -errno;
	int error = relay_confine(relay->log_directory_fd, keep, sizeof(keep) / sizeof(keep[0]));
	if (error)
		return error;
	connection_open(&state->guest, relay->channel_fd);
	connection_open(&state->keeper, relay->keeper_fd);
	if (relay->client_fd >= 0)
		adopt(state, relay->client_fd, true);
	else
		relay_switch_off(state);
	return 0;
}

void relay_run(const struct relay *relay)
{
	static struct state state;
	if (prepare(&state, relay) < 0)
		_exit(1);
	for (;;) {
		tend_all(&state);
		int64_t now = now_ms();
		tend_end(&state, now);
		if (finished(&state, now))
			_exit(0);
		turn(&state);
	}
}
