/* What a workload uses, from its cgroups. */
#ifndef TWINHULL_STATS_H
#define TWINHULL_STATS_H

#include "spawn.h"

/* {"pids","cpu_usec","memory_bytes"}; without a memory controller memory is the sum of resident sets. The length. */
size_t stats_text(const struct host *host, char *text, size_t size);

#endif
