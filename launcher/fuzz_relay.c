/* The relay under a hostile guest and a hostile client, with its memory watched.
 *
 * input = (what u8, length u16, bytes)*: what the guest, the first client or a later client sends.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay_state.h"
#include "stream.h"

#define LOG_MAX_BYTES 100000
#define GUEST 0
#define CLIENTS 2

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int log_directory(void)
{
	static int fd = -1;
	static char path[] = "/tmp/twinhull-fuzz-XXXXXX";
	if (fd < 0)
		fd = open(mkdtemp(path), O_RDONLY | O_DIRECTORY);
	return fd;
}

static void join(struct connection *connection, int *peer)
{
	int ends[2];
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends);
	*peer = ends[0];
	connection_open(connection, ends[1]);
}

static void begin(struct state *state, int *peers)
{
	state->listen_fd = state->console_fds[0] = state->console_fds[1] = -1;
	state->keeper.fd = -1;
	state->next_stream = 1;
	state->output_credit = state->input.window = INITIAL_CREDIT;
	ring_init(&state->held.bytes, INITIAL_CREDIT);
	ring_init(&state->input.bytes, INITIAL_CREDIT);
	for (size_t i = 0; i < MAX_CONNECTIONS; i++)
		state->clients[i].fd = -1;
	log_init(&state->log, log_directory(), LOG_MAX_BYTES);
	join(&state->guest, &peers[GUEST]);
	for (size_t i = 0; i < CLIENTS; i++)
		join(&state->clients[i], &peers[1 + i]);
	connection_attach(&state->clients[0], true);
	state->clients[0].has_stdin = true;
	state->starter = &state->clients[0];
}

static void finish(struct state *state, int *peers)
{
	for (size_t i = 0; i < MAX_CONNECTIONS; i++)
		if (state->clients[i].fd >= 0)
			relay_client_drop(state, &state->clients[i]);
	if (state->guest.fd >= 0)
		connection_close(&state->guest);
	for (size_t i = 0; i < 1 + CLIENTS; i++)
		close(peers[i]);
	ring_take(&state->held.bytes, state->held.bytes.used);
	ring_rest(&state->held.bytes);
	ring_take(&state->input.bytes, state->input.bytes.used);
	ring_rest(&state->input.bytes);
	log_finish(&state->log);
	if (state->log.fd >= 0)
		close(state->log.fd);
}

static void tend(struct state *state, struct connection *connection, frame_handler *handler)
{
	if (connection->fd < 0)
		return;
	if (connection == &state->guest)
		relay_flush_guest(state);
	else
		connection_flush(connection);
	if (connection->stalled && !connection->broken)
		connection_dispatch(connection, handler, state);
	else if (!connection->broken)
		connection_receive(connection, handler, state);
}

static void turn(struct state *state)
{
	tend(state, &state->guest, relay_guest_frame);
	if (state->guest.fd >= 0 && state->guest.broken)
		connection_close(&state->guest);
	for (size_t i = 0; i < CLIENTS; i++) {
		tend(state, &state->clients[i], relay_client_frame);
		if (state->clients[i].fd >= 0 && state->clients[i].broken)
			relay_client_drop(state, &state->clients[i]);
	}
	relay_pump_input(state);
	relay_pump_output(state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct state state;
	static uint8_t taken[1 << 16];
	int peers[1 + CLIENTS];
	signal(SIGPIPE, SIG_IGN);
	memset(&state, 0, sizeof(state));
	begin(&state, peers);
	while (size >= 3) {
		size_t length = (size_t)(data[1] | data[2] << 8);
		length = length < size - 3 ? length : size - 3;
		(void)!write(peers[data[0] % (1 + CLIENTS)], data + 3, length);
		turn(&state);
		for (size_t i = 0; i < 1 + CLIENTS; i++)
			if (data[0] & (0x10 << i))
				(void)!read(peers[i], taken, sizeof(taken));
		turn(&state);
		data += 3 + length;
		size -= 3 + length;
	}
	finish(&state, peers);
	return 0;
}
