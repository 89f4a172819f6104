#define _GNU_SOURCE
#include "stats.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "descriptor.h"

#define FILE_BYTES 4096

/* The number after a key ("" for the first) of a small cgroup file; false: no such file or key. */
static bool read_number(int directory, const char *name, const char *key, unsigned long long *value)
{
	char text[FILE_BYTES];
	if (directory < 0 || file_read(directory, name, text, sizeof(text)) <= 0)
		return false;
	const char *at = strstr(text, key);
	if (!at)
		return false;
	*value = strtoull(at + strlen(key), NULL, 10);
	return true;
}

static unsigned long long resident_bytes(const char *pid)
{
	char path[64], text[256];
	snprintf(path, sizeof(path), "/proc/%s/statm", pid);
	if (file_read(AT_FDCWD, path, text, sizeof(text)) <= 0)
		return 0;
	const char *second = strchr(text, ' ');
	return second ? strtoull(second, NULL, 10) * (unsigned long long)sysconf(_SC_PAGESIZE) : 0;
}

/* Counts the processes of the leaf (as far as one page of them goes) and adds up their memory. */
static void walk(int leaf, unsigned long long *pids, unsigned long long *resident)
{
	char text[FILE_BYTES], *rest = text;
	if (leaf < 0 || file_read(leaf, "cgroup.procs", text, sizeof(text)) <= 0)
		return;
	for (char *line; (line = strsep(&rest, "\n")) && *line; ++*pids)
		*resident += resident_bytes(line);
}

size_t stats_text(const struct host *host, char *text, size_t size)
{
	unsigned long long cpu = 0, pids = 0, memory = 0, value;
	read_number(host->cgroup2_fd, "cpu.stat", "usage_usec ", &cpu);
	walk(host->cgroup2_fd, &pids, &memory);
	if (read_number(host->cgroup2_fd, "pids.current", "", &value))
		pids = value;
	if (read_number(host->cgroup2_fd, "memory.current", "", &value))
		memory = value;
	for (size_t i = 0; i < MAX_CGROUP1 && host->cgroup1_fds[i] >= 0; i++)
		if (read_number(host->cgroup1_fds[i], "memory.usage_in_bytes", "", &value))
			memory = value;
	int length =
		snprintf(text, size, "{\"pids\": %llu, \"cpu_usec\": %llu, \"memory_bytes\": %llu}", pids, cpu, memory);
	return length > 0 && (size_t)length < size ? (size_t)length : 0;
}
