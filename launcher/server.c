#define _GNU_SOURCE
#include "server.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "fault.h"
#include "request.h"
#include "stream.h"

#define REST_MS 1000
#define MAX_POLLS (1 + MAX_CONNECTIONS + 4 * (1 + MAX_EXECS))

enum source { SOURCE_LISTEN, SOURCE_CONNECTION, SOURCE_END, SOURCE_INPUT, SOURCE_OUTPUT };

/* What to wait for, and beside it what each answer means. */
struct poll_set {
	size_t count;
	struct pollfd fds[MAX_POLLS];
	struct {
		enum source source;
		int which;
		void *object;
	} meaning[MAX_POLLS];
};

void server_init(struct server *server, struct host *host, const struct server_hooks *hooks)
{
	server->host = host;
	server->hooks = *hooks;
	server->listen_fd = -1;
	for (size_t i = 0; i < MAX_CONNECTIONS; i++)
		server->connections[i].fd = -1;
}

struct connection *server_adopt(struct server *server, int fd, bool starter)
{
	for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
		struct connection *connection = &server->connections[i];
		if (connection->fd >= 0)
			continue;
		connection_open(connection, fd);
		if (server->hooks.greet)
			server->hooks.greet(server->hooks.context, connection);
		else
			connection_send_u32(connection, 0, FRAME_HELLO, PROTOCOL_VERSION);
		if (starter) {
			connection_attach(connection, true);
			connection->has_stdin = true;
			server->starter = connection;
		}
		return connection;
	}
	close(fd);
	return NULL;
}

static void settle(struct server *server, enum outcome_kind kind)
{
	if (server->settled)
		return;
	server->settled = true;
	server->outcome.kind = kind;
	if (server->listen_fd >= 0) {
		close(server->listen_fd);
		server->listen_fd = -1;
	}
	if (server->hooks.settle)
		server->hooks.settle(server->hooks.context, &server->outcome);
}

static void begin_farewell(struct server *server)
{
	server->farewell = true;
	server->farewell_until_ms = now_ms() + FAREWELL_MS;
}

void server_fail(struct server *server, const struct failure *why)
{
	stream_discard(&server->main);
	server->outcome.failure = *why;
	settle(server, OUTCOME_FAILED);
	if (server->starter)
		connection_send_error(server->starter, server->main_stream, &server->outcome.failure);
	begin_farewell(server);
}

int server_prepare(struct server *server, const struct plan *plan)
{
	struct failure why = {.index = UINT32_MAX, .exit_code = 125};
	int result = spawn_child(server->host, plan, 0, &server->main.child, &why);
	if (result == 0)
		stream_begin(&server->main, server->main_stream, NULL);
	if (result == 0 && server->hooks.prepared)
		result = server->hooks.prepared(server->hooks.context, plan, &why);
	if (result < 0) {
		server_fail(server, &why);
		return result;
	}
	if (!server->main.child.stdin_open)
		stream_end_input(&server->main);
	FAULT("after-child");
	if (server->starter)
		connection_send_u32(server->starter, server->main_stream, FRAME_READY,
		                    (uint32_t)server->main.child.pid);
	return 0;
}

void server_start(struct server *server)
{
	struct failure why = {.index = UINT32_MAX, .exit_code = 125};
	server->outcome.start_received = true;
	FAULT("after-start");
	if (spawn_start(&server->main.child, &why) < 0) {
		server_fail(server, &why);
		return;
	}
	server->main.state = PROCESS_RUNNING;
	FAULT("after-exec");
	if (server->starter)
		connection_send_u32(server->starter, server->main_stream, FRAME_STARTED,
		                    (uint32_t)server->main.child.pid);
	if (server->hooks.started)
		server->hooks.started(server->hooks.context);
}

void server_drop_execs(struct server *server, struct connection *connection)
{
	for (size_t i = 0; i < MAX_EXECS; i++) {
		struct process *exec = &server->execs[i];
		if (exec->state == PROCESS_NONE || exec->owner != connection)
			continue;
		stream_signal(exec, SIGKILL);
		stream_forget(exec, connection);
		exec->owner = NULL;
		stream_end_input(exec);
	}
}

/* Everything that hangs on a client, undone. */
static void drop(struct server *server, struct connection *connection)
{
	bool had_stdin = connection->has_stdin;
	server_drop_execs(server, connection);
	stream_forget(&server->main, connection);
	connection_close(connection);
	if (had_stdin)
		server_stdin_left(server);
	if (connection != server->starter)
		return;
	server->starter = NULL;
	if (server->settled)
		return;
	if (server->main.state == PROCESS_NONE || server->main.state == PROCESS_PREPARED) {
		stream_discard(&server->main);
		settle(server, OUTCOME_ABANDONED);
		begin_farewell(server);
	} else if (server->starter_is_vital) {
		server_signal(server, SIGKILL, true);
	}
}

int server_release(struct server *server, struct connection *connection)
{
	while (connection->out.used && !connection->broken) {
		struct pollfd wait = {.fd = connection->fd, .events = POLLOUT};
		poll(&wait, 1, -1);
		connection_flush(connection);
	}
	int fd = connection->fd;
	connection->fd = -1; /* close(-1) below does nothing */
	connection_close(connection);
	if (connection == server->starter)
		server->starter = NULL;
	return fd;
}

static void add(struct poll_set *set, int fd, short events, enum source source, void *object, int which)
{
	set->fds[set->count] = (struct pollfd){.fd = fd, .events = events};
	set->meaning[set->count].source = source;
	set->meaning[set->count].object = object;
	set->meaning[set->count++].which = which;
}

static void add_process(const struct server *server, struct process *process, struct poll_set *set)
{
	if (process->state == PROCESS_NONE || server->held)
		return;
	if (process->child.pidfd >= 0)
		add(set, process->child.pidfd, POLLIN, SOURCE_END, process, 0);
	if (process->input.used && stream_input_fd(process) >= 0)
		add(set, stream_input_fd(process), POLLOUT, SOURCE_INPUT, process, 0);
	for (int which = 0; which < 2; which++)
		if (stream_room(server, process, which))
			add(set, stream_output_fd(process, which), POLLIN, SOURCE_OUTPUT, process, which);
}

static void collect(struct server *server, struct poll_set *set)
{
	set->count = 0;
	if (server->listen_fd >= 0)
		add(set, server->listen_fd, POLLIN, SOURCE_LISTEN, NULL, 0);
	for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
		struct connection *connection = &server->connections[i];
		if (connection->fd < 0)
			continue;
		int events = (connection_readable(connection) ? POLLIN : 0) | (connection->out.used ? POLLOUT : 0);
		add(set, connection->fd, (short)events, SOURCE_CONNECTION, connection, 0);
	}
	add_process(server, &server->main, set);
	for (size_t i = 0; i < MAX_EXECS; i++)
		add_process(server, &server->execs[i], set);
}

static void serve_connection(struct server *server, struct connection *connection, short events)
{
	if (connection->fd < 0)
		return;
	if (connection_readable(connection)) {
		if (events & (POLLIN | POLLHUP | POLLERR))
			connection_receive(connection, server_request, server);
	} else if (events & (POLLHUP | POLLERR)) {
		connection->broken = true; /* nobody is left who could read what it waits for */
	}
}

static void serve(struct server *server, const struct poll_set *set, size_t i)
{
	struct process *process = set->meaning[i].object;
	switch (set->meaning[i].source) {
	case SOURCE_LISTEN: {
		int fd = accept_trusted(server->listen_fd);
		if (fd >= 0)
			server_adopt(server, fd, false);
		break;
	}
	case SOURCE_CONNECTION: serve_connection(server, set->meaning[i].object, set->fds[i].revents); break;
	case SOURCE_END:
		if (process->child.pidfd == set->fds[i].fd)
			stream_reap(server, process);
		break;
	case SOURCE_INPUT:
		if (process->input.used)
			stream_push(process);
		break;
	case SOURCE_OUTPUT: stream_pull(server, process, set->meaning[i].which); break;
	}
}

/* What is done for clients between two waits. */
static void tend_connections(struct server *server)
{
	for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
		struct connection *connection = &server->connections[i];
		if (connection->fd < 0)
			continue;
		connection_flush(connection);
		if (connection->stalled && !connection->broken)
			connection_dispatch(connection, server_request, server);
		if (connection->broken)
			drop(server, connection);
	}
}

static void tend_exec(struct server *server, struct process *exec, int64_t now)
{
	if (exec->state != PROCESS_ENDED)
		return;
	if (stream_outputs_open(exec) && !exec->overdue && now >= exec->drain_until_ms)
		stream_overdue(server, exec);
	if (stream_outputs_open(exec))
		return;
	stream_send_eof(server, exec);
	if (exec->thaws)
		host_freeze(server->host, server->frozen);
	exec->thaws = false;
	if (exec->owner)
		connection_send_exit(exec->owner, exec->stream, &exec->status);
	stream_discard(exec);
}

static bool execs_alive(const struct server *server)
{
	for (size_t i = 0; i < MAX_EXECS; i++)
		if (server->execs[i].state == PROCESS_PREPARED || server->execs[i].state == PROCESS_RUNNING)
			return true;
	return false;
}

static void say_good_bye(struct server *server)
{
	stream_send_eof(server, &server->main);
	for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
		struct connection *connection = &server->connections[i];
		if (connection->fd >= 0 &&
		    (connection->attached || connection->waiting || connection == server->starter))
			connection_send_exit(connection, server->main_stream, &server->outcome.status);
	}
	begin_farewell(server);
}

static void tend_main(struct server *server, int64_t now)
{
	struct process *process = &server->main;
	if (process->state != PROCESS_ENDED || server->farewell)
		return;
	bool late = now >= process->drain_until_ms;
	bool complete = !stream_outputs_open(process) && !execs_alive(server);
	if (!server->settled && (complete || late)) {
		for (size_t i = 0; i < MAX_EXECS; i++)
			stream_signal(&server->execs[i], SIGKILL);
		server->outcome.status = process->status;
		settle(server, OUTCOME_EXITED);
		stream_overdue(server, process);
	}
	/* A first client that has not taken everything yet delays its EXIT, not the record. */
	if (server->settled && !stream_outputs_open(process))
		say_good_bye(server);
}

static bool over(const struct server *server, int64_t now)
{
	if (!server->farewell)
		return false;
	if (server->starter && !connection_idle(server->starter))
		return false;
	for (size_t i = 0; i < MAX_CONNECTIONS && now < server->farewell_until_ms; i++)
		if (server->connections[i].fd >= 0 && !connection_idle(&server->connections[i]))
			return false;
	return true;
}

static void rest(struct server *server)
{
	server->busy = false;
	for (size_t i = 0; i < MAX_CONNECTIONS; i++)
		if (server->connections[i].fd >= 0)
			connection_rest(&server->connections[i]);
	ring_rest(&server->main.input);
	for (size_t i = 0; i < MAX_EXECS; i++)
		if (server->execs[i].state != PROCESS_NONE)
			ring_rest(&server->execs[i].input);
	unmap_memory(server->chunk, MAX_PAYLOAD);
	server->chunk = NULL;
	unmap_memory(server->plan, sizeof(*server->plan));
	server->plan = NULL;
	if (server->hooks.rest)
		server->hooks.rest(server->hooks.context);
}

/* The next moment at which something is due though nothing moves. */
static int next_wait(const struct server *server, int wait_ms, int64_t now)
{
	int64_t until = INT64_MAX;
	if (server->held)
		return wait_ms;
	if (server->main.state == PROCESS_ENDED && !server->settled)
		until = server->main.drain_until_ms;
	if (server->farewell && server->farewell_until_ms < until && now < server->farewell_until_ms)
		until = server->farewell_until_ms;
	for (size_t i = 0; i < MAX_EXECS; i++) {
		const struct process *exec = &server->execs[i];
		if (exec->state == PROCESS_ENDED && !exec->overdue && exec->drain_until_ms < until)
			until = exec->drain_until_ms;
	}
	if (server->busy && now + REST_MS < until)
		until = now + REST_MS;
	int64_t left = until > now ? until - now : 0;
	if (until == INT64_MAX || (wait_ms >= 0 && left > wait_ms))
		return wait_ms;
	return (int)left;
}

bool server_turn(struct server *server, int wait_ms)
{
	struct poll_set set;
	tend_connections(server);
	int64_t now = now_ms();
	for (size_t i = 0; i < MAX_EXECS && !server->held; i++)
		tend_exec(server, &server->execs[i], now);
	if (!server->held)
		tend_main(server, now);
	tend_connections(server); /* what the two above queued, or those who did not take it */
	if (over(server, now))
		return false;
	collect(server, &set);
	int ready = poll(set.fds, (nfds_t)set.count, next_wait(server, wait_ms, now_ms()));
	if (ready == 0 && server->busy)
		rest(server);
	if (ready <= 0)
		return true;
	server->busy = true;
	for (size_t i = 0; i < set.count; i++)
		if (set.fds[i].revents)
			serve(server, &set, i);
	return true;
}

void server_close(struct server *server)
{
	for (size_t i = 0; i < MAX_CONNECTIONS; i++)
		if (server->connections[i].fd >= 0)
			connection_close(&server->connections[i]);
}

enum outcome_kind server_run(struct server *server)
{
	while (server_turn(server, -1))
		;
	server_close(server);
	return server->outcome.kind;
}
