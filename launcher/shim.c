#define _GNU_SOURCE
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "descriptor.h"
#include "directory.h"
#include "fault.h"
#include "keeper.h"
#include "kernel.h"
#include "log.h"
#include "record.h"
#include "restart.h"
#include "seal.h"
#include "server.h"
#include "stats.h"
#include "stream.h"

#define PLAN_FD 3
#define CLIENT_FD 4
#define DIRECTORY_FD 5
#define FIRST_INHERITED_FD 6
#define WRITES_MAX_DEPTH 128

struct options {
	uint64_t log_max_bytes;
	bool remove; /* the directory goes with the workload: nothing needs to reach the disk */
	bool vm;
	bool vital; /* the workload ends with the client that started it */
	bool still; /* the workload is prepared to be looked into: whatever becomes of it is no end of it */
	const char *exited;
};

/* A plan in a file, mapped for as long as it is needed. */
struct plan_file {
	void *bytes;
	size_t length;
	struct plan *plan;
};

struct shim {
	struct options options;
	int directory_fd;
	bool locked;    /* `alive` is ours: so is what the undo list names */
	bool over;      /* it has ended, and will not start again */
	bool hand_over; /* QEMU has started, the relay has not */
	int64_t started_ms;
	int restart_ms; /* until a command starts it again, or -1 */
	struct host host;
	struct log log;
	struct keeper keeper;
	struct server server;
};

static bool parse_options(struct options *options, int argc, char **argv)
{
	*options = (struct options){0};
	for (int i = 2; i < argc; i++) {
		bool more = i + 1 < argc;
		if (strcmp(argv[i], "--remove") == 0)
			options->remove = true;
		else if (strcmp(argv[i], "--vm") == 0)
			options->vm = true;
		else if (strcmp(argv[i], "--vital") == 0)
			options->vital = true;
		else if (strcmp(argv[i], "--still") == 0)
			options->still = true;
		else if (strcmp(argv[i], "--log-max") == 0 && more)
			options->log_max_bytes = strtoull(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "--exited") == 0 && more)
			options->exited = argv[++i];
		else
			return false;
	}
	return true;
}

static int plan_open(struct plan_file *file, int fd, struct failure *why)
{
	struct stat status;
	*file = (struct plan_file){0};
	if (fstat(fd, &status) < 0 || status.st_size <= 0)
		return -EBADMSG;
	file->length = (size_t)status.st_size;
	void *bytes = mmap(NULL, file->length, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED)
		return -errno;
	file->bytes = bytes;
	file->plan = map_memory(sizeof(*file->plan));
	return file->plan ? plan_decode(file->bytes, file->length, file->plan, why) : -ENOMEM;
}

static void plan_close(struct plan_file *file)
{
	unmap_memory(file->bytes, file->length);
	unmap_memory(file->plan, sizeof(*file->plan));
	*file = (struct plan_file){0};
}

/* Close what the caller left open by accident: all but the three descriptors and what `inherit` ops name. */
static void close_strangers(const struct plan *plan)
{
	int keep[FIRST_INHERITED_FD + MAX_CHILD_FDS];
	size_t count = 0;
	for (int fd = 0; fd < FIRST_INHERITED_FD; fd++)
		keep[count++] = fd;
	for (size_t i = 0; plan && i < plan->count && count < sizeof(keep) / sizeof(keep[0]); i++)
		if (plan->ops[i].code == OP_INHERIT && plan->ops[i].args[0].number < MAX_CHILD_FDS)
			keep[count++] = (int)plan->ops[i].args[0].number;
	fd_keep_only(keep, count);
}

#define LOCK_TRIES 100
#define LOCK_WAIT_US 1000

static int take_lock(int directory_fd)
{
	int fd = fd_high(result(openat(directory_fd, "alive", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)));
	if (fd < 0)
		return fd;
	int error = 0;
	/* A command that asks whether we live holds the lock for the time of two system calls. */
	for (int tries = 0; tries < LOCK_TRIES; tries++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0; /* held until this process ends */
		error = -errno;
		usleep(LOCK_WAIT_US);
	}
	close(fd);
	return error;
}

/* The list goes once it is performed: a directory that has one and no shim needs the next command's help. */
static void undo(struct shim *shim)
{
	struct failure why = {.index = UINT32_MAX};
	struct plan_file file = {0};
	CLEANUP_FD int fd = openat(shim->directory_fd, "undo", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return;
	int error = plan_open(&file, fd, &why);
	if (error == 0)
		error = undo_perform(shim->directory_fd, file.plan, false, &why);
	plan_close(&file);
	if (error == 0)
		unlinkat(shim->directory_fd, "undo", 0);
}

static void on_settle(void *context, struct outcome *outcome)
{
	struct shim *shim = context;
	if (!shim->locked)
		return; /* the directory is another's */
	FAULT("before-record");
	log_finish(&shim->log);
	if (shim->options.vm && outcome->kind == OUTCOME_EXITED)
		keeper_settle(&shim->keeper, &outcome->status);
	if (outcome->kind == OUTCOME_FAILED)
		outcome->status = (struct exit_status){.code = outcome->failure.exit_code};
	/* The engine has committed the start: whatever became of it, it must find an end. */
	bool ended = outcome->start_received && !shim->options.still;
	if (ended && outcome->kind == OUTCOME_EXITED)
		shim->restart_ms = restart_decide(shim->directory_fd, &outcome->status, now_ms() - shim->started_ms);
	if (ended)
		record_write(shim->directory_fd, &outcome->status, !shim->options.remove);
	FAULT("after-record");
	undo(shim);
	FAULT("after-undo");
	unlinkat(shim->directory_fd, "sock", 0);
	if (ended && shim->options.exited)
		record_mark(shim->options.exited);
	FAULT("after-mark");
	shim->over = ended && shim->restart_ms < 0;
}

static void on_output(void *context, uint16_t kind, const uint8_t *data, size_t length)
{
	struct shim *shim = context;
	log_write(&shim->log, kind == FRAME_STDERR, data, length);
}

static void on_started(void *context)
{
	struct shim *shim = context;
	shim->hand_over = shim->options.vm;
	shim->started_ms = now_ms();
}

static size_t on_stats(void *context, char *text, size_t size)
{
	struct shim *shim = context;
	return stats_text(&shim->host, text, size);
}

static void on_rest(void *context)
{
	struct shim *shim = context;
	log_rest(&shim->log);
}

static int on_request(void *context, struct connection *from, const struct frame *frame)
{
	struct shim *shim = context;
	if (!shim->options.vm || from != shim->server.starter)
		return -EPROTO;
	return keeper_request(&shim->keeper, frame);
}

static void block_signals(void)
{
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL); /* it ends with its workload, and by nothing else but SIGKILL */
}

/* Out of the caller's session and descriptors, under a name of our own, from a read-only mount. */
static int detach(char **argv)
{
	setsid(); /* after the re-exec it leads its session already */
	block_signals();
	umask(077);
	if (chdir("/") < 0)
		return -errno;
	int error = seal_launcher(argv);
	FAULT("after-seal");
	prctl(PR_SET_NAME, "twinhull-shim");
	return error;
}

/* Everything before the loop; on failure why says what. */
static int prepare(struct shim *shim, struct plan_file *file, struct failure *why)
{
	int error = take_lock(shim->directory_fd);
	if (error < 0) {
		snprintf(why->text, sizeof(why->text), "alive: the workload has a supervisor already");
		return error;
	}
	shim->locked = true;
	FAULT("after-lock");
	if (!file->plan || !file->plan->count)
		return why->error ? -why->error : -EBADMSG;
	error = host_perform(&shim->host, file->plan, why);
	FAULT("after-host");
	if (error < 0)
		return error;
	shim->server.listen_fd = fd_high(listen_at(shim->directory_fd, "sock"));
	if (shim->server.listen_fd < 0) {
		snprintf(why->text, sizeof(why->text), "listen sock");
		return shim->server.listen_fd;
	}
	return 0;
}

static void begin(struct shim *shim, struct plan_file *file, struct failure *why)
{
	int error = prepare(shim, file, why);
	if (error < 0) {
		why->error = why->error ? why->error : -error;
		server_fail(&shim->server, why);
		return;
	}
	if (server_prepare(&shim->server, file->plan) == 0)
		FAULT("after-ready");
}

static void serve(struct shim *shim)
{
	while (server_turn(&shim->server, -1)) {
		if (!shim->hand_over)
			continue;
		shim->hand_over = false;
		if (keeper_start_relay(&shim->keeper, &shim->server, shim->options.log_max_bytes, shim->options.vital) <
		    0)
			server_signal(&shim->server, SIGKILL, true);
	}
	server_close(&shim->server);
	keeper_wait(&shim->keeper);
	if (shim->restart_ms >= 0)
		restart_later(shim->directory_fd, shim->restart_ms);
}

/* What it wrote, when nobody waits for us any more; its row and the rest are the next command's. */
static void forget_writes(int directory)
{
	directory_remove(directory, "upper", WRITES_MAX_DEPTH);
	directory_remove(directory, "work", WRITES_MAX_DEPTH);
}

int shim_main(int argc, char **argv)
{
	static struct shim shim;
	struct failure why = {.index = UINT32_MAX, .exit_code = 125};
	struct plan_file file;
	if (!parse_options(&shim.options, argc, argv)) {
		fprintf(stderr, "usage: launcher shim [--log-max BYTES] [--remove] [--exited PATH] [--vm [--vital]] "
		                "[--still]\n");
		return 125;
	}
	shim.restart_ms = -1;
	int sealed = detach(argv);
	int opened = plan_open(&file, PLAN_FD, &why);
	close_strangers(opened == 0 ? file.plan : NULL);
	close(PLAN_FD);
	shim.directory_fd = fd_high(DIRECTORY_FD);
	int client_fd = fd_high(CLIENT_FD);
	host_init(&shim.host, shim.directory_fd);
	log_init(&shim.log, shim.directory_fd, shim.options.log_max_bytes);
	struct server_hooks hooks = {.context = &shim,
	                             .output = shim.options.vm ? NULL : on_output,
	                             .started = on_started,
	                             .settle = on_settle,
	                             .stats = on_stats,
	                             .rest = on_rest,
	                             .request = on_request};
	server_init(&shim.server, &shim.host, &hooks);
	shim.server.main_stream = shim.options.vm ? NO_STREAM : 0;
	server_adopt(&shim.server, client_fd, true);
	if (sealed < 0 || opened < 0) {
		plan_close(&file);
		why.error = why.error ? why.error : sealed < 0 ? -sealed : -opened;
		if (!why.text[0])
			snprintf(why.text, sizeof(why.text), sealed < 0 ? "read-only mount of the launcher" : "plan");
	}
	begin(&shim, &file, &why);
	plan_close(&file);
	serve(&shim);
	if (shim.over && shim.options.remove)
		forget_writes(shim.directory_fd);
	return 0;
}
