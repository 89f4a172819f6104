#define _GNU_SOURCE
#include "directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "descriptor.h"
#include "kernel.h"

#define MAX_DEPTH 48
#define MAX_PASSES 64

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

static int open_directory(int parent, const char *name)
{
	struct open_how how = {
		.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
	};
	return sys_openat2(parent, name, &how);
}

/* The tree that is being removed: what lies too deep for our descriptors is first moved to its top. */
struct removal {
	int top;
	unsigned moved;
};

static int lift(struct removal *removal, int parent, const char *name)
{
	char fresh[32];
	for (int tries = 0; tries < MAX_PASSES; tries++) {
		snprintf(fresh, sizeof(fresh), ".lifted-%u", removal->moved++);
		int error = sys_rename_new(parent, name, removal->top, fresh);
		if (error != -EEXIST)
			return error;
	}
	return -EEXIST;
}

static int empty(struct removal *removal, int directory, int depth);

static int remove_directory(struct removal *removal, int parent, const char *name, int depth)
{
	if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	if (errno != ENOTEMPTY && errno != EEXIST)
		return errno == EBUSY ? -EXDEV : -errno;
	if (depth >= MAX_DEPTH)
		return lift(removal, parent, name);
	CLEANUP_FD int directory = open_directory(parent, name);
	if (directory < 0)
		return directory;
	int error = empty(removal, directory, depth + 1);
	if (error)
		return error;
	return unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : -errno;
}

static int remove_entry(struct removal *removal, int parent, const struct entry *entry, int depth)
{
	if (entry->is_directory)
		return remove_directory(removal, parent, entry->name, depth);
	if (unlinkat(parent, entry->name, 0) == 0 || errno == ENOENT)
		return 0;
	/* Some file systems do not tell the type of an entry. */
	return errno == EISDIR ? remove_directory(removal, parent, entry->name, depth) : -errno;
}

/* Passes, until one finds nothing: entries may move in a directory that is being emptied, and lifted ones arrive. */
static int empty(struct removal *removal, int directory, int depth)
{
	for (bool found = true; found;) {
		struct listing listing = {.fd = directory};
		struct entry entry;
		int more;
		found = false;
		if (lseek(directory, 0, SEEK_SET) < 0)
			return -errno;
		while ((more = listing_next(&listing, &entry)) > 0) {
			int error = remove_entry(removal, directory, &entry, depth);
			if (error)
				return error;
			found = true;
		}
		if (more < 0)
			return more;
	}
	return 0;
}

int tree_remove(const char *path)
{
	CLEANUP_FD int top = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (top < 0)
		return errno == ENOENT ? 0 : -errno;
	struct removal removal = {.top = top};
	int error = empty(&removal, top, 0);
	if (error)
		return error;
	return rmdir(path) == 0 || errno == ENOENT ? 0 : -errno;
}
