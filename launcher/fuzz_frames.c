/* Frames, credit, backlog and log under hostile clients and a hostile workload.
 *
 * input = (what u8, length u16, bytes)*: what the first client, a later client or the workload sends. The workload
 * is frozen, so that no plan is ever performed.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "server.h"
#include "stream.h"

#define LOG_MAX_BYTES 100000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
	int peers[2];  /* the first client's and a later client's ends */
	int output[2]; /* where the workload writes stdout and stderr */
	int input;     /* where it reads stdin */
	struct log log;
	struct host host;
	struct server server;
};

static int log_directory(void)
{
	static int fd = -1;
	static char path[] = "/tmp/twinhull-fuzz-XXXXXX";
	if (fd < 0)
		fd = open(mkdtemp(path), O_RDONLY | O_DIRECTORY);
	return fd;
}

static void on_output(void *context, uint16_t kind, const uint8_t *data, size_t length)
{
	struct world *world = context;
	log_write(&world->log, kind == FRAME_STDERR, data, length);
}

static int refuse_plan(void *context, const struct plan *plan, struct failure *why)
{
	(void)context, (void)plan, (void)why;
	return -1;
}

static void begin(struct world *world, bool with_process)
{
	struct server_hooks hooks = {.context = world, .output = on_output, .plan = refuse_plan};
	host_init(&world->host, -1);
	log_init(&world->log, log_directory(), LOG_MAX_BYTES);
	server_init(&world->server, &world->host, &hooks);
	for (int i = 0; i < 2; i++) {
		int ends[2];
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends);
		world->peers[i] = ends[0];
		server_adopt(&world->server, ends[1], i == 0);
	}
	world->server.accepts_plan = !with_process;
	world->input = world->output[0] = world->output[1] = -1;
	if (!with_process)
		return;
	struct child *child = &world->server.main.child;
	*child = (struct child){.pidfd = -1, .start_fd = -1, .status_fd = -1, .tty = -1, .stdin_open = true};
	for (int i = 0; i < 3; i++) {
		int ends[2];
		pipe2(ends, O_NONBLOCK);
		child->io[i] = ends[i == 0];
		*(i == 0 ? &world->input : &world->output[i - 1]) = ends[i != 0];
	}
	stream_begin(&world->server.main, 0, NULL);
	world->server.main.state = PROCESS_RUNNING;
	world->server.frozen = true;
}

static void finish(struct world *world)
{
	stream_discard(&world->server.main);
	server_close(&world->server);
	log_finish(&world->log);
	if (world->log.fd >= 0)
		close(world->log.fd);
	int fds[] = {world->peers[0], world->peers[1], world->output[0], world->output[1], world->input};
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	unmap_memory(world->server.chunk, MAX_PAYLOAD);
	unmap_memory(world->server.plan, sizeof(*world->server.plan));
}

static void act(struct world *world, uint8_t what, const uint8_t *data, size_t length)
{
	static uint8_t taken[1 << 16];
	int targets[] = {world->peers[0], world->peers[1], world->output[0], world->output[1]};
	int sources[] = {world->peers[0], world->peers[1], world->input};
	if (targets[what % 4] >= 0)
		(void)!write(targets[what % 4], data, length);
	server_turn(&world->server, 0);
	for (size_t i = 0; i < 3; i++)
		if (what & (0x10 << i) && sources[i] >= 0)
			(void)!read(sources[i], taken, sizeof(taken));
	if (what & 0x80 && world->peers[what & 1] >= 0) {
		close(world->peers[what & 1]);
		world->peers[what & 1] = -1;
	}
	server_turn(&world->server, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world world;
	if (size < 1)
		return 0;
	signal(SIGPIPE, SIG_IGN);
	memset(&world, 0, sizeof(world));
	begin(&world, data[0] & 1);
	data++;
	size--;
	while (size >= 3) {
		size_t length = (size_t)(data[1] | data[2] << 8);
		length = length < size - 3 ? length : size - 3;
		act(&world, data[0], data + 3, length);
		data += 3 + length;
		size -= 3 + length;
	}
	finish(&world);
	return 0;
}
