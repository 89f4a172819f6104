#ifndef TWINHULL_HOOK_H
#define TWINHULL_HOOK_H

#include "plan.h"

/* Run the program of a hook op and wait for its end. Returns 0, -ETIMEDOUT, -ENOENT, or -ECANCELED if it failed. */
int hook_run(const struct op *op);

#endif
