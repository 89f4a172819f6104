/* What the parts of `launcher imprint` share. */
#ifndef TWINHULL_SAVER_H
#define TWINHULL_SAVER_H

#include <stdint.h>
#include <sys/types.h>

#include "imprint.h"

#define SAVER_TEMPLATE "/memfd:template" /* how procfs names a template's memory */

struct saver {
	pid_t pid;
	int out;
	int directory, memory, pagemap; /* in procfs */
	struct imprint *imprint;
	uint64_t end; /* of the memfd so far */
	pid_t tids[IMPRINT_THREADS];
	const char *what; /* was being done, if it fails */
};

/* Read the process's memory. Returns 0 or -errno. */
int saver_read(const struct saver *saver, uint64_t address, void *to, size_t length);

/* imprint_memory.c: the place of a name among the imprint's, or -errno. */
int saver_name(struct saver *saver, const char *path);

/* imprint_threads.c, imprint_memory.c: stop all threads and save them; save the memory. Return 0 or -errno. */
int save_threads(struct saver *saver);
int save_memory(struct saver *saver);

#endif
