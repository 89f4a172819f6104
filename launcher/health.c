/* `launcher health`: runs a check in a workload now and then, and writes down how it went.
 *
 * It is a client like any other of whoever serves the workload, so a container and a virtual machine are one to it; it
 * ends when that does. Descriptors: 3 the encoded plan of the check, 5 the instance directory. The file `health` there:
 * "STATUS STREAK\n", then for each of the last checks "BEGAN ENDED CODE LENGTH\n", the bytes that it wrote, "\n".
 * Judged as Docker does (moby, daemon/health.go). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "connection.h"
#include "descriptor.h"
#include "kernel.h"
#include "modes.h"
#include "stream.h"

#define PLAN_FD 3
#define DIRECTORY_FD 5
#define OUTPUT_BYTES 4096 /* of a check that are kept, and how many checks: as Docker's */
#define ENTRIES 5
#define HEADER_BYTES 128
#define TIMED_OUT (-1)

enum { INTERVAL, TIMEOUT, RETRIES, START_PERIOD, START_INTERVAL, NUMBERS };

struct entry {
	struct timespec began, ended;
	int code;
	size_t length;
	char output[OUTPUT_BYTES];
};

struct health {
	long numbers[NUMBERS]; /* milliseconds, but for RETRIES */
	int directory_fd;
	const uint8_t *plan;
	size_t plan_length;
	struct connection server;
	uint32_t stream; /* of the check that runs, or was the last */
	bool running;
	int64_t due_ms; /* when it has taken too long, or the next one begins */
	int64_t started_ms;
	const char *status;
	unsigned streak; /* failures since the last success */
	unsigned count;  /* checks so far; entries[n % ENTRIES] */
	struct entry entries[ENTRIES];
};

static struct entry *current(struct health *health)
{
	return &health->entries[health->count % ENTRIES];
}

static bool is_starting(const struct health *health)
{
	return strcmp(health->status, "starting") == 0 && now_ms() - health->started_ms < health->numbers[START_PERIOD];
}

static void write_state(const struct health *health)
{
	char text[HEADER_BYTES];
	int length = snprintf(text, sizeof(text), "%s %u\n", health->status, health->streak);
	CLEANUP_FD int fd =
		openat(health->directory_fd, "health.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int error = fd < 0 ? -errno : fd_write_all(fd, text, (size_t)length);
	for (unsigned i = health->count < ENTRIES ? 0 : health->count - ENTRIES; i < health->count && !error; i++) {
		const struct entry *entry = &health->entries[i % ENTRIES];
		length = snprintf(text, sizeof(text), "%lld.%09ld %lld.%09ld %d %zu\n", (long long)entry->began.tv_sec,
		                  entry->began.tv_nsec, (long long)entry->ended.tv_sec, entry->ended.tv_nsec,
		                  entry->code, entry->length);
		error = fd_write_all(fd, text, (size_t)length);
		if (!error)
			error = fd_write_all(fd, entry->output, entry->length);
		if (!error)
			error = fd_write_all(fd, "\n", 1);
	}
	if (!error)
		renameat(health->directory_fd, "health.new", health->directory_fd, "health");
}

static void rest(struct health *health)
{
	health->running = false;
	health->due_ms = now_ms() + health->numbers[is_starting(health) ? START_INTERVAL : INTERVAL];
}

static void note(struct health *health, const void *bytes, size_t length)
{
	struct entry *entry = current(health);
	size_t room = OUTPUT_BYTES - entry->length;
	length = length < room ? length : room;
	memcpy(entry->output + entry->length, bytes, length);
	entry->length += length;
}

/* A failure before the first success does not count while the workload is said to be starting. */
static void judge(struct health *health, int code)
{
	bool counts = !is_starting(health);
	current(health)->code = code;
	clock_gettime(CLOCK_REALTIME, &current(health)->ended);
	health->count++;
	if (code == 0) {
		health->streak = 0;
		health->status = "healthy";
	} else if (counts && ++health->streak >= (unsigned long)health->numbers[RETRIES]) {
		health->status = "unhealthy";
	}
	write_state(health);
	rest(health);
}

/* What is paused, or does not run yet, was not asked. */
static void refused(struct health *health, const struct frame *frame)
{
	uint32_t code = frame_u32(frame, 2);
	if (frame_u32(frame, 1) == EBUSY) {
		rest(health);
		return;
	}
	if (frame->length > 12)
		note(health, frame->payload + 12, frame->length - 12);
	judge(health, code ? (int)(code & 0xff) : 125);
}

static int on_frame(void *context, struct connection *from, const struct frame *frame)
{
	struct health *health = context;
	if (!health->running || frame->stream != health->stream)
		return 0;
	if (frame->kind == FRAME_STDOUT || frame->kind == FRAME_STDERR) {
		note(health, frame->payload, frame->length);
		connection_send_u32(from, frame->stream, FRAME_CREDIT, frame->length);
	} else if (frame->kind == FRAME_EXIT) {
		judge(health, (int)(frame_u32(frame, 0) & 0xff));
	} else if (frame->kind == FRAME_ERROR) {
		refused(health, frame);
	}
	return 0;
}

/* The frame in chunks, each as soon as there is room for it. */
static void send_plan(struct health *health)
{
	struct connection *server = &health->server;
	uint8_t header[FRAME_HEADER_BYTES];
	for (size_t at = 0; at < health->plan_length && !server->broken;) {
		size_t left = health->plan_length - at, length = left < MAX_PAYLOAD ? left : MAX_PAYLOAD;
		frame_header(header, health->stream, FRAME_EXEC, length == left ? FLAG_LAST : 0, (uint32_t)length);
		if (ring_put(&server->out, header, sizeof(header)) < 0 ||
		    ring_put(&server->out, health->plan + at, length) < 0)
			server->broken = true;
		at += length;
		while (server->out.used && !server->broken) {
			struct pollfd wait = {.fd = server->fd, .events = POLLOUT};
			poll(&wait, 1, -1);
			connection_flush(server);
		}
	}
}

static void begin(struct health *health)
{
	struct entry *entry = current(health);
	entry->length = 0;
	clock_gettime(CLOCK_REALTIME, &entry->began);
	health->stream++;
	health->running = true;
	health->due_ms = now_ms() + health->numbers[TIMEOUT];
	send_plan(health);
}

static void give_up(struct health *health)
{
	char text[64];
	long timeout_ms = health->numbers[TIMEOUT];
	connection_send(&health->server, health->stream, FRAME_CLOSE, NULL, 0);
	current(health)->length = 0;
	int length = snprintf(text, sizeof(text), "Health check exceeded timeout (%ld.%03lds)", timeout_ms / 1000,
	                      timeout_ms % 1000);
	note(health, text, (size_t)length);
	judge(health, TIMED_OUT);
}

static void turn(struct health *health)
{
	struct pollfd wait = {.fd = health->server.fd, .events = POLLIN};
	int64_t left = health->due_ms - now_ms();
	if (left > 0) {
		if (poll(&wait, 1, left > 1 << 30 ? 1 << 30 : (int)left) > 0)
			connection_receive(&health->server, on_frame, health);
	} else if (health->running) {
		give_up(health);
	} else {
		begin(health);
	}
	connection_flush(&health->server);
	if (!health->running)
		connection_rest(&health->server);
}

/* The name goes through a descriptor: 108 bytes end sooner than paths. */
static int connect_at(int directory_fd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/sock", directory_fd);
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd_take(&fd);
}

static int prepare(struct health *health, int argc, char **argv)
{
	struct stat plan;
	int keep[] = {0, 1, 2, PLAN_FD, DIRECTORY_FD};
	sigset_t all;
	if (argc != 2 + NUMBERS)
		return -EINVAL;
	for (int i = 0; i < NUMBERS; i++)
		health->numbers[i] = strtol(argv[2 + i], NULL, 10);
	fd_keep_only(keep, sizeof(keep) / sizeof(keep[0]));
	setsid();
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL); /* it ends with the workload, and by nothing else but SIGKILL */
	umask(077);
	prctl(PR_SET_NAME, "twinhull-health");
	if (chdir("/") < 0 || fstat(PLAN_FD, &plan) < 0 || plan.st_size <= 0)
		return -EBADMSG;
	void *bytes = mmap(NULL, (size_t)plan.st_size, PROT_READ, MAP_PRIVATE, PLAN_FD, 0);
	if (bytes == MAP_FAILED)
		return -errno;
	health->plan = bytes;
	health->plan_length = (size_t)plan.st_size;
	health->directory_fd = DIRECTORY_FD;
	return connect_at(DIRECTORY_FD);
}

int health_main(int argc, char **argv)
{
	static struct health health;
	int fd = prepare(&health, argc, argv);
	if (fd < 0) {
		fprintf(stderr,
		        "usage: launcher health INTERVAL TIMEOUT RETRIES START-PERIOD START-INTERVAL (ms): %s\n",
		        strerror(-fd));
		return 125;
	}
	connection_open(&health.server, fd);
	health.status = "starting";
	health.started_ms = now_ms();
	rest(&health);
	while (!health.server.broken)
		turn(&health);
	return 0;
}
