/* Programs of the caller's that a life goes through: one after the other, each to its end. */
#define _GNU_SOURCE
#include "hook.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "descriptor.h"
#include "kernel.h"

int words_split(const struct argument *text, const char *words[MAX_WORDS])
{
	size_t count = 0;
	for (const char *at = text->text, *end = at + text->length; at < end; at += strlen(at) + 1) {
		if (count + 1 == MAX_WORDS || !memchr(at, '\0', (size_t)(end - at)))
			return -E2BIG;
		words[count++] = at;
	}
	words[count] = NULL;
	return (int)count;
}

/* Our ends of what a hook has as its standard streams: its input's, and its stderr's or -1. */
struct pipes {
	int input[2], error[2];
};

static int make_pipe(int ends[2])
{
	int error = fd_pipe(ends);
	if (error == -EINVAL ||
	    error == -EMFILE) /* the process's limit is below those numbers, and it has its descriptors already */
		error = pipe2(ends, O_CLOEXEC) < 0 ? -errno : 0;
	return error;
}

static void pipes_close(struct pipes *pipes)
{
	for (int i = 0; i < 2; i++) {
		fd_close(&pipes->input[i]);
		fd_close(&pipes->error[i]);
	}
}

static _Noreturn void become(const struct op *op, const char *const *environment, const struct pipes *pipes)
{
	const char *arguments[MAX_WORDS], *own[MAX_WORDS];
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL); /* a shim has all of them blocked */
	bool fits = words_split(&op->args[2], arguments) >= 0 && words_split(&op->args[3], own) >= 0;
	const char *const *given = environment ? environment : own;
	if (fits && dup2(pipes->input[0], STDIN_FILENO) >= 0 &&
	    (pipes->error[1] < 0 || dup2(pipes->error[1], STDERR_FILENO) >= 0))
		execve(op->args[1].text, (char *const *)(uintptr_t)arguments, (char *const *)(uintptr_t)given);
	_exit(!fits ? 125 : errno == ENOENT ? 127 : 126);
}

/* A hook need not read its state: a closed pipe is no failure. */
static void tell_state(int pipe, const char *state)
{
	char number[16];
	int length = snprintf(number, sizeof(number), "%d}", getpid());
	if (fd_write_all(pipe, state, strlen(state)) == 0)
		fd_write_all(pipe, number, (size_t)length);
}

static void note(struct said *said, const char *text, size_t length)
{
	for (size_t i = 0; i < length && !said->whole; i++) {
		said->whole = text[i] == '\n' || said->length + 1 == sizeof(said->text);
		if (!said->whole)
			said->text[said->length++] = text[i];
	}
}

/* What is there to read is noted and passed on, as far as our own stderr takes it at once. False if there is none. */
static bool listen_once(int pipe, struct said *said)
{
	char text[1024];
	struct pollfd here = {.fd = pipe, .events = POLLIN}, there = {.fd = STDERR_FILENO, .events = POLLOUT};
	if (poll(&here, 1, 0) <= 0)
		return false;
	ssize_t got = read(pipe, text, sizeof(text));
	if (got <= 0)
		return false;
	note(said, text, (size_t)got);
	if (poll(&there, 1, 0) > 0 && (there.revents & POLLOUT))
		(void)!write(STDERR_FILENO, text, (size_t)got);
	return true;
}

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Wait for the end of a program; false when its time is over. */
static bool await_end(int pidfd, uint64_t timeout_ms, int pipe, struct said *said)
{
	struct pollfd events[] = {{.fd = pidfd, .events = POLLIN}, {.fd = pipe, .events = POLLIN}};
	int64_t limit = timeout_ms == 0 || timeout_ms > INT_MAX ? INT_MAX : (int64_t)timeout_ms;
	int64_t end = now_ms() + limit;
	for (;;) {
		int64_t left = end - now_ms();
		int seen = poll(events, 2, timeout_ms == 0 ? -1 : left > 0 ? (int)left : 0);
		if (seen > 0 && events[1].revents && !listen_once(pipe, said))
			events[1].fd = -1;
		if (seen == 0 || (seen > 0 && events[0].revents))
			break;
	}
	bool ended = events[0].revents;
	while (pipe >= 0 && listen_once(pipe, said))
		;
	return ended;
}

static int await_status(pid_t pid, int pidfd, uint64_t timeout_ms, int pipe, struct said *said, int *status)
{
	bool ended = await_end(pidfd, timeout_ms, pipe, said);
	if (!ended)
		sys_pidfd_send_signal(pidfd, SIGKILL);
	while (waitpid(pid, status, 0) < 0 && errno == EINTR)
		;
	if (!ended)
		return -ETIMEDOUT;
	if (WIFEXITED(*status) && WEXITSTATUS(*status) == 127)
		return -ENOENT;
	return WIFEXITED(*status) && WEXITSTATUS(*status) == 0 ? 0 : -ECANCELED;
}

int program_await(pid_t pid, int pidfd, uint64_t timeout_ms, int *status)
{
	return await_status(pid, pidfd, timeout_ms, -1, NULL, status);
}

int hook_run(const struct op *op, const char *const *environment, struct said *said, int *status)
{
	struct pipes pipes = {{-1, -1}, {-1, -1}};
	int pidfd = -1, error = make_pipe(pipes.input);
	if (!error && said)
		error = make_pipe(pipes.error);
	struct clone_args arguments = {
		.flags = CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)&pidfd, .exit_signal = SIGCHLD};
	pid_t pid = error ? error : sys_clone3(&arguments);
	if (pid == 0)
		become(op, environment, &pipes);
	fd_close(&pipes.input[0]);
	fd_close(&pipes.error[1]);
	if (pid > 0) {
		signal(SIGPIPE, SIG_IGN);
		tell_state(pipes.input[1], op->args[5].text);
		fd_close(&pipes.input[1]);
		error = await_status(pid, pidfd, op->args[4].number, pipes.error[0], said, status);
		signal(SIGPIPE, SIG_DFL);
		close(pidfd);
	}
	pipes_close(&pipes);
	return pid < 0 ? pid : error;
}
