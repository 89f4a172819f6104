#define _GNU_SOURCE
#include "fault.h"

#ifdef FAULT_POINTS
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLOW "slow:"
#define SLOW_US 100000

void fault_point(const char *name)
{
	const char *wanted = getenv("TWINHULL_FAULT");
	if (!wanted)
		return;
	if (strcmp(wanted, name) == 0) {
		raise(SIGKILL);
		_exit(128 + SIGKILL); /* the first process of a namespace cannot kill itself */
	}
	if (strncmp(wanted, SLOW, strlen(SLOW)) == 0 && strcmp(wanted + strlen(SLOW), name) == 0)
		usleep(SLOW_US);
}
#else
typedef int nothing_in_this_build;
#endif
