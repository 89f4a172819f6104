/* Records into a directory of a workload. Names are taken apart by the kernel beneath that directory, without links;
 * what stands in the way of a file is replaced, never written into. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "descriptor.h"
#include "kernel.h"
#include "tool.h"

#define MODE_MASK 07777u

struct writer {
	int top;
	struct record record;
	char name[PATH_MAX], link[PATH_MAX], capability[CAPABILITY_BYTES];
};

static int take(void *into, size_t length)
{
	for (size_t used = 0; used < length;) {
		ssize_t got = read(STDIN_FILENO, (char *)into + used, length - used);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -EPIPE;
		used += (size_t)got;
	}
	return 0;
}

static int take_record(struct writer *writer)
{
	struct record *record = &writer->record;
	int error = take(record, sizeof(*record));
	if (!error && (record->name >= PATH_MAX || record->link >= PATH_MAX || record->capability > CAPABILITY_BYTES))
		error = -EBADMSG;
	if (!error)
		error = take(writer->name, record->name);
	if (!error)
		error = take(writer->link, record->link);
	if (!error)
		error = take(writer->capability, record->capability);
	if (error)
		return error;
	writer->name[record->name] = writer->link[record->link] = '\0';
	return strlen(writer->name) == record->name && strlen(writer->link) == record->link ? 0 : -EBADMSG;
}

/* Files of the kernel's own are not what anybody copies to. */
static int refuse_kernel_files(int directory)
{
	struct statfs shown;
	if (fstatfs(directory, &shown) < 0)
		return -errno;
	switch ((unsigned long)shown.f_type) {
	case PROC_SUPER_MAGIC:
	case SYSFS_MAGIC:
	case CGROUP_SUPER_MAGIC:
	case CGROUP2_SUPER_MAGIC: return -EROFS;
	default: return 0;
	}
}

/* Split a name: the directory, opened beneath the top, and what is left. */
static int open_parent(const struct writer *writer, const char *name, const char **last)
{
	char parent[PATH_MAX];
	struct open_how how = {
		.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	const char *slash = strrchr(name, '/');
	size_t length = slash ? (size_t)(slash - name) : 0;
	*last = slash ? slash + 1 : name;
	if (!**last || !strcmp(*last, ".") || !strcmp(*last, ".."))
		return -EINVAL;
	memcpy(parent, name, length);
	memcpy(parent + length, slash ? "" : ".", slash ? 1 : 2);
	CLEANUP_FD int fd = sys_openat2(writer->top, parent, &how);
	int error = fd < 0 ? fd : refuse_kernel_files(fd);
	return error ? error : fd_take(&fd);
}

static int give_attributes(const struct writer *writer, int parent, const char *name, int fd)
{
	const struct record *record = &writer->record;
	struct timespec times[2] = {
		{.tv_nsec = UTIME_NOW},
		{.tv_sec = (time_t)record->seconds, .tv_nsec = (long)record->nanoseconds},
	};
	if (fchownat(parent, name, record->uid, record->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	/* After the owner, which takes the set-id bits away. */
	if (fd >= 0 && fchmod(fd, record->mode & MODE_MASK) < 0)
		return -errno;
	if (fd >= 0 && record->capability &&
	    fsetxattr(fd, "security.capability", writer->capability, record->capability, 0) < 0)
		return -errno;
	return utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int take_content(const struct writer *writer, int fd)
{
	static char chunk[TOOL_BUFFER_BYTES];
	int error = 0;
	for (uint64_t left = writer->record.size; left && !error;) {
		size_t part = left < sizeof(chunk) ? (size_t)left : sizeof(chunk);
		error = take(chunk, part);
		if (!error)
			error = fd_write_all(fd, chunk, part);
		left -= part;
	}
	return error;
}

static int write_file(const struct writer *writer, int parent, const char *name)
{
	CLEANUP_FD int fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int error = fd < 0 ? -errno : take_content(writer, fd);
	return error ? error : give_attributes(writer, parent, name, fd);
}

static int write_directory(const struct writer *writer, int parent, const char *name)
{
	if (mkdirat(parent, name, 0755) < 0 && errno != EEXIST)
		return -errno;
	CLEANUP_FD int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return writer->record.tag == TAG_IMPLIED ? 0 : give_attributes(writer, parent, name, fd);
}

static int write_other(const struct writer *writer, int parent, const char *name)
{
	const struct record *record = &writer->record;
	mode_t mode = record->mode;
	int made = S_ISLNK(mode) ? symlinkat(writer->link, parent, name)
	                         : mknodat(parent, name, mode, makedev(record->major, record->minor));
	return made < 0 ? -errno : give_attributes(writer, parent, name, -1);
}

/* To a file that came before, without following a link that took its place. */
static int write_hardlink(const struct writer *writer, int parent, const char *name)
{
	const char *old;
	CLEANUP_FD int from = open_parent(writer, writer->link, &old);
	if (from < 0)
		return from;
	return linkat(from, old, parent, name, 0) < 0 ? -errno : 0;
}

/* A directory is not replaced by something else, nor something else by a directory: as Docker's cp has it. */
static int make_room(const struct writer *writer, int parent, const char *name)
{
	struct stat there;
	bool directory = S_ISDIR(writer->record.mode);
	if (fstatat(parent, name, &there, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (S_ISDIR(there.st_mode) != directory)
		return directory ? -ENOTDIR : -EISDIR;
	return directory || unlinkat(parent, name, 0) == 0 ? 0 : -errno;
}

static int write_entry(const struct writer *writer)
{
	const char *name;
	CLEANUP_FD int parent = open_parent(writer, writer->name, &name);
	int error = parent < 0 ? parent : make_room(writer, parent, name);
	if (error)
		return error;
	if (writer->record.tag == TAG_HARDLINK)
		return write_hardlink(writer, parent, name);
	switch (writer->record.mode & S_IFMT) {
	case S_IFDIR: return write_directory(writer, parent, name);
	case S_IFREG: return write_file(writer, parent, name);
	case S_IFLNK:
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO: return write_other(writer, parent, name);
	default: return -EINVAL;
	}
}

int tool_write(struct sink *sink, int root, const char *path, uint64_t flags)
{
	static struct writer writer;
	struct open_how how = {
		.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	CLEANUP_FD int top = writer.top = sys_openat2(root, path, &how);
	int error = top < 0 ? top : refuse_kernel_files(top);
	while (!error) {
		error = take_record(&writer);
		if (error || writer.record.tag == TAG_END)
			break;
		error = write_entry(&writer);
	}
	if (!error && (flags & TOOL_SYNCS) && syncfs(top) < 0)
		error = -errno;
	int failed = sink_finish(sink, error, writer.name);
	return error ? error : failed;
}
