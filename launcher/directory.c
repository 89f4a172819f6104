#define _GNU_SOURCE
#include "directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "descriptor.h"
#include "kernel.h"

/* What getdents64 writes (linux/dirent.h keeps it from user space). */
struct raw_entry {
	uint64_t inode;
	int64_t offset;
	unsigned short length;
	unsigned char type;
	char name[];
};

int listing_next(struct listing *listing, struct entry *entry)
{
	for (;;) {
		if (listing->at >= listing->end) {
			int got = result(syscall(SYS_getdents64, listing->fd, listing->buffer, LISTING_BYTES));
			if (got <= 0)
				return got;
			listing->at = 0;
			listing->end = (size_t)got;
		}
		const struct raw_entry *raw = (const void *)(listing->buffer + listing->at);
		listing->at += raw->length;
		if (strcmp(raw->name, ".") == 0 || strcmp(raw->name, "..") == 0)
			continue;
		*entry = (struct entry){raw->name, raw->type == DT_DIR};
		return 1;
	}
}

void directory_remove(int parent, const char *name, int depth)
{
	struct listing listing = {0};
	struct entry entry;
	if (unlinkat(parent, name, 0) == 0 || errno != EISDIR || depth == 0)
		return;
	CLEANUP_FD int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	listing.fd = fd;
	while (fd >= 0 && listing_next(&listing, &entry) > 0)
		directory_remove(fd, entry.name, depth - 1);
	unlinkat(parent, name, AT_REMOVEDIR);
}
