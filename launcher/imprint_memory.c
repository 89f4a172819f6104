/* Memory of a process that is saved: which range is what, and the pages that are its own. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "descriptor.h"
#include "saver.h"

#define CHUNK_BYTES (1u << 20)
#define GAP_PAGES 16u /* pages of zeroes between others that are not worth a range of their own */
/* The upper half of an entry of pagemap. */
#define PAGE_PRESENT (1u << 31)
#define PAGE_SWAPPED (1u << 30)
#define PAGE_FILE (1u << 29)
enum { MADVISE_HUGE = 14 };

int saver_read(const struct saver *saver, uint64_t address, void *to, size_t length)
{
	return pread(saver->memory, to, length, (off_t)address) == (ssize_t)length ? 0 : -EIO;
}

struct mapping {
	uint64_t start, end, offset;
	int protection;
	bool shared;
	const char *path;
};

static bool parse_mapping(char *line, struct mapping *mapping)
{
	char permissions[5];
	int path = 0;
	unsigned long long start, end, offset;
	if (sscanf(line, "%llx-%llx %4s %llx %*s %*s %n", &start, &end, permissions, &offset, &path) < 4 || !path)
		return false;
	*mapping = (struct mapping){.start = start, .end = end, .offset = offset, .path = line + path};
	mapping->shared = permissions[3] == 's';
	mapping->protection = (permissions[0] == 'r' ? PROT_READ : 0) | (permissions[1] == 'w' ? PROT_WRITE : 0) |
	                      (permissions[2] == 'x' ? PROT_EXEC : 0);
	return true;
}

static int add_segment(struct saver *saver, struct segment segment)
{
	struct imprint *imprint = saver->imprint;
	if (segment.start >= segment.end)
		return 0;
	if (imprint->segments == IMPRINT_SEGMENTS)
		return -E2BIG;
	imprint->segment[imprint->segments++] = segment;
	return 0;
}

/* Copy pages to the end of the memfd; those of zeroes become holes. */
static int copy_pages(struct saver *saver, uint64_t start, uint64_t end, uint64_t *offset)
{
	static uint8_t chunk[CHUNK_BYTES];
	static const uint8_t zeroes[IMPRINT_PAGE];
	*offset = saver->end;
	for (uint64_t at = start; at < end; at += sizeof(chunk)) {
		size_t length = end - at < sizeof(chunk) ? (size_t)(end - at) : sizeof(chunk);
		int error = saver_read(saver, at, chunk, length);
		if (error)
			return error;
		for (size_t page = 0; page < length; page += IMPRINT_PAGE)
			if (memcmp(chunk + page, zeroes, IMPRINT_PAGE) &&
			    pwrite(saver->out, chunk + page, IMPRINT_PAGE, (off_t)(saver->end + page)) != IMPRINT_PAGE)
				return -EIO;
		saver->end += length;
	}
	return 0;
}

static int add_pages(struct saver *saver, const struct mapping *mapping, uint64_t start, uint64_t end, int kind)
{
	struct segment segment = {
		.start = start, .end = end, .kind = (uint32_t)kind, .protection = (uint32_t)mapping->protection};
	if (start >= end)
		return 0;
	int error = copy_pages(saver, start, end, &segment.offset);
	return error ? error : add_segment(saver, segment);
}

static bool is_own(const struct saver *saver, uint64_t address)
{
	static uint64_t entries[512];
	static uint64_t first = UINT64_MAX; /* number of the page that entries begin with */
	uint64_t number = address / IMPRINT_PAGE;
	if (number < first || number >= first + 512) {
		memset(entries, 0, sizeof(entries));
		first = number - number % 512;
		if (pread(saver->pagemap, entries, sizeof(entries), (off_t)(first * sizeof(uint64_t))) < 0)
			return true;
	}
	uint32_t upper = (uint32_t)(entries[number - first] >> 32);
	return (upper & (PAGE_PRESENT | PAGE_SWAPPED)) && !(upper & PAGE_FILE);
}

/* The process's own pages; between them stays what the rest is. */
static int save_own(struct saver *saver, const struct mapping *mapping, struct segment rest)
{
	uint64_t begun = 0, last = 0; /* a run of own pages, and where its last one ends */
	uint64_t done = mapping->start;
	bool lies_below = rest.kind == SEGMENT_DESCRIPTOR; /* pages are laid over it */
	int error = lies_below ? add_segment(saver, rest) : 0;
	for (uint64_t at = mapping->start; !error && at <= mapping->end; at += IMPRINT_PAGE) {
		bool own = at < mapping->end && is_own(saver, at);
		if (own && !begun)
			begun = at;
		if (own)
			last = at + IMPRINT_PAGE;
		if (!begun || own || (at < mapping->end && at - last < GAP_PAGES * IMPRINT_PAGE))
			continue;
		rest.start = done, rest.end = begun;
		error = lies_below ? 0 : add_segment(saver, rest);
		if (!error)
			error = add_pages(saver, mapping, begun, last, SEGMENT_PAGES);
		done = last;
		begun = 0;
	}
	rest.start = done, rest.end = mapping->end;
	return error || lies_below ? error : add_segment(saver, rest);
}

static bool has_own(const struct saver *saver, const struct mapping *mapping)
{
	for (uint64_t at = mapping->start; at < mapping->end; at += IMPRINT_PAGE)
		if (is_own(saver, at))
			return true;
	return false;
}

int saver_name(struct saver *saver, const char *path)
{
	struct imprint *imprint = saver->imprint;
	size_t length = strlen(path) + 1;
	for (uint32_t at = 0; at < imprint->names; at += (uint32_t)strlen(imprint->name + at) + 1)
		if (!strcmp(imprint->name + at, path))
			return (int)at;
	if (imprint->names + length > IMPRINT_NAMES)
		return -E2BIG;
	memcpy(imprint->name + imprint->names, path, length);
	imprint->names += (uint32_t)length;
	return (int)(imprint->names - length);
}

static int add_file(struct saver *saver, const struct mapping *mapping, struct segment segment)
{
	int name = saver_name(saver, mapping->path);
	segment.name = (uint32_t)name;
	return name < 0 ? name : add_segment(saver, segment);
}

static int add_special(struct imprint *imprint, const struct mapping *mapping)
{
	if (imprint->specials == IMPRINT_SPECIALS)
		return -E2BIG;
	imprint->special[imprint->specials++] = (struct address_range){mapping->start, mapping->end};
	return 0;
}

static int save_mapping(struct saver *saver, const struct mapping *mapping)
{
	struct imprint *imprint = saver->imprint;
	struct segment segment = {.start = mapping->start,
	                          .end = mapping->end,
	                          .offset = mapping->offset,
	                          .kind = SEGMENT_EMPTY,
	                          .protection = (uint32_t)mapping->protection};
	if (!strcmp(mapping->path, "[vsyscall]"))
		return 0;
	if (!strcmp(mapping->path, "[vdso]") || !strncmp(mapping->path, "[vvar", 5))
		return add_special(imprint, mapping);
	if (mapping->shared)
		return -ENOTSUP;
	if (!mapping->protection)
		return add_segment(saver, segment);
	if (!strcmp(mapping->path, "[stack]"))
		return add_pages(saver, mapping, mapping->start, mapping->end, SEGMENT_STACK);
	if (!strncmp(mapping->path, SAVER_TEMPLATE, strlen(SAVER_TEMPLATE))) {
		segment.kind = SEGMENT_DESCRIPTOR;
		segment.name = IMPRINT_MEMORY;
		return save_own(saver, mapping, segment);
	}
	if (mapping->path[0] == '/') {
		segment.kind = SEGMENT_FILE;
		bool changed = (mapping->protection & PROT_WRITE) || has_own(saver, mapping);
		return changed ? add_pages(saver, mapping, mapping->start, mapping->end, SEGMENT_PAGES)
		               : add_file(saver, mapping, segment);
	}
	if (!strcmp(mapping->path, "[heap]"))
		imprint->layout.start_brk = mapping->start, imprint->layout.brk = mapping->end;
	segment.advice = mapping->protection & PROT_EXEC ? MADVISE_HUGE : 0; /* what is translated into */
	return save_own(saver, mapping, segment);
}

static char *read_whole(int directory, const char *name, size_t *length)
{
	size_t size = 0, got = 0;
	char *text = NULL;
	CLEANUP_FD int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
	for (ssize_t more = 1; fd >= 0 && more > 0; got += (size_t)more) {
		if (size - got < CHUNK_BYTES)
			text = realloc(text, size += 2 * CHUNK_BYTES);
		if (!text || (more = read(fd, text + got, size - got - 1)) < 0)
			return NULL;
	}
	if (text)
		text[got] = '\0';
	*length = got;
	return text;
}

int save_memory(struct saver *saver)
{
	size_t length;
	char *rest = read_whole(saver->directory, "maps", &length);
	saver->what = "its memory";
	if (!rest)
		return -ENOMEM;
	saver->end = IMPRINT_TABLES;
	for (char *line; (line = strsep(&rest, "\n")) && *line;) {
		struct mapping mapping;
		int error = parse_mapping(line, &mapping) ? save_mapping(saver, &mapping) : -EBADMSG;
		if (error)
			return error;
	}
	return 0;
}
