/* Files of a workload as records: a tree, or how a tree differs from the image's. Nothing is followed but what leads
 * to the path that was asked for, and that not out of the root. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "descriptor.h"
#include "directory.h"
#include "kernel.h"
#include "links.h"
#include "tool.h"

#define MODE_MASK 07777

struct node;

struct walk {
	struct sink *sink;
	/* Directories on the way that are as the image has them: told as soon as something below them is not. */
	const struct node *way[TOOL_MAX_DEPTH + 1];
	size_t lengths[TOOL_MAX_DEPTH + 1];
	int waiting;
	uint64_t flags;
	uint64_t mount; /* of the root */
	int depth;
	size_t length;
	struct links links;
	char path[PATH_MAX]; /* of the entry at hand, relative to where the walk began; on an error: of the culprit */
};

/* One entry at hand. */
struct node {
	int parent;
	const char *name;
	uint64_t follow; /* O_NOFOLLOW, or 0 at the top */
	struct statx status;
};

static int open_node(const struct node *node, uint64_t flags)
{
	struct open_how how = {
		.flags = flags | node->follow | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	return sys_openat2(node->parent, node->name, &how);
}

static int status_of(int fd, struct statx *status)
{
	long got = syscall(SYS_statx, fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS | STATX_MNT_ID,
	                   status);
	return got < 0 ? -errno : 0;
}

static int push(struct walk *walk, const char *name, size_t *before)
{
	size_t length = strlen(name);
	*before = walk->length;
	if (walk->length + length + 2 > sizeof(walk->path) || walk->depth >= TOOL_MAX_DEPTH)
		return -ENAMETOOLONG;
	if (walk->length)
		walk->path[walk->length++] = '/';
	memcpy(walk->path + walk->length, name, length + 1);
	walk->length += length;
	walk->depth++;
	return 0;
}

static void pop(struct walk *walk, size_t before)
{
	walk->length = before;
	walk->path[before] = '\0';
	walk->depth--;
}

/* Exactly as many bytes as the record has promised, whatever becomes of the file meanwhile. */
static int put_content(struct walk *walk, int fd, uint64_t left)
{
	static uint8_t chunk[TOOL_BUFFER_BYTES];
	int error = 0;
	while (left && !error) {
		size_t part = left < sizeof(chunk) ? (size_t)left : sizeof(chunk);
		ssize_t got = fd < 0 ? 0 : read(fd, chunk, part);
		if (got <= 0) {
			memset(chunk, 0, part);
			got = (ssize_t)part;
			fd = -1;
		}
		error = sink_put(walk->sink, chunk, (size_t)got);
		left -= (uint64_t)got;
	}
	return error;
}

static int put_record(struct walk *walk, uint32_t tag, const struct statx *status, const char *link, int fd);

static int put_way(struct walk *walk)
{
	int count = walk->waiting, error = 0;
	size_t length = walk->length;
	walk->waiting = 0;
	for (int i = 0; i < count && !error; i++) {
		walk->length = walk->lengths[i];
		error = put_record(walk, TAG_CHANGED, &walk->way[i]->status, "", -1);
	}
	walk->length = length;
	return error;
}

static int put_record(struct walk *walk, uint32_t tag, const struct statx *status, const char *link, int fd)
{
	char capability[CAPABILITY_BYTES];
	bool content = S_ISREG(status->stx_mode) && (walk->flags & TOOL_CONTENT);
	ssize_t length = fd < 0 ? 0 : fgetxattr(fd, "security.capability", capability, sizeof(capability));
	struct record record = {
		.tag = tag,
		.mode = status->stx_mode,
		.uid = status->stx_uid,
		.gid = status->stx_gid,
		.major = status->stx_rdev_major,
		.minor = status->stx_rdev_minor,
		.nanoseconds = status->stx_mtime.tv_nsec,
		.name = (uint32_t)walk->length,
		.link = (uint32_t)strlen(link),
		.capability = length > 0 ? (uint32_t)length : 0,
		.seconds = (uint64_t)status->stx_mtime.tv_sec,
		.size = S_ISREG(status->stx_mode) ? status->stx_size : 0,
	};
	int error = put_way(walk);
	if (!error)
		error = sink_put(walk->sink, &record, sizeof(record));
	if (!error)
		error = sink_put(walk->sink, walk->path, record.name);
	if (!error)
		error = sink_put(walk->sink, link, record.link);
	if (!error)
		error = sink_put(walk->sink, capability, record.capability);
	return error || !content ? error : put_content(walk, fd, record.size);
}

static uint64_t device_of(const struct statx *status)
{
	return (uint64_t)status->stx_dev_major << 32 | status->stx_dev_minor;
}

/* A file with its content, or as one more name of one that was told. */
static int put_file(struct walk *walk, uint32_t tag, struct statx *status, int fd)
{
	const char *first = NULL;
	if (status->stx_nlink > 1 && fd >= 0)
		first = links_first(&walk->links, device_of(status), status->stx_ino, walk->path);
	if (!first)
		return put_record(walk, tag, status, "", fd);
	status->stx_size = 0;
	return put_record(walk, TAG_HARDLINK, status, first, -1);
}

/* The record of one entry. A file is opened by its name once more: if something else lies there now, it is empty. */
static int put_node(struct walk *walk, const struct node *node, uint32_t tag, int path_fd)
{
	char link[PATH_MAX] = "";
	struct statx again, status = node->status;
	if (S_ISLNK(status.stx_mode)) {
		ssize_t length = readlinkat(path_fd, "", link, sizeof(link) - 1);
		if (length < 0)
			return -errno;
		link[length] = '\0';
	}
	if (!S_ISREG(status.stx_mode) || !(walk->flags & TOOL_CONTENT))
		return put_record(walk, tag, &status, link, -1);
	CLEANUP_FD int fd = open_node(node, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	if (fd >= 0 && (status_of(fd, &again) < 0 || !S_ISREG(again.stx_mode)))
		fd_close(&fd);
	if (fd >= 0)
		status = again;
	return put_file(walk, tag, &status, fd);
}

typedef int visit(struct walk *walk, const struct node *node, int path_fd, int lower);

/* Open an entry and look at it; one that has gone meanwhile is none. */
static int with_node(struct walk *walk, struct node *node, int lower, visit *act)
{
	CLEANUP_FD int fd = open_node(node, O_PATH);
	if (fd == -ENOENT && node->follow)
		return 0;
	int error = fd < 0 ? fd : status_of(fd, &node->status);
	return error ? error : act(walk, node, fd, lower);
}

static int each_child(struct walk *walk, const struct node *node, int lower, visit *act)
{
	CLEANUP_FD int fd = open_node(node, O_RDONLY | O_DIRECTORY);
	struct listing listing = {.fd = fd};
	struct entry entry;
	int error = fd < 0 ? fd : 0, more = 0;
	if (error == -ENOENT || error == -ENOTDIR)
		return 0;
	while (!error && (more = listing_next(&listing, &entry)) > 0) {
		struct node child = {.parent = fd, .name = entry.name, .follow = O_NOFOLLOW};
		size_t before;
		error = push(walk, entry.name, &before);
		if (!error)
			error = with_node(walk, &child, lower, act);
		if (!error)
			pop(walk, before);
	}
	return error ? error : more;
}

static int put_tree(struct walk *walk, const struct node *node, int path_fd, int lower)
{
	bool elsewhere = (walk->flags & TOOL_ONE_MOUNT) && node->status.stx_mnt_id != walk->mount;
	int error = S_ISSOCK(node->status.stx_mode) ? 0 : put_node(walk, node, TAG_ENTRY, path_fd);
	if (error || elsewhere || !S_ISDIR(node->status.stx_mode) || !(walk->flags & TOOL_RECURSE))
		return error;
	return each_child(walk, node, lower, put_tree);
}

static int begin(struct walk *walk, int root)
{
	struct statx status;
	int error = status_of(root, &status);
	walk->mount = status.stx_mnt_id;
	return error;
}

int tool_read(struct sink *sink, int root, const char *path, uint64_t flags)
{
	static struct walk walk;
	struct node top = {.parent = root, .name = path, .follow = flags & TOOL_FOLLOW ? 0 : O_NOFOLLOW};
	walk.sink = sink;
	walk.flags = flags;
	int error = begin(&walk, root);
	if (!error) {
		CLEANUP_FD int fd = open_node(&top, O_PATH);
		error = fd < 0 ? fd : status_of(fd, &top.status);
		if (!error)
			error = put_tree(&walk, &top, fd, -1);
	}
	int failed = sink_finish(sink, error, walk.path);
	return error ? error : failed;
}

/* --- differences */

static bool differs(const struct walk *walk, const struct statx *one, const struct statx *other)
{
	bool owner = one->stx_uid != other->stx_uid || one->stx_gid != other->stx_gid;
	if (one->stx_mode != other->stx_mode || (owner && !(walk->flags & TOOL_ANY_OWNER)))
		return true;
	if (one->stx_rdev_major != other->stx_rdev_major || one->stx_rdev_minor != other->stx_rdev_minor)
		return true;
	return one->stx_mtime.tv_sec != other->stx_mtime.tv_sec || one->stx_mtime.tv_nsec != other->stx_mtime.tv_nsec ||
	       (!S_ISDIR(one->stx_mode) && one->stx_size != other->stx_size);
}

/* Names that the image has and the workload has not. */
static int put_deleted(struct walk *walk, const struct node *node, int lower)
{
	CLEANUP_FD int upper = open_node(node, O_PATH | O_DIRECTORY);
	CLEANUP_FD int listed = openat(lower, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct listing listing = {.fd = listed};
	struct record record = {.tag = TAG_DELETED};
	struct entry entry;
	int error = listed < 0 ? -errno : upper < 0 ? upper : 0, more = 0;
	while (!error && (more = listing_next(&listing, &entry)) > 0) {
		size_t before;
		if (faccessat(upper, entry.name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT)
			continue;
		error = push(walk, entry.name, &before);
		record.name = (uint32_t)walk->length;
		if (!error)
			error = put_way(walk);
		if (!error)
			error = sink_put(walk->sink, &record, sizeof(record));
		if (!error)
			error = sink_put(walk->sink, walk->path, record.name);
		if (!error)
			pop(walk, before);
	}
	return error ? error : more;
}

static int compare(struct walk *walk, const struct node *node, int path_fd, int lower_parent)
{
	struct node lower_node = {.parent = lower_parent, .name = node->name, .follow = O_NOFOLLOW};
	CLEANUP_FD int lower = open_node(&lower_node, O_PATH);
	if (S_ISSOCK(node->status.stx_mode) || (lower >= 0 && node->status.stx_mnt_id != walk->mount))
		return 0; /* a mount hides what is there */
	if (lower < 0)
		return lower == -ENOENT ? put_tree(walk, node, path_fd, -1) : lower;
	int error = status_of(lower, &lower_node.status);
	bool both = S_ISDIR(node->status.stx_mode) && S_ISDIR(lower_node.status.stx_mode);
	bool changed = !error && differs(walk, &node->status, &lower_node.status);
	if (changed)
		error = put_node(walk, node, TAG_CHANGED, path_fd);
	if (error || !S_ISDIR(node->status.stx_mode))
		return error;
	if (!both)
		return each_child(walk, node, -1, put_tree);
	int place = walk->waiting;
	if (!changed) {
		walk->way[place] = node;
		walk->lengths[place] = walk->length;
		walk->waiting++;
	}
	error = each_child(walk, node, lower, compare);
	if (!error)
		error = put_deleted(walk, node, lower);
	walk->waiting = walk->waiting < place ? walk->waiting : place; /* unless it was told meanwhile */
	return error;
}

int tool_changes(struct sink *sink, int root, int lower, uint64_t flags)
{
	static struct walk walk;
	struct node top = {.parent = root, .name = "."};
	walk.sink = sink;
	walk.flags = flags | TOOL_RECURSE | TOOL_ONE_MOUNT;
	int error = begin(&walk, root);
	if (!error)
		error = each_child(&walk, &top, lower, compare);
	if (!error)
		error = put_deleted(&walk, &top, lower);
	int failed = sink_finish(sink, error, walk.path);
	return error ? error : failed;
}
