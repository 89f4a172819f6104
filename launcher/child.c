#define _GNU_SOURCE
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "descriptor.h"
#include "fault.h"
#include "hook.h"
#include "imprint.h"
#include "kernel.h"
#include "memory.h"

#define DEFAULT_UMASK 022
#define EXIT_SETUP 125 /* as Docker's: the workload did not come to run */

/* Ops of the child stage that are performed where they stand; the others are noted for later. */
static child_op *const PERFORM[MAX_OP_CODE + 1] = {
	[OP_PRIVATE_MOUNTS] = op_private_mounts,
	[OP_OVERLAY] = op_overlay,
	[OP_ROOT_BIND] = op_root_bind,
	[OP_BIND] = op_bind,
	[OP_FILESYSTEM] = op_filesystem,
	[OP_FILESYSTEM_COPIED] = op_filesystem,
	[OP_DIRECTORY] = op_directory,
	[OP_DEVICE] = op_device,
	[OP_SYMLINK] = op_symlink,
	[OP_MASK] = op_mask,
	[OP_READ_ONLY] = op_read_only,
	[OP_ENTER_ROOT] = op_enter_root,
	[OP_FOREIGN_MOUNTS] = op_foreign_mounts,
	[OP_STAGE] = op_stage,
	[OP_SCAFFOLD] = op_scaffold,
	[OP_FILE] = op_file,
	[OP_HOSTNAME] = op_hostname,
	[OP_DOMAINNAME] = op_domainname,
	[OP_SYSCTL] = op_sysctl,
	[OP_OOM_SCORE] = op_oom_score,
	[OP_UMASK] = op_umask,
	[OP_DIRECTORY_OF_WORK] = op_directory_of_work,
	[OP_TERMINAL] = op_terminal,
	[OP_NETWORK] = op_network,
	[OP_AWAIT_HOOKS] = op_await_hooks,
	[OP_HOOK] = op_hook,
	[OP_HOOK_DIRECTORY] = op_hook_directory,
	[OP_PROPAGATION] = op_propagation,
	[OP_AFFINITY] = op_affinity,
	[OP_SCHEDULER] = op_scheduler,
	[OP_IO_PRIORITY] = op_io_priority,
	[OP_PERSONALITY] = op_personality,
	[OP_TIME_OFFSETS] = op_time_offsets,
	[OP_ATTRIBUTES] = op_attributes,
	[OP_REMOUNT] = op_remount,
	[OP_BIND_IDMAPPED] = op_bind,
	[OP_LABEL] = op_label,
	[OP_INIT] = op_init,
	[OP_RUNTIME] = op_runtime,
};

struct shape shape_of(const struct plan *plan)
{
	struct shape shape = {0};
	for (size_t i = 0; i < plan->count; i++) {
		const struct op *op = &plan->ops[i];
		if (stage_of(op->code) != STAGE_CHILD)
			continue;
		if (shape.count++ == 0)
			shape.first = i;
		if (op->code == OP_NAMESPACES)
			shape.flags = op->args[0].number;
		else if (op->code == OP_ID_MAPS)
			shape.maps = op;
		else if (op->code == OP_USER)
			shape.user = op;
		else if (op->code == OP_STDIN)
			shape.stdin_mode = (unsigned)op->args[0].number;
		else if (op->code == OP_TOOL)
			shape.tool = op;
		shape.joins |= op->code == OP_JOIN;
		shape.foreign |= op->code == OP_FOREIGN_MOUNTS;
		shape.runtime |= op->code == OP_RUNTIME;
		shape.terminal |= op->code == OP_TERMINAL;
	}
	return shape;
}

int report_send(int socket, const struct report *report, int fd)
{
	return fd_send(socket, report, sizeof(*report), fd);
}

/* A filter of the workload's may refuse even this call. */
static _Noreturn void leave(int code)
{
	syscall(SYS_exit_group, code);
	__builtin_trap();
}

static _Noreturn void send_failure(const struct setup *setup, struct report *report)
{
	const struct failure *why = &report->failure;
	/* Who made a container without a shim is gone by the time that it starts: `start` looks into the FIFO. */
	if (report_send(setup->ends.status, report, -1) < 0 && setup->host->wait_fd >= 0)
		dprintf(setup->ends.start, "%u %d %s", why->exit_code, why->error, why->text);
	leave((int)why->exit_code);
}

/* The op at fault is the current one; without one the first of the stage, which asked for the process. */
static _Noreturn void fail(const struct setup *setup, int error)
{
	struct report report = {.kind = REPORT_FAILED};
	const struct op *op = setup->current ? setup->current : &setup->plan->ops[setup->shape->first];
	failure_of_op(&report.failure, setup->plan, (size_t)(op - setup->plan->ops), -error, setup->blame);
	send_failure(setup, &report);
}

/* 126 and 127 as Docker has them: there but cannot be run; not there. */
static _Noreturn void fail_exec(const struct setup *setup, const struct op *op, int error)
{
	struct report report = {.kind = REPORT_FAILED};
	failure_of_op(&report.failure, setup->plan, (size_t)(op - setup->plan->ops), -error,
	              setup->interpreter[0] ? setup->interpreter : NULL);
	report.failure.exit_code = error == -ENOENT || error == -ENOTDIR ? 127 : 126;
	send_failure(setup, &report);
}

static void default_signals(void)
{
	const uint64_t standard[4] = {0}; /* the kernel's struct sigaction: SIG_DFL, no flags, no mask */
	sigset_t none;
	for (int number = 1; number < _NSIG; number++)
		/* Refused for KILL and STOP. Not sigaction(): it refuses the C library's own signals (32 to 34), which
		 * glibc's posix_spawn leaves ignored in the shim of a caller that has used threads. */
		syscall(SYS_rt_sigaction, number, standard, NULL, sizeof(uint64_t));
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Wait for one byte of the parent's. If the parent is gone there is none, whatever pid it had: this is the check
 * that makes PDEATHSIG complete. */
static void await_parent(const struct setup *setup)
{
	char go;
	ssize_t got;
	do
		got = read(setup->ends.start, &go, 1);
	while (got < 0 && errno == EINTR);
	if (got != 1)
		_exit(EXIT_SETUP);
}

static int settle(struct setup *setup, pid_t main_pid)
{
	default_signals();
	umask(0);
	if (setup->host->lock_fd >= 0)
		close(setup->host->lock_fd);
	if (!setup->host->orphans && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return -errno;
	int error = setup->shape->tool    ? tool_prepare(setup, main_pid)
	            : setup->shape->joins ? namespaces_join(setup, main_pid)
	                                  : namespaces_enter(setup);
	if (error)
		return error;
	if (setsid() < 0)
		return -errno;
	setup->root = fd_high(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
	return setup->root < 0 ? setup->root : 0;
}

/* Note what has its time later. */
static int note(struct setup *setup, const struct op *op)
{
	switch ((int)op->code) {
	case OP_USER: setup->user = op; return 0;
	case OP_CAPABILITIES: setup->capabilities = op; return 0;
	case OP_NO_NEW_PRIVILEGES: setup->no_new_privileges = op; return 0;
	case OP_SECCOMP:
	case OP_SECCOMP_FLAGS: setup->seccomp = op; return 0;
	case OP_ROOT_READONLY: setup->root_readonly = op; return 0;
	case OP_IMPRINT: setup->imprint = op; return 0;
	case OP_ARGUMENT: setup->argv[setup->argc++] = op->args[0].text; return 0;
	case OP_ENVIRONMENT: setup->envp[setup->envc++] = op->args[0].text; return 0;
	case OP_NAMESPACES:
	case OP_ID_MAPS:
	case OP_JOIN:
	case OP_STDIN:
	case OP_TOOL:
	case OP_EXEC: return 0;   /* read from the shape of the plan */
	case OP_RLIMIT: return 0; /* finish() looks for them */
	default: return -ENOSYS;
	}
}

static bool op_equal(const struct op *one, const struct op *other)
{
	if (one->code != other->code)
		return false;
	for (size_t i = 0; i < OP_MAX_ARGS; i++) {
		const struct argument *a = &one->args[i], *b = &other->args[i];
		if (a->number != b->number || a->length != b->length || !a->text != !b->text ||
		    (a->text && memcmp(a->text, b->text, a->length) != 0))
			return false;
	}
	return true;
}

bool ops_contain(const struct op *ops, size_t count, const struct op *op)
{
	for (size_t i = 0; i < count; i++)
		if (op_equal(op, &ops[i]))
			return true;
	return false;
}

/* How many ops of a plan come before its scaffold: those after it only count if the scaffold is used. */
static size_t before_scaffold(const struct plan *plan)
{
	size_t count = 0;
	while (count < plan->count && plan->ops[count].code != OP_SCAFFOLD)
		count++;
	return count;
}

static bool is_done(const struct setup *setup, const struct op *op)
{
	if (!setup->done)
		return false;
	return ops_contain(setup->done->ops, setup->grafts ? setup->done->count : before_scaffold(setup->done), op);
}

/* A scaffold with more on it than the plan asks for is not used. */
static bool wants_scaffold(const struct plan *plan, const struct plan *done)
{
	size_t first = before_scaffold(done) + 1;
	for (size_t i = first; i < done->count; i++)
		if (!ops_contain(plan->ops, plan->count, &done->ops[i]))
			return false;
	return first < done->count;
}

static void perform(struct setup *setup)
{
	for (size_t i = setup->shape->first; i < setup->shape->first + setup->shape->count; i++) {
		const struct op *op = setup->current = &setup->plan->ops[i];
		setup->blame = NULL;
		if (is_done(setup, op))
			continue;
		int error = PERFORM[op->code] ? PERFORM[op->code](setup, op) : note(setup, op);
		if (error)
			fail(setup, error);
		FAULT(op_name(op->code));
	}
}

/* Limits hold for us, too: they come when the descriptors are in their places, and while we have the rights for it. */
static int limits_set(struct setup *setup)
{
	static const char *const NAMES[] = {"CPU",      "FSIZE",  "DATA",    "STACK", "CORE",  "RSS",
	                                    "NPROC",    "NOFILE", "MEMLOCK", "AS",    "LOCKS", "SIGPENDING",
	                                    "MSGQUEUE", "NICE",   "RTPRIO",  "RTTIME"};
	int error = 0;
	for (size_t i = setup->shape->first; i < setup->shape->first + setup->shape->count && !error; i++) {
		const struct op *op = &setup->plan->ops[i];
		if (op->code == OP_RLIMIT && (error = rlimit_set(op)) < 0) {
			setup->current = op;
			if (op->args[0].number < sizeof(NAMES) / sizeof(NAMES[0]))
				setup->blame = NAMES[op->args[0].number];
		}
	}
	return error;
}

static void end_by(int number)
{
	leave(128 + number);
}

/* A first process is spared what it has no handler for, and the program that would have one is not there yet: whoever
 * says SIGTERM to a container that waits for its start means it. Exec takes the handlers away. */
static void end_by_signals(void)
{
	static const int NUMBERS[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};
	const struct sigaction action = {.sa_handler = end_by};
	for (size_t i = 0; i < sizeof(NUMBERS) / sizeof(NUMBERS[0]); i++)
		sigaction(NUMBERS[i], &action, NULL);
}

/* From the last op to the wait for the parent's word. */
static void finish(struct setup *setup, const struct op *last)
{
	struct report ready = {.kind = REPORT_READY};
	int error = root_readonly(setup);
	/* Nobody reads what exec says later, and callers expect this of `create`. */
	if (!error && setup->host->wait_fd >= 0 && (error = exec_possible(setup, last->args[0].text)) < 0)
		fail_exec(setup, last, error);
	if (!setup->shape->tool && !setup->shape->runtime)
		home_add(setup);
	if (!error)
		error = descriptors_arrange(setup);
	if (!error)
		error = limits_set(setup);
	umask(setup->umask);
	if (setup->host->wait_fd >= 0)
		end_by_signals();
	if (!error)
		error = identity_assume(setup);
	if (!error && setup->shape->runtime)
		error = runtime_create(setup, setup->current = last);
	if (!error)
		error = report_send(setup->ends.status, &ready, -1);
	if (error)
		fail(setup, error);
	await_parent(setup);
	error = filter_load_last(setup);
	if (error)
		fail(setup, error);
}

static void run_late_hooks(struct setup *setup)
{
	for (size_t i = setup->shape->first; i < setup->shape->first + setup->shape->count; i++) {
		const struct op *op = setup->current = &setup->plan->ops[i];
		int error = op->code == OP_HOOK && op->args[0].number != HOOK_AT_ONCE ? hook_perform(setup, op) : 0;
		if (error)
			fail(setup, error);
	}
}

static void begin(struct setup *setup, const struct host *host, const struct plan *plan, const struct shape *shape,
                  const struct ends *ends)
{
	*setup = (struct setup){
		.host = host,
		.plan = plan,
		.shape = shape,
		.ends = *ends,
		.root = -1,
		.outer = -1,
		.procfs = -1,
		.empty = -1,
		.lower = -1,
		.umask = DEFAULT_UMASK,
	};
	memset(setup->prepared, 0xff, sizeof(setup->prepared));
	memset(setup->trees, 0xff, sizeof(setup->trees));
}

static _Noreturn void run(struct setup *setup)
{
	const struct op *last = &setup->plan->ops[setup->shape->first + setup->shape->count - 1];
	perform(setup);
	finish(setup, last);
	if (setup->shape->tool)
		tool_run(setup);
	run_late_hooks(setup);
	if (setup->shape->runtime)
		_exit(0); /* closing the status socket: it has started */
	int error = setup->init ? reaper_fork(setup) : 0;
	if (error)
		fail(setup, error);
	if (setup->imprint)
		fail_exec(setup, setup->imprint, imprint_load((int)setup->imprint->args[0].number));
	fail_exec(setup, last, exec_program(setup, last->args[0].text));
}

_Noreturn void child_run(const struct host *host, const struct plan *plan, const struct shape *shape, pid_t main_pid,
                         const struct ends *ends)
{
	struct setup setup;
	begin(&setup, host, plan, shape, ends);
	int error = settle(&setup, main_pid);
	if (error)
		fail(&setup, error);
	run(&setup);
}

/* The plan has come: read it, and make of the streams what it says. */
static int read_plan(struct setup *setup, struct plan *plan, struct shape *shape, const void *bytes)
{
	struct failure why;
	int error = plan_decode(bytes, plan_length(bytes), plan, &why);
	if (error)
		return error;
	*shape = shape_of(plan);
	setup->done = setup->plan;
	setup->plan = plan;
	setup->shape = shape;
	setup->grafts = wants_scaffold(plan, setup->done);
	setup->current = NULL;
	for (int i = 0; i < 3 && shape->terminal; i++)
		fd_close(&setup->ends.io[i]);
	if (shape->terminal || shape->stdin_mode != 0)
		return 0;
	fd_close(&setup->ends.io[0]);
	setup->ends.io[0] = fd_high(open("/dev/null", O_RDONLY | O_CLOEXEC));
	return setup->ends.io[0] < 0 ? setup->ends.io[0] : 0;
}

_Noreturn void child_run_ahead(const struct host *host, const struct plan *plan, const struct shape *shape,
                               const struct ends *ends, const void *bytes)
{
	struct plan *later = map_memory(sizeof(*later));
	struct shape later_shape;
	struct setup setup;
	struct report ready = {.kind = REPORT_READY};
	begin(&setup, host, plan, shape, ends);
	int error = later ? settle(&setup, 0) : -ENOMEM;
	if (error)
		fail(&setup, error);
	perform(&setup);
	scaffold_leave(&setup);
	error = report_send(ends->status, &ready, -1);
	if (error)
		fail(&setup, error);
	memory_prefault();
	memory_populate((void *)(uintptr_t)bytes, PREPARED_PLAN_BYTES, false);
	await_parent(&setup);
	error = read_plan(&setup, later, &later_shape, bytes);
	if (error)
		fail(&setup, error);
	run(&setup);
}
