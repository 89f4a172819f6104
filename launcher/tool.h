/* Tools: parts of the launcher that look into a workload, or change its files, without running anything of it.
 * docs/plan-format.md describes what they read and write. Internal to tool*.c. */
#ifndef TWINHULL_TOOL_H
#define TWINHULL_TOOL_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bits of the op's flags; bit 16 (TOOL_FREEZES) is the server's. */
enum { TOOL_FOLLOW = 1, TOOL_RECURSE = 2, TOOL_ONE_MOUNT = 4, TOOL_CONTENT = 8, TOOL_SYNCS = 16, TOOL_ANY_OWNER = 32 };

#define TOOL_BUFFER_BYTES 65536
#define CAPABILITY_BYTES 64
#define TOOL_MAX_DEPTH 256

enum tag { TAG_ENTRY = 1, TAG_CHANGED, TAG_DELETED, TAG_IMPLIED, TAG_END, TAG_ERROR, TAG_HARDLINK };

/* One file in a stream, little-endian; name, link target, capability (security.capability) and content follow. */
struct record {
	uint32_t tag, mode, uid, gid, major, minor, nanoseconds;
	uint32_t name, link, capability; /* their lengths */
	uint64_t seconds, size;
};

struct sink {
	int fd;
	size_t used;
	uint8_t buffer[TOOL_BUFFER_BYTES];
};

int sink_put(struct sink *sink, const void *data, size_t length);
int sink_flush(struct sink *sink);
/* The last record: END, or ERROR with the name it is about. */
int sink_finish(struct sink *sink, int error, const char *name);

int tool_read(struct sink *sink, int root, const char *path, uint64_t flags);
int tool_changes(struct sink *sink, int root, int lower, uint64_t flags);
int tool_write(struct sink *sink, int root, const char *path, uint64_t flags);

#endif
