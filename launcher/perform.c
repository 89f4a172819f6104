/* `launcher perform` and `launcher undo`: a plan from descriptor 3, without a shim. */
#define _GNU_SOURCE
#include "perform.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "descriptor.h"
#include "spawn.h"

#define PLAN_FD 3
#define INSTANCE_FD 5
#define EXIT_FAILURE_OF_OURS 125

static int complain(const struct failure *why)
{
	dprintf(STDERR_FILENO, "%s: %d\n", why->text, why->error);
	return (int)why->exit_code;
}

/* The child gets our own standard streams, not pipes. */
static void share_streams(struct host *host)
{
	for (int i = 0; i < 3; i++)
		host->streams[i] = fcntl(i, F_DUPFD_CLOEXEC, MAX_CHILD_FDS);
}

static void copy_terminal(int tty)
{
	char buffer[4096];
	ssize_t got;
	/* EIO is how a pty says that nobody has its other end any more. */
	while ((got = read(tty, buffer, sizeof(buffer))) > 0)
		if (fd_write_all(STDOUT_FILENO, buffer, (size_t)got) < 0)
			return;
}

static int await_exit(const struct child *child)
{
	int status;
	if (child->tty >= 0)
		copy_terminal(child->tty);
	while (waitpid(child->pid, &status, 0) < 0)
		if (errno != EINTR)
			return EXIT_FAILURE_OF_OURS;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int run(const struct plan *plan, pid_t main_pid)
{
	struct host host;
	struct child child;
	struct failure why;
	host_init(&host, INSTANCE_FD);
	share_streams(&host);
	if (host_perform(&host, plan, &why) < 0 || spawn_child(&host, plan, main_pid, &child, &why) < 0 ||
	    spawn_start(&child, &why) < 0)
		return complain(&why);
	return await_exit(&child);
}

int perform_main(int argc, char **argv)
{
	struct plan plan;
	struct failure why;
	bool joins = argc == 4 && strcmp(argv[2], "--join") == 0;
	if (argc > 2 && !joins) {
		dprintf(STDERR_FILENO, "usage: launcher perform [--join PID] 3<plan\n");
		return EXIT_FAILURE_OF_OURS;
	}
	if (plan_load(PLAN_FD, &plan, &why) < 0)
		return complain(&why);
	int status = run(&plan, joins ? (pid_t)strtol(argv[3], NULL, 10) : 0);
	if (undo_perform(INSTANCE_FD, &plan, false, &why) < 0)
		complain(&why);
	return status;
}

int undo_main(int argc, char **argv)
{
	struct plan plan;
	struct failure why;
	bool spares = argc == 3 && strcmp(argv[2], "--spare") == 0;
	if (plan_load(PLAN_FD, &plan, &why) < 0 || undo_perform(INSTANCE_FD, &plan, spares, &why) < 0)
		return complain(&why);
	return 0;
}
