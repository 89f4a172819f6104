/* What the guest sends. It is hostile: every length, number and order is checked, and a breach ends it. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "relay_state.h"
#include "stream.h"

#define HELLO_BYTES 20u
#define EXIT_BYTES 12u
#define ERROR_BYTES 12u
#define LAST_SIGNAL 64u

typedef int guest_frame(struct state *state, const struct frame *frame);

static bool is_output(uint16_t kind)
{
	return kind == FRAME_STDOUT || kind == FRAME_STDERR;
}

static struct link *find_link(struct state *state, uint32_t guest_stream)
{
	for (size_t i = 0; i < MAX_EXECS; i++)
		if (state->links[i].client && state->links[i].guest_stream == guest_stream)
			return &state->links[i];
	return NULL;
}

static struct exit_status read_status(const struct frame *frame)
{
	uint32_t signal = frame_u32(frame, 1);
	return (struct exit_status){
		.code = frame_u32(frame, 0) & 0xff,
		.signal = signal <= LAST_SIGNAL ? signal : 0,
		.oom = frame_u32(frame, 2) != 0,
	};
}

/* Control characters, those of eight bits too: alone, or as UTF-8 has them (C2 80 to C2 9F). */
static bool is_control(uint8_t before, uint8_t byte)
{
	return byte < 0x20 || byte == 0x7f || (byte >= 0x80 && byte < 0xa0 && (before < 0x80 || before == 0xc2));
}

/* An error's text goes to somebody's terminal: nothing in it may be an escape. */
static struct failure read_failure(const struct frame *frame)
{
	struct failure why = {.index = frame_u32(frame, 0), .error = (int)(frame_u32(frame, 1) & 0xfff)};
	uint32_t code = frame_u32(frame, 2);
	why.exit_code = code == 126 || code == 127 ? code : 125;
	size_t length = frame->length > ERROR_BYTES ? frame->length - ERROR_BYTES : 0;
	if (length > sizeof(why.text) - 1)
		length = sizeof(why.text) - 1;
	const uint8_t *text = frame->payload + ERROR_BYTES;
	for (size_t i = 0; i < length; i++)
		why.text[i] = is_control(i ? text[i - 1] : 0, text[i]) ? '?' : (char)text[i];
	return why;
}

/* --- output of the main process */

static void publish(struct state *state, uint16_t kind, const uint8_t *data, uint32_t length)
{
	for (size_t i = 0; i < MAX_CONNECTIONS; i++)
		if (state->clients[i].fd >= 0 && state->clients[i].attached)
			connection_publish(&state->clients[i], 0, kind, data, length);
	state->output_unpaid += length;
	if (state->output_unpaid < REPAY_BYTES)
		return;
	uint8_t payload[4];
	put_u32(payload, state->output_unpaid);
	if (relay_to_guest(state, 0, FRAME_CREDIT, 0, payload, sizeof(payload)) < 0)
		return; /* with the next bytes */
	state->output_credit += state->output_unpaid;
	state->output_unpaid = 0;
}

/* Bytes that the lossless client takes now. */
static uint32_t output_room(const struct state *state)
{
	const struct connection *first = state->starter;
	if (!first || !first->attached || first->broken)
		return MAX_PAYLOAD;
	return connection_room(first, first->credit);
}

void relay_pump_output(struct state *state)
{
	struct held *held = &state->held;
	while (held->count) {
		uint32_t length = held->runs[held->first].length, room = output_room(state);
		length = length < room ? length : room;
		if (!length)
			return;
		ring_peek(&held->bytes, state->chunk, length);
		ring_take(&held->bytes, length);
		publish(state, held->runs[held->first].kind, state->chunk, length);
		held->runs[held->first].length -= length;
		if (!held->runs[held->first].length) {
			held->first = (held->first + 1) % MAX_RUNS;
			held->count--;
		}
	}
	ring_rest(&held->bytes);
	if (!state->eof_received || state->eof_sent)
		return;
	state->eof_sent = true;
	publish(state, FRAME_EOF, NULL, 0);
}

static int hold(struct held *held, uint16_t kind, const uint8_t *data, uint32_t length)
{
	size_t last = (held->first + held->count - 1) % MAX_RUNS;
	bool same = held->count && held->runs[last].kind == kind;
	if (!same && held->count == MAX_RUNS)
		return -EAGAIN;
	int error = ring_put(&held->bytes, data, length);
	if (error)
		return error;
	if (same) {
		held->runs[last].length += length;
		return 0;
	}
	last = (held->first + held->count++) % MAX_RUNS;
	held->runs[last].kind = kind;
	held->runs[last].length = length;
	return 0;
}

static int on_output(struct state *state, const struct frame *frame)
{
	if (frame->length > state->output_credit || state->eof_received)
		return -EPROTO;
	if (!state->held.count && frame->length <= output_room(state)) {
		state->output_credit -= frame->length;
		log_write(&state->log, frame->kind == FRAME_STDERR, frame->payload, frame->length);
		publish(state, frame->kind, frame->payload, frame->length);
		return 0;
	}
	int error = hold(&state->held, frame->kind, frame->payload, frame->length);
	if (error)
		return error;
	state->output_credit -= frame->length;
	log_write(&state->log, frame->kind == FRAME_STDERR, frame->payload, frame->length);
	return 0;
}

/* --- the main process */

/* When the guest's agent began, by its machine's counter: passed on once, to the client that waits for it. */
static int on_hello(struct state *state, const struct frame *frame)
{
	if (frame_u32(frame, 0) != PROTOCOL_VERSION)
		return -EPROTO;
	if (frame->length == HELLO_BYTES && state->starter && !state->greeted)
		connection_send(state->starter, 0, FRAME_HELLO, frame->payload, frame->length);
	state->greeted = true;
	return 0;
}

static int on_main_ready(struct state *state, const struct frame *frame)
{
	if (state->started || state->told)
		return -EPROTO;
	state->started = frame->kind == FRAME_STARTED;
	if (state->starter)
		connection_send_u32(state->starter, 0, frame->kind, frame_u32(frame, 0));
	return 0;
}

/* The keeper writes the record and undoes; the clients hear of the end after that. */
static void tell_keeper(struct state *state)
{
	state->told = true;
	log_finish(&state->log);
	if (state->keeper.fd >= 0)
		connection_send_exit(&state->keeper, 0, &state->status);
	relay_switch_off(state);
}

static int on_main_end(struct state *state, const struct frame *frame)
{
	if (state->told)
		return -EPROTO;
	if (frame->kind == FRAME_EXIT) {
		if (frame->length != EXIT_BYTES || !state->started)
			return -EPROTO;
		state->status = read_status(frame);
	} else {
		if (frame->length < ERROR_BYTES || state->started)
			return -EPROTO;
		state->failed = true;
		state->failure = read_failure(frame);
		state->status = (struct exit_status){.code = state->failure.exit_code};
	}
	tell_keeper(state);
	return 0;
}

static int on_main_credit(struct state *state, const struct frame *frame)
{
	struct input *input = &state->input;
	if (__builtin_add_overflow(input->window, frame_u32(frame, 0), &input->window))
		return -EPROTO;
	relay_pump_input(state);
	return 0;
}

static int on_ping(struct state *state, const struct frame *frame)
{
	if (!state->ping.open)
		return -EPROTO;
	if (state->ping.asker)
		connection_send(state->ping.asker, 0, FRAME_PING, frame->payload, frame->length);
	state->ping = (struct question){0};
	return 0;
}

static int on_hold(struct state *state, const struct frame *frame)
{
	uint32_t error = frame_u32(frame, 0) & 0xfff;
	struct connection *asker = state->hold.asker;
	if (!state->hold.open || state->hold.answered || state->hold.left)
		return -EPROTO;
	state->hold.answered = true;
	if (asker)
		connection_send_u32(asker, 0, FRAME_HOLD, error);
	if (error)
		state->hold = (struct hold){0}; /* it was not */
	else if (!asker)
		relay_let_go_on(state);
	return 0;
}

static int main_frame(struct state *state, const struct frame *frame)
{
	switch (frame->kind) {
	case FRAME_HELLO: return on_hello(state, frame);
	case FRAME_STDOUT:
	case FRAME_STDERR: return on_output(state, frame);
	case FRAME_EOF: state->eof_received = true; return 0;
	case FRAME_READY:
	case FRAME_STARTED: return on_main_ready(state, frame);
	case FRAME_EXIT:
	case FRAME_ERROR: return on_main_end(state, frame);
	case FRAME_CREDIT: return on_main_credit(state, frame);
	case FRAME_PING: return on_ping(state, frame);
	case FRAME_HOLD: return on_hold(state, frame);
	default: return -EPROTO;
	}
}

/* --- execs */

static int exec_output(struct link *link, const struct frame *frame)
{
	if (frame->length > link->credit)
		return -EPROTO;
	link->credit -= frame->length;
	connection_send(link->client, link->stream, frame->kind, frame->payload, frame->length);
	return 0;
}

static int exec_end(struct link *link, const struct frame *frame)
{
	if (frame->kind == FRAME_EXIT) {
		struct exit_status status = read_status(frame);
		connection_send_exit(link->client, link->stream, &status);
	} else {
		struct failure why = read_failure(frame);
		connection_send_error(link->client, link->stream, &why);
	}
	relay_forget_link(link);
	return 0;
}

static int exec_frame(struct state *state, const struct frame *frame)
{
	struct link *link = find_link(state, frame->stream);
	if (!link) /* its client has gone */
		return frame->stream < state->next_stream ? 0 : -EPROTO;
	if (is_output(frame->kind))
		return exec_output(link, frame);
	switch (frame->kind) {
	case FRAME_STARTED:
	case FRAME_EOF:
		connection_send(link->client, link->stream, frame->kind, frame->payload, frame->length);
		return 0;
	case FRAME_CREDIT:
		if (__builtin_add_overflow(link->window, frame_u32(frame, 0), &link->window))
			return -EPROTO;
		connection_send_u32(link->client, link->stream, FRAME_CREDIT, frame_u32(frame, 0));
		return 0;
	case FRAME_EXIT:
	case FRAME_ERROR: return exec_end(link, frame);
	default: return -EPROTO;
	}
}

int relay_guest_frame(void *context, struct connection *from, const struct frame *frame)
{
	(void)from;
	struct state *state = context;
	return frame->stream == 0 ? main_frame(state, frame) : exec_frame(state, frame);
}
