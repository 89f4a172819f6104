#ifndef TWINHULL_HOOK_H
#define TWINHULL_HOOK_H

#include <stdbool.h>
#include <sys/types.h>

#include "plan.h"

#define MAX_WORDS 512

/* "one\0two\0" to pointers, a NULL behind them. Returns how many, or -E2BIG. */
int words_split(const struct argument *text, const char *words[MAX_WORDS]);

/* Wait for a program of ours, which is killed when the time is over; 0 is no limit. Returns as hook_run. *status: as
 * waitpid has it. */
int program_await(pid_t pid, int pidfd, uint64_t timeout_ms, int *status);

/* Where the first line of what a program writes to stderr is noted, if anywhere; all of it goes to ours. */
struct said {
	char text[100];
	size_t length;
	bool whole;
};

/* Run the program of a hook op and wait for its end. Returns 0, -ETIMEDOUT, -ENOENT, or -ECANCELED if it failed.
 * environment: what it has in place of the op's, or NULL; said: or NULL, then its stderr is ours. */
int hook_run(const struct op *op, const char *const *environment, struct said *said, int *status);

#endif
