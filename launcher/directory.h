/* Directories by descriptor, listed without allocation. */
#ifndef TWINHULL_DIRECTORY_H
#define TWINHULL_DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>

#define LISTING_BYTES 2048

/* Zero-initialise all but fd, which must be open for reading. */
struct listing {
	int fd;
	size_t at, end;
	_Alignas(long) char buffer[LISTING_BYTES];
};

struct entry {
	const char *name; /* valid until the next call */
	bool is_directory;
};

/* The next entry other than "." and "..". Returns 1, 0 at the end, or -errno. */
int listing_next(struct listing *listing, struct entry *entry);

/* Remove a name with all that lies below it, as far as it goes and down to a depth; no link is followed. */
void directory_remove(int parent, const char *name, int depth);

#endif
