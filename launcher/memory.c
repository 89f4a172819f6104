#define _GNU_SOURCE
#include "memory.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "descriptor.h"

enum { POPULATE_READ = 22, POPULATE_WRITE = 23 }; /* madvise(2) of Linux 5.14, which musl does not name */
#define STACK_BYTES 65536                         /* deeper than we ever are */
#define RENEWED_BYTES (4u << 20)                  /* what a small program leaves */

void *map_memory(size_t length)
{
	void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return memory == MAP_FAILED ? NULL : memory;
}

void unmap_memory(void *memory, size_t length)
{
	if (memory)
		munmap(memory, length);
}

void memory_populate(void *memory, size_t length, bool write)
{
	madvise(memory, length, write ? POPULATE_WRITE : POPULATE_READ);
}

static void grow_stack(void)
{
	volatile char stack[STACK_BYTES];
	for (size_t i = 0; i < sizeof(stack); i += 4096)
		stack[i] = 0;
}

void memory_prefault(void)
{
	char maps[8192];
	grow_stack();
	if (file_read(AT_FDCWD, "/proc/self/maps", maps, sizeof(maps)) < 0)
		return;
	char *rest = maps;
	for (char *line; (line = strsep(&rest, "\n"));) {
		char *end;
		uintptr_t from = strtoul(line, &end, 16);
		uintptr_t to = *end == '-' ? strtoul(end + 1, &end, 16) : from;
		if (strncmp(end, " rw-p", 5) == 0)
			memory_populate((void *)from, to - from < 1u << 20 ? to - from : STACK_BYTES, true);
	}
}

void memory_renew(void)
{
	void *memory = map_memory(RENEWED_BYTES);
	if (!memory)
		return;
	madvise(memory, RENEWED_BYTES, MADV_NOHUGEPAGE);
	memory_populate(memory, RENEWED_BYTES, true);
	unmap_memory(memory, RENEWED_BYTES);
}
