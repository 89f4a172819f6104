/* `launcher oci-run PID ROOT ID COMMAND...`: the rest of twinhull-oci run, in the interpreter's place. The container's
 * process is a child of ours; when it has ended the container is deleted, by COMMAND if that is not for us. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "front.h"
#include "kernel.h"
#include "modes.h"

#define FIRST_COMMAND 5

static void pass_on_all(sigset_t *signals)
{
	static const int KEPT[] = {SIGKILL, SIGSTOP, SIGCONT, SIGSEGV, SIGTTIN, SIGTTOU};
	sigfillset(signals);
	for (size_t i = 0; i < sizeof(KEPT) / sizeof(KEPT[0]); i++)
		sigdelset(signals, KEPT[i]);
	for (int number = 32; number <= SIGRTMAX; number++)
		sigdelset(signals, number);
	sigprocmask(SIG_SETMASK, signals, NULL);
}

/* Signals of ours are its, until it has ended: then its status, as a shell has it. */
static int attend(pid_t pid)
{
	int status;
	sigset_t signals;
	pass_on_all(&signals);
	while (waitpid(pid, &status, WNOHANG) == 0) {
		int number = sigwaitinfo(&signals, NULL);
		if (number > 0 && number != SIGCHLD)
			kill(pid, number); /* a child of ours: nobody else can have reaped it */
	}
	sigemptyset(&signals);
	sigprocmask(SIG_SETMASK, &signals, NULL);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int run_main(int argc, char **argv)
{
	if (argc <= FIRST_COMMAND)
		return 125;
	int status = attend((pid_t)strtol(argv[2], NULL, 10));
	if (front_delete(argv[3], argv[4], true) != LEAVE_IT)
		return status;
	sys_close_range(3, ~0U); /* the container's lock among them, which COMMAND takes */
	pid_t pid = fork();
	if (pid == 0) {
		execv(argv[FIRST_COMMAND], argv + FIRST_COMMAND);
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return status;
}
