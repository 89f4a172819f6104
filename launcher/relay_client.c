/* What clients of a VM ask: answered here, by the guest, or by the keeper. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "relay_state.h"
#include "stream.h"

#define LAST_SIGNAL 64

static struct link *find_link(struct state *state, const struct connection *client, uint32_t stream)
{
	for (size_t i = 0; i < MAX_EXECS; i++)
		if (state->links[i].client == client && state->links[i].stream == stream)
			return &state->links[i];
	return NULL;
}

static struct link *new_link(struct state *state, struct connection *client, uint32_t stream)
{
	for (size_t i = 0; i < MAX_EXECS; i++) {
		if (state->links[i].client)
			continue;
		state->links[i] = (struct link){
			.client = client,
			.stream = stream,
			.guest_stream = state->next_stream++,
			.credit = INITIAL_CREDIT,
			.window = INITIAL_CREDIT,
		};
		return &state->links[i];
	}
	return NULL;
}

static void refuse(struct connection *client, uint32_t stream, int error, const char *text)
{
	struct failure why = {.index = UINT32_MAX, .error = error, .exit_code = 125};
	snprintf(why.text, sizeof(why.text), "%s", text);
	connection_send_error(client, stream, &why);
}

static int forward(struct state *state, uint32_t stream, const struct frame *frame)
{
	return relay_to_guest(state, stream, frame->kind, frame->flags, frame->payload, frame->length);
}

/* --- plans: the guest puts chunks together, one plan at a time */

static int send_chunk(struct state *state, struct connection *from, uint32_t stream, const struct frame *frame)
{
	if (state->planner && (state->planner != from || state->planner_stream != stream))
		return -EAGAIN;
	int error = forward(state, stream, frame);
	if (error)
		return error;
	state->planner = frame->flags & FLAG_LAST ? NULL : from;
	state->planner_stream = stream;
	return 0;
}

static int send_time(struct state *state)
{
	struct timespec now;
	uint8_t payload[12];
	clock_gettime(CLOCK_REALTIME, &now);
	put_u32(payload, (uint32_t)now.tv_sec);
	put_u32(payload + 4, (uint32_t)((uint64_t)now.tv_sec >> 32));
	put_u32(payload + 8, (uint32_t)now.tv_nsec);
	return relay_to_guest(state, 0, FRAME_TIME, 0, payload, sizeof(payload));
}

/* A restored guest's clock is as old as its template: a plan's files are to have the right time. */
static int on_plan(struct state *state, struct connection *from, const struct frame *frame)
{
	if (from != state->starter || frame->stream != 0 || state->start_sent)
		return -EPROTO;
	if (!state->seeded) {
		int error = relay_to_guest(state, 0, FRAME_SEED, 0, state->seed, sizeof(state->seed));
		if (!error)
			error = send_time(state);
		if (error)
			return error;
		state->seeded = true;
	}
	return send_chunk(state, from, 0, frame);
}

/* What a template's guest does before it is saved. */
static int on_config(struct state *state, struct connection *from, const struct frame *frame)
{
	if (from != state->starter || state->seeded || state->start_sent)
		return -EPROTO;
	return forward(state, 0, frame);
}

/* The clock once more: since its plan a guest may have waited, or stood still. */
static int on_start(struct state *state, struct connection *from, const struct frame *frame)
{
	if (from != state->starter || frame->stream != 0 || state->start_sent)
		return -EPROTO;
	int error = send_time(state);
	if (error)
		return error;
	error = forward(state, 0, frame);
	state->start_sent = error == 0;
	return error;
}

static int on_exec(struct state *state, struct connection *from, const struct frame *frame)
{
	struct link *link = find_link(state, from, frame->stream);
	if (frame->stream == 0 || frame->stream == NO_STREAM)
		return -EPROTO;
	if (!link && !state->started && from != state->starter) {
		refuse(from, frame->stream, EBUSY, "exec: the workload is not running");
		return 0;
	}
	if (!link && !(link = new_link(state, from, frame->stream))) {
		refuse(from, frame->stream, EBUSY, "exec: too many at once");
		return 0;
	}
	return send_chunk(state, from, link->guest_stream, frame);
}

/* --- stdin */

static void repay(struct state *state, struct connection *client, uint32_t bytes)
{
	(void)state;
	if (!client)
		return;
	client->unpaid += bytes;
	if (client->unpaid < REPAY_BYTES)
		return;
	client->window += client->unpaid;
	connection_send_u32(client, 0, FRAME_CREDIT, client->unpaid);
	client->unpaid = 0;
}

void relay_pump_input(struct state *state)
{
	struct input *input = &state->input;
	while (input->bytes.used && input->window) {
		uint32_t length = input->bytes.used < MAX_PAYLOAD ? (uint32_t)input->bytes.used : MAX_PAYLOAD;
		length = length < input->window ? length : input->window;
		ring_peek(&input->bytes, state->chunk, length);
		if (relay_to_guest(state, 0, FRAME_STDIN, 0, state->chunk, length) < 0)
			return;
		ring_take(&input->bytes, length);
		input->window -= length;
		repay(state, input->source, length);
	}
	if (!input->bytes.used)
		ring_rest(&input->bytes);
	if (input->ended && !input->end_sent && !input->bytes.used)
		input->end_sent = relay_to_guest(state, 0, FRAME_EOF, 0, NULL, 0) == 0;
}

static int on_stdin(struct state *state, struct connection *from, const struct frame *frame)
{
	struct input *input = &state->input;
	if (frame->stream != 0) {
		struct link *link = find_link(state, from, frame->stream);
		if (!link)
			return 0;
		if (frame->length > link->window)
			return -EBADMSG;
		int error = forward(state, link->guest_stream, frame);
		if (!error)
			link->window -= frame->length;
		return error;
	}
	if (frame->length > from->window)
		return -EBADMSG;
	if (input->bytes.used && input->source != from)
		return -EAGAIN; /* another client's bytes come first */
	if (ring_put(&input->bytes, frame->payload, frame->length) < 0)
		return -EAGAIN;
	from->window -= frame->length;
	input->source = from;
	relay_pump_input(state);
	return 0;
}

/* The guest knows whether its plan keeps stdin open; an end that came twice is one. */
static void end_input(struct state *state)
{
	state->input.ended = true;
	relay_pump_input(state);
}

static void stdin_left(struct state *state)
{
	for (size_t i = 0; i < MAX_CONNECTIONS; i++)
		if (state->clients[i].fd >= 0 && state->clients[i].has_stdin)
			return;
	end_input(state);
}

static int on_eof(struct state *state, struct connection *from, const struct frame *frame)
{
	if (frame->stream == 0) {
		if (state->input.bytes.used && state->input.source != from)
			return -EAGAIN;
		end_input(state);
		return 0;
	}
	struct link *link = find_link(state, from, frame->stream);
	return link ? forward(state, link->guest_stream, frame) : 0;
}

/* --- holding: nothing is on the way to the guest, nor from it, once it has answered */

static int on_hold(struct state *state, struct connection *from, const struct frame *frame)
{
	if (frame->stream != 0)
		return -EPROTO;
	if (!state->started || state->told || state->hold.open) {
		refuse(from, 0, EBUSY,
		       state->hold.open ? "hold: it is held already" : "hold: the workload is not running");
		return 0;
	}
	int error = forward(state, 0, frame);
	if (!error)
		state->hold = (struct hold){.asker = from, .open = true, .left = state->guest.out.used};
	return error;
}

static int on_resume(struct state *state, struct connection *from, const struct frame *frame)
{
	if (frame->stream != 0 || !state->hold.open || state->hold.asker != from)
		return -EPROTO;
	relay_let_go_on(state);
	return 0;
}

/* --- leaving */

static void leave_main(struct state *state, struct connection *from)
{
	bool had_stdin = from->has_stdin;
	connection_detach(from);
	if (had_stdin)
		stdin_left(state);
}

static int on_leave(struct state *state, struct connection *from, const struct frame *frame)
{
	if (frame->stream == 0) {
		leave_main(state, from);
		return 0;
	}
	struct link *link = find_link(state, from, frame->stream);
	int error = link ? forward(state, link->guest_stream, frame) : 0;
	if (link && !error)
		relay_forget_link(link);
	return error;
}

static void drop_links(struct state *state, struct connection *client)
{
	for (size_t i = 0; i < MAX_EXECS; i++) {
		struct link *link = &state->links[i];
		if (link->client != client)
			continue;
		relay_to_guest(state, link->guest_stream, FRAME_CLOSE, 0, NULL, 0);
		relay_forget_link(link);
	}
}

void relay_client_drop(struct state *state, struct connection *client)
{
	bool had_stdin = client->has_stdin;
	if (state->planner == client) { /* the guest waits for the rest: an end that makes no plan of it */
		relay_to_guest(state, state->planner_stream, FRAME_EXEC, FLAG_LAST, NULL, 0);
		state->planner = NULL;
	}
	drop_links(state, client);
	if (state->input.source == client)
		state->input.source = NULL;
	if (state->ping.asker == client)
		state->ping.asker = NULL;
	if (state->control.asker == client)
		state->control.asker = NULL;
	if (state->hold.asker == client)
		relay_let_go_on(state);
	connection_close(client);
	if (had_stdin)
		stdin_left(state);
	if (client != state->starter)
		return;
	state->starter = NULL;
	if (!state->start_sent || state->starter_is_vital)
		relay_switch_off(state);
}

/* --- the rest */

static int on_credit(struct state *state, struct connection *from, const struct frame *frame)
{
	uint32_t *credit = &from->credit;
	if (frame->stream != 0) {
		struct link *link = find_link(state, from, frame->stream);
		int error = link ? forward(state, link->guest_stream, frame) : 0;
		if (!link || error)
			return error;
		credit = &link->credit;
	}
	return __builtin_add_overflow(*credit, frame_u32(frame, 0), credit) ? -EPROTO : 0;
}

/* A guest that hangs cannot obey: after a while SIGKILL means its machine. */
static int on_signal(struct state *state, struct connection *from, const struct frame *frame)
{
	uint32_t signal = frame_u32(frame, 0);
	if (signal < 1 || signal > LAST_SIGNAL)
		return -EPROTO;
	if (frame->stream != 0) {
		struct link *link = find_link(state, from, frame->stream);
		return link ? forward(state, link->guest_stream, frame) : 0;
	}
	if (signal == SIGKILL && !state->kill_until_ms)
		state->kill_until_ms = now_ms() + KILL_GRACE_MS;
	return forward(state, 0, frame);
}

static int on_resize(struct state *state, struct connection *from, const struct frame *frame)
{
	if (frame->stream == 0)
		return forward(state, 0, frame);
	struct link *link = find_link(state, from, frame->stream);
	return link ? forward(state, link->guest_stream, frame) : 0;
}

/* PAUSE and STATS are about the machine as a whole, which the keeper has in a cgroup. */
static int on_control(struct state *state, struct connection *from, const struct frame *frame)
{
	if (state->keeper.fd < 0) {
		refuse(from, frame->stream, ESRCH, "the workload has ended");
		return 0;
	}
	if (state->control.open)
		return -EAGAIN;
	state->control = (struct question){.asker = from, .open = true};
	connection_send(&state->keeper, NO_STREAM, frame->kind, frame->payload, frame->length);
	return 0;
}

static int on_ping(struct state *state, struct connection *from, const struct frame *frame)
{
	if (frame->stream != 0) {
		connection_send(from, frame->stream, FRAME_PING, frame->payload, frame->length);
		return 0;
	}
	if (state->ping.open)
		return -EAGAIN;
	int error = forward(state, 0, frame);
	if (!error)
		state->ping = (struct question){.asker = from, .open = true};
	return error;
}

static int on_wait(struct state *state, struct connection *from, const struct frame *frame)
{
	if (frame->stream != 0)
		return -EPROTO;
	from->waiting = true;
	if (state->farewell)
		connection_send_exit(from, 0, &state->status);
	return 0;
}

static int on_attach(struct state *state, struct connection *from, const struct frame *frame)
{
	if (frame->stream != 0 || from->attached)
		return -EPROTO;
	connection_attach(from, false);
	from->has_stdin = frame->flags & FLAG_STDIN_OPEN;
	if (state->eof_sent)
		connection_publish(from, 0, FRAME_EOF, NULL, 0);
	if (state->farewell)
		connection_send_exit(from, 0, &state->status);
	return 0;
}

int relay_client_frame(void *context, struct connection *from, const struct frame *frame)
{
	struct state *state = context;
	switch (frame->kind) {
	case FRAME_HELLO: return frame_u32(frame, 0) == PROTOCOL_VERSION ? 0 : -EPROTO;
	case FRAME_CONFIG: return on_config(state, from, frame);
	case FRAME_PLAN: return on_plan(state, from, frame);
	case FRAME_START: return on_start(state, from, frame);
	case FRAME_EXEC: return on_exec(state, from, frame);
	case FRAME_STDIN: return on_stdin(state, from, frame);
	case FRAME_EOF: return on_eof(state, from, frame);
	case FRAME_CREDIT: return on_credit(state, from, frame);
	case FRAME_CLOSE:
	case FRAME_DETACH: return on_leave(state, from, frame);
	case FRAME_SIGNAL: return on_signal(state, from, frame);
	case FRAME_RESIZE: return on_resize(state, from, frame);
	case FRAME_PAUSE:
	case FRAME_STATS: return on_control(state, from, frame);
	case FRAME_PING: return on_ping(state, from, frame);
	case FRAME_HOLD: return on_hold(state, from, frame);
	case FRAME_RESUME: return on_resume(state, from, frame);
	case FRAME_WAIT: return on_wait(state, from, frame);
	case FRAME_ATTACH: return on_attach(state, from, frame);
	default: return -EPROTO;
	}
}
