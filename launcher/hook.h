#ifndef TWINHULL_HOOK_H
#define TWINHULL_HOOK_H

#include "plan.h"

#define MAX_WORDS 512

/* "one\0two\0" to pointers, a NULL behind them. Returns how many, or -E2BIG. */
int words_split(const struct argument *text, const char *words[MAX_WORDS]);

/* Run the program of a hook op and wait for its end. Returns 0, -ETIMEDOUT, -ENOENT, or -ECANCELED if it failed. */
int hook_run(const struct op *op);

#endif
