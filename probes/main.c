/* Runs every trial in a process of its own and prints "escape-NAME RESULT DETAIL" a line.
 *     escapes [ADDRESS PORT [PID]]: see struct host
 *     escapes DIRECTORY: what is shared through it instead */
#define _GNU_SOURCE
#include "escape.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRIAL_LIMIT_US 800000 /* a trial that blocks longer has no answer */

struct outcome {
	int error;
	char detail[DETAIL_BYTES];
};

void say(char *detail, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(detail, DETAIL_BYTES, format, arguments);
	va_end(arguments);
}

/* What the errno means: the thing is not there, or it is kept away. */
static const char *result_of(int error)
{
	switch (error) {
	case 0: return "works";
	case NOT_TRIED: return "untried";
	case ENOENT:
	case ENOSYS:
	case ENODEV:
	case ENXIO:
	case EAFNOSUPPORT:
	case EPROTONOSUPPORT:
	case ENETUNREACH:
	case EHOSTUNREACH:
	case ECONNREFUSED:
	case ETIMEDOUT: return "absent";
	default: return "refused";
	}
}

static void run_trial(const struct trial *trial, const struct host *host, struct outcome *outcome)
{
	*outcome = (struct outcome){.error = NOT_TRIED};
	pid_t child = fork();
	if (child == 0) {
		struct itimerval soon = {.it_value = {.tv_usec = TRIAL_LIMIT_US}};
		signal(SIGALRM, SIG_DFL);
		setitimer(ITIMER_REAL, &soon, NULL);
		outcome->error = trial->run(host, outcome->detail);
		_exit(0);
	}
	int status = 0;
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (child < 0)
		say(outcome->detail, "fork: %s", strerror(errno));
	else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		outcome->error = EPERM;
	else if (WIFSIGNALED(status))
		say(outcome->detail, "no answer: ended by signal %d", WTERMSIG(status));
}

static void report(const char *name, const struct outcome *outcome)
{
	const char *error = outcome->error > 0 ? strerror(outcome->error) : "";
	const char *between = *error && *outcome->detail ? ": " : "";
	printf("escape-%s %s %s%s%s\n", name, result_of(outcome->error), outcome->detail, between, error);
}

int main(int argc, char **argv)
{
	const struct trial *const tables[] = {file_trials, call_trials, network_trials};
	struct host host = {0};
	if (argc > 2) {
		host.address = argv[1];
		host.port = atoi(argv[2]);
		host.process = argv[3]; /* NULL after the last */
	}
	struct outcome *outcome =
		mmap(NULL, sizeof *outcome, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (argc == 2) {
		report_sharing(argv[1]);
		return fflush(stdout) == 0 ? 0 : 1;
	}
	if (outcome == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	setvbuf(stdout, NULL, _IOLBF, 1 << 12); /* flushed before each fork */
	for (size_t table = 0; table < sizeof tables / sizeof *tables; table++)
		for (const struct trial *trial = tables[table]; trial->name; trial++) {
			run_trial(trial, &host, outcome);
			report(trial->name, outcome);
		}
	report_foreign_programs();
	return fflush(stdout) == 0 ? 0 : 1;
}
