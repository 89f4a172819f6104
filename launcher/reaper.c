/* The first process of a workload whose program is not written to be one: it passes signals on, reaps whoever is left
 * without a parent, and ends as the program does. It never executes a file: it is what has set the workload up. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "descriptor.h"
#include "kernel.h"

#define NAME "init"
#define ARGUMENTS_FIELD 48 /* proc(5), /proc/PID/stat: arg_start, and arg_end behind it */
#define STAT_BYTES 2048
#define SIGNALED 128

/* Our command line has paths of the host; it becomes our name. */
static int rename_process(struct setup *setup)
{
	char path[32], text[STAT_BYTES];
	unsigned long start, end;
	int procfs = own_procfs(setup);
	if (procfs < 0)
		return procfs;
	snprintf(path, sizeof(path), "%d/stat", getpid());
	int length = file_read(procfs, path, text, sizeof(text));
	if (length < 0)
		return length;
	char *at = strrchr(text, ')');
	for (int field = 2; at && field < ARGUMENTS_FIELD; field++)
		at = strchr(at + 1, ' ');
	if (!at || sscanf(at, "%lu %lu", &start, &end) != 2)
		return -EPROTO;
	if (end > start + sizeof(NAME)) {
		memset((void *)start, 0, end - start);
		memcpy((void *)start, NAME, sizeof(NAME));
	}
	return prctl(PR_SET_NAME, NAME, 0, 0, 0) < 0 ? -errno : 0;
}

int op_init(struct setup *setup, const struct op *op)
{
	(void)op;
	setup->init = true;
	return setup->shape->joins ? -EINVAL : rename_process(setup);
}

static int code_of(int status)
{
	return WIFSIGNALED(status) ? SIGNALED + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Everybody who has ended; the program's end is ours, and takes the others along. */
static void reap(pid_t program)
{
	int status;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
		if (pid == program)
			_exit(code_of(status));
}

static _Noreturn void watch(pid_t program, const sigset_t *every)
{
	/* Whoever shares our user must neither read nor trace what knows the plan. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		_exit(EXIT_FAILURE);
	sys_close_range(0, ~0U);
	for (;;) {
		int number = sigwaitinfo(every, NULL);
		if (number == SIGCHLD)
			reap(program);
		else if (number > 0)
			kill(program, number);
	}
}

/* All signals are blocked from before the fork, so that none is lost and taking the terminal does not stop us. */
int reaper_fork(const struct setup *setup)
{
	sigset_t every, none;
	sigfillset(&every);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &every, NULL);
	pid_t program = fork();
	if (program < 0)
		return -errno;
	if (program > 0)
		watch(program, &every);
	if (setup->shape->terminal && (setpgid(0, 0) < 0 || tcsetpgrp(STDIN_FILENO, getpid()) < 0))
		return -errno;
	sigprocmask(SIG_SETMASK, &none, NULL);
	return 0;
}
