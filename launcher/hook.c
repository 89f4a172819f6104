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

static _Noreturn void become(const struct op *op, int input)
{
	const char *arguments[MAX_WORDS], *environment[MAX_WORDS];
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL); /* a shim has all of them blocked */
	bool fits = words_split(&op->args[2], arguments) >= 0 && words_split(&op->args[3], environment) >= 0;
	if (fits && dup2(input, STDIN_FILENO) >= 0)
		execve(op->args[1].text, (char *const *)(uintptr_t)arguments, (char *const *)(uintptr_t)environment);
	_exit(!fits ? 125 : errno == ENOENT ? 127 : 126);
}

/* A hook need not read its state: a closed pipe is no failure. */
static void tell_state(int pipe, const char *state)
{
	char number[16];
	signal(SIGPIPE, SIG_IGN);
	int length = snprintf(number, sizeof(number), "%d}", getpid());
	if (fd_write_all(pipe, state, strlen(state)) == 0)
		fd_write_all(pipe, number, (size_t)length);
	signal(SIGPIPE, SIG_DFL);
}

int program_await(pid_t pid, int pidfd, uint64_t timeout_ms, int *status)
{
	struct pollfd ended = {.fd = pidfd, .events = POLLIN};
	int limit = timeout_ms == 0 ? -1 : timeout_ms > INT_MAX ? INT_MAX : (int)timeout_ms;
	int seen;
	do
		seen = poll(&ended, 1, limit);
	while (seen < 0 && errno == EINTR);
	if (seen == 0)
		sys_pidfd_send_signal(pidfd, SIGKILL);
	while (waitpid(pid, status, 0) < 0 && errno == EINTR)
		;
	if (seen == 0)
		return -ETIMEDOUT;
	if (WIFEXITED(*status) && WEXITSTATUS(*status) == 127)
		return -ENOENT;
	return WIFEXITED(*status) && WEXITSTATUS(*status) == 0 ? 0 : -ECANCELED;
}

int hook_run(const struct op *op, int *status)
{
	int ends[2], pidfd = -1;
	int error = fd_pipe(ends);
	if (error == -EINVAL ||
	    error == -EMFILE) /* the process's limit is below those numbers, and it has its descriptors already */
		error = pipe2(ends, O_CLOEXEC) < 0 ? -errno : 0;
	if (error)
		return error;
	struct clone_args arguments = {
		.flags = CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)&pidfd, .exit_signal = SIGCHLD};
	pid_t pid = sys_clone3(&arguments);
	if (pid == 0)
		become(op, ends[0]);
	close(ends[0]);
	if (pid > 0)
		tell_state(ends[1], op->args[5].text);
	close(ends[1]);
	if (pid < 0)
		return pid;
	error = program_await(pid, pidfd, op->args[4].number, status);
	close(pidfd);
	return error;
}
