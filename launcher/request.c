#define _GNU_SOURCE
#include "request.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "fault.h"
#include "stream.h"

#define STATS_BYTES 1024
#define LAST_SIGNAL 64

typedef int request(struct server *server, struct connection *from, const struct frame *frame);

/* The process that a frame is about; NULL: it has ended meanwhile, or never was. */
static struct process *find(struct server *server, const struct connection *from, uint32_t stream)
{
	if (stream == server->main_stream)
		return server->main.state == PROCESS_NONE ? NULL : &server->main;
	for (size_t i = 0; i < MAX_EXECS; i++) {
		struct process *exec = &server->execs[i];
		if (exec->state != PROCESS_NONE && exec->owner == from && exec->stream == stream)
			return exec;
	}
	return NULL;
}

static void refuse(struct connection *from, uint32_t stream, int error, const char *text)
{
	struct failure why = {.index = UINT32_MAX, .error = error, .exit_code = 125};
	snprintf(why.text, sizeof(why.text), "%s", text);
	connection_send_error(from, stream, &why);
}

static int on_hello(struct server *server, struct connection *from, const struct frame *frame)
{
	(void)server, (void)from;
	return frame_u32(frame, 0) == PROTOCOL_VERSION ? 0 : -EPROTO;
}

/* What a plan needs while it is performed: the decoded form. */
static struct plan *decode_chunks(struct server *server, struct connection *from, struct failure *why)
{
	if (!server->plan && !(server->plan = map_memory(sizeof(*server->plan)))) {
		why->error = ENOMEM;
		return NULL;
	}
	return plan_decode(from->plan, from->plan_length, server->plan, why) == 0 ? server->plan : NULL;
}

static int await_tool(struct child *child)
{
	siginfo_t info = {0};
	while (waitid((idtype_t)P_PIDFD, (id_t)child->pidfd, &info, WEXITED) < 0 && errno == EINTR)
		;
	child_close(child);
	return info.si_code == CLD_EXITED && info.si_status == 0 ? 0 : -EIO;
}

/* We are a copy of the machine that was held, and from is another's end. A plan that ends in a tool makes us another
 * machine before anything of the workload goes on. */
static void become_another(struct server *server, struct connection *from, const struct plan *plan)
{
	struct failure why = {.index = UINT32_MAX, .error = EPROTO, .exit_code = 125};
	struct child tool;
	server_drop_execs(server, from);
	from->credit = from->window = INITIAL_CREDIT;
	from->unpaid = 0;
	int result =
		shape_of(plan).tool ? spawn_child(server->host, plan, server->main.child.pid, &tool, &why) : -EPROTO;
	if (result == 0)
		result = spawn_start(&tool, &why);
	if (result == 0 && (result = await_tool(&tool)) < 0)
		why = (struct failure){.index = UINT32_MAX, .error = -result, .exit_code = 125, .text = "identity"};
	if (result < 0)
		connection_send_error(from, server->main_stream, &why);
	else
		connection_send_u32(from, server->main_stream, FRAME_READY, (uint32_t)server->main.child.pid);
}

static int on_plan(struct server *server, struct connection *from, const struct frame *frame)
{
	if (!server->accepts_plan || from != server->starter || server->settled)
		return -EPROTO;
	if ((server->main.state != PROCESS_NONE) != server->held)
		return -EPROTO;
	int result = connection_plan_chunk(from, frame);
	if (result < 0 || !(frame->flags & FLAG_LAST))
		return result;
	struct failure why = {.index = UINT32_MAX, .exit_code = 125};
	struct plan *plan = decode_chunks(server, from, &why);
	if (plan && server->held) {
		become_another(server, from, plan);
		from->plan_length = 0;
		return 0;
	}
	if (plan && server->hooks.plan)
		result = server->hooks.plan(server->hooks.context, plan, &why);
	if (plan && result == 0)
		server_prepare(server, plan);
	else
		server_fail(server, &why);
	from->plan_length = 0; /* its memory stays: to give it back would cost a guest 13 ms of its start (TCG) */
	return 0;
}

static bool reads_what_stands_still(const struct server *server)
{
	for (size_t i = 0; i < MAX_EXECS; i++)
		if (server->execs[i].state != PROCESS_NONE && server->execs[i].thaws)
			return true;
	return false;
}

/* For a machine that is about to be copied: nothing is on the way between us and our client after the answer. */
static int on_hold(struct server *server, struct connection *from, const struct frame *frame)
{
	if (!server->accepts_plan || frame->stream != server->main_stream)
		return -EPROTO;
	int result = server->main.state == PROCESS_RUNNING ? 0 : -ESRCH;
	if (result == 0 && (server->held || reads_what_stands_still(server)))
		result = -EBUSY;
	if (result == 0)
		result = host_freeze(server->host, true);
	server->held |= result == 0;
	connection_send_u32(from, frame->stream, FRAME_HOLD, (uint32_t)-result);
	return 0;
}

static void let_go_on(struct server *server)
{
	server->held = false;
	host_freeze(server->host, server->frozen);
}

static int on_resume(struct server *server, struct connection *from, const struct frame *frame)
{
	(void)from;
	if (frame->stream != server->main_stream || !server->held)
		return -EPROTO;
	let_go_on(server);
	return 0;
}

static int on_start(struct server *server, struct connection *from, const struct frame *frame)
{
	if (from == server->starter && frame->stream == server->main_stream && server->held) {
		let_go_on(server);
		connection_send_u32(from, frame->stream, FRAME_STARTED, (uint32_t)server->main.child.pid);
		return 0;
	}
	if (from != server->starter || frame->stream != server->main_stream || server->main.state != PROCESS_PREPARED)
		return -EPROTO;
	server_start(server);
	return 0;
}

static struct process *free_slot(struct server *server)
{
	for (size_t i = 0; i < MAX_EXECS; i++)
		if (server->execs[i].state == PROCESS_NONE)
			return &server->execs[i];
	return NULL;
}

/* Why no further process can be started now; NULL: it can. A tool can where there is a root to look into. */
static const char *exec_obstacle(struct server *server, bool tool)
{
	if (server->main.state != PROCESS_RUNNING && !(tool && server->main.state == PROCESS_PREPARED))
		return "exec: the workload is not running";
	if (server->frozen && !tool)
		return "exec: the workload is paused";
	return free_slot(server) ? NULL : "exec: too many at once";
}

/* What a tool reads stands still, if it is to. */
static void freeze_for(struct server *server, struct process *exec, const struct op *tool)
{
	if (tool && (tool->args[2].number & TOOL_FREEZES) && server->main.state == PROCESS_RUNNING)
		exec->thaws = host_freeze(server->host, true) == 0;
}

static void exec_plan(struct server *server, struct connection *from, const struct frame *frame)
{
	struct failure why = {.index = UINT32_MAX, .exit_code = 125};
	struct process *exec = free_slot(server);
	struct plan *plan = decode_chunks(server, from, &why);
	const struct op *tool = plan ? shape_of(plan).tool : NULL;
	const char *obstacle = exec_obstacle(server, tool);
	if (obstacle) {
		refuse(from, frame->stream, EBUSY, obstacle);
		return;
	}
	int result = plan ? 0 : -EBADMSG;
	if (result == 0)
		result = spawn_child(server->host, plan, server->main.child.pid, &exec->child, &why);
	if (result == 0) {
		stream_begin(exec, frame->stream, from);
		freeze_for(server, exec, tool);
		result = spawn_start(&exec->child, &why);
	}
	if (result < 0) {
		if (exec->thaws)
			host_freeze(server->host, server->frozen);
		exec->thaws = false;
		stream_discard(exec);
		connection_send_error(from, frame->stream, &why);
		return;
	}
	exec->state = PROCESS_RUNNING;
	if (!(frame->flags & FLAG_STDIN_OPEN))
		stream_end_input(exec);
	FAULT("after-exec-started");
	connection_send_u32(from, frame->stream, FRAME_STARTED, (uint32_t)exec->child.pid);
}

static int on_exec(struct server *server, struct connection *from, const struct frame *frame)
{
	if (frame->stream == server->main_stream || frame->stream == NO_STREAM || find(server, from, frame->stream))
		return -EPROTO;
	int result = connection_plan_chunk(from, frame);
	if (result < 0 || !(frame->flags & FLAG_LAST))
		return result;
	exec_plan(server, from, frame);
	connection_plan_drop(from);
	return 0;
}

static int on_stdin(struct server *server, struct connection *from, const struct frame *frame)
{
	struct process *process = find(server, from, frame->stream);
	return process ? stream_take(process, from, frame) : 0;
}

static int on_eof(struct server *server, struct connection *from, const struct frame *frame)
{
	struct process *process = find(server, from, frame->stream);
	if (process && process->input.used && process->source != from)
		return -EAGAIN;
	if (process == &server->main && server->main.child.stdin_keeps)
		return 0;
	if (process)
		stream_end_input(process);
	return 0;
}

static int on_credit(struct server *server, struct connection *from, const struct frame *frame)
{
	struct process *process = find(server, from, frame->stream);
	if (!process)
		return 0;
	uint32_t *credit = process->owner ? &process->credit : &from->credit;
	if (__builtin_add_overflow(*credit, frame_u32(frame, 0), credit))
		return -EPROTO;
	return 0;
}

void server_stdin_left(struct server *server)
{
	if (server->main.state == PROCESS_NONE || server->main.child.stdin_keeps)
		return;
	for (size_t i = 0; i < MAX_CONNECTIONS; i++)
		if (server->connections[i].fd >= 0 && server->connections[i].has_stdin)
			return;
	stream_end_input(&server->main);
}

static void leave_main(struct server *server, struct connection *from)
{
	bool had_stdin = from->has_stdin;
	connection_detach(from);
	if (had_stdin)
		server_stdin_left(server);
}

static int on_close(struct server *server, struct connection *from, const struct frame *frame)
{
	struct process *process = find(server, from, frame->stream);
	if (process == &server->main) {
		leave_main(server, from);
	} else if (process) {
		stream_signal(process, SIGKILL);
		process->owner = NULL;
		process->source = NULL;
	}
	return 0;
}

static int on_detach(struct server *server, struct connection *from, const struct frame *frame)
{
	struct process *process = find(server, from, frame->stream);
	if (process == &server->main) {
		leave_main(server, from);
	} else if (process) {
		process->owner = NULL;
		process->source = NULL;
		stream_end_input(process);
	}
	return 0;
}

static int signal_cgroup(const struct server *server, int signal)
{
	if (signal == SIGKILL)
		return host_kill(server->host);
	int fd = openat(server->host->cgroup2_fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	char text[4096];
	size_t used = 0;
	ssize_t got;
	while ((got = read(fd, text + used, sizeof(text) - 1 - used)) > 0) {
		used += (size_t)got;
		text[used] = '\0';
		char *line = text;
		for (char *end; (end = strchr(line, '\n')); line = end + 1)
			kill((pid_t)strtol(line, NULL, 10), signal);
		used = strlen(line);
		memmove(text, line, used);
	}
	close(fd);
	return 0;
}

int server_signal(struct server *server, int signal, bool all)
{
	if (all && server->host->cgroup2_fd >= 0 && signal_cgroup(server, signal) == 0)
		return 0;
	return stream_signal(&server->main, signal);
}

static int on_signal(struct server *server, struct connection *from, const struct frame *frame)
{
	uint32_t signal = frame_u32(frame, 0);
	struct process *process = find(server, from, frame->stream);
	if (signal < 1 || signal > LAST_SIGNAL)
		return -EPROTO;
	if (process == &server->main)
		server_signal(server, (int)signal, frame->flags & FLAG_ALL);
	else if (process)
		stream_signal(process, (int)signal);
	return 0;
}

static int on_resize(struct server *server, struct connection *from, const struct frame *frame)
{
	struct process *process = find(server, from, frame->stream);
	struct winsize size = {.ws_row = frame_u16(frame, 0), .ws_col = frame_u16(frame, 1)};
	if (process && process->child.tty >= 0)
		ioctl(process->child.tty, TIOCSWINSZ, &size);
	return 0;
}

static int on_pause(struct server *server, struct connection *from, const struct frame *frame)
{
	bool frozen = frame_u32(frame, 0) != 0;
	int result = server->main.state == PROCESS_RUNNING ? host_freeze(server->host, frozen) : -ESRCH;
	if (result < 0) {
		refuse(from, frame->stream, -result, frozen ? "pause" : "unpause");
		return 0;
	}
	server->frozen = frozen;
	connection_send_u32(from, frame->stream, FRAME_PAUSE, frozen);
	return 0;
}

static int on_wait(struct server *server, struct connection *from, const struct frame *frame)
{
	if (frame->stream != server->main_stream)
		return -EPROTO;
	from->waiting = true;
	if (server->farewell)
		connection_send_exit(from, server->main_stream, &server->outcome.status);
	return 0;
}

static int on_attach(struct server *server, struct connection *from, const struct frame *frame)
{
	if (frame->stream != server->main_stream || from->attached)
		return -EPROTO;
	connection_attach(from, false);
	from->has_stdin = frame->flags & FLAG_STDIN_OPEN;
	if (server->main.eof_sent)
		connection_publish(from, server->main_stream, FRAME_EOF, NULL, 0);
	if (server->farewell)
		connection_send_exit(from, server->main_stream, &server->outcome.status);
	return 0;
}

static int on_stats(struct server *server, struct connection *from, const struct frame *frame)
{
	char text[STATS_BYTES];
	size_t length = server->hooks.stats ? server->hooks.stats(server->hooks.context, text, sizeof(text)) : 0;
	if (length)
		connection_send(from, frame->stream, FRAME_STATS, text, (uint32_t)length);
	else
		refuse(from, frame->stream, ENOTSUP, "stats");
	return 0;
}

static int on_ping(struct server *server, struct connection *from, const struct frame *frame)
{
	(void)server;
	connection_send(from, frame->stream, FRAME_PING, frame->payload, frame->length);
	return 0;
}

static request *const REQUESTS[FRAME_RESUME + 1] = {
	[FRAME_HELLO] = on_hello,   [FRAME_PLAN] = on_plan,     [FRAME_START] = on_start,   [FRAME_EXEC] = on_exec,
	[FRAME_STDIN] = on_stdin,   [FRAME_EOF] = on_eof,       [FRAME_CREDIT] = on_credit, [FRAME_CLOSE] = on_close,
	[FRAME_SIGNAL] = on_signal, [FRAME_RESIZE] = on_resize, [FRAME_PAUSE] = on_pause,   [FRAME_WAIT] = on_wait,
	[FRAME_DETACH] = on_detach, [FRAME_ATTACH] = on_attach, [FRAME_STATS] = on_stats,   [FRAME_PING] = on_ping,
	[FRAME_HOLD] = on_hold,     [FRAME_RESUME] = on_resume,
};

int server_request(void *context, struct connection *from, const struct frame *frame)
{
	struct server *server = context;
	request *known = REQUESTS[frame->kind];
	if (known)
		return known(server, from, frame);
	if (server->hooks.request)
		return server->hooks.request(server->hooks.context, from, frame);
	return -EPROTO;
}
