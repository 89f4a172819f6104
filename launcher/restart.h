/* What becomes of a workload that has ended by itself: whether a command starts it again, and when.
 *
 * `restart` in its directory is the policy and the command, written by engine/policy.py: texts, each ended by a NUL:
 * policy, most attempts ("0": no limit), PATH, program, words. `restarts` is what came of it: "count delay waiting
 * pid". `stopped` is there once a user has asked for the end. */
#ifndef TWINHULL_RESTART_H
#define TWINHULL_RESTART_H

#include <stdbool.h>
#include <stdint.h>

#include "connection.h"

/* Decide and write down, before the exit record is there. Returns the milliseconds to wait, or -1: it is over. */
int restart_decide(int directory_fd, const struct exit_status *status, int64_t ran_ms);

/* Wait, take the directory's lock and start the command with it as descriptor 3. The caller then ends. */
void restart_later(int directory_fd, int delay_ms);

#endif
