/* A tree copied as it is: contents, owners, modes, times, attributes, and no link followed. */
#define _GNU_SOURCE
#include "copy.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "descriptor.h"
#include "directory.h"

#define MAX_DEPTH 64
#define XATTR_BYTES 4096
#define CHUNK_BYTES (1 << 20)

static int copy_content(int from, int to)
{
	ssize_t copied;
	while ((copied = sendfile(to, from, NULL, CHUNK_BYTES)) > 0)
		;
	return copied < 0 ? -errno : 0;
}

/* Those that the new file system does not have are left out. */
static int copy_xattrs(int from, int to)
{
	char names[XATTR_BYTES], value[XATTR_BYTES];
	ssize_t length = flistxattr(from, names, sizeof(names));
	if (length < 0)
		return errno == ENOTSUP ? 0 : -errno;
	for (const char *name = names; name < names + length; name += strlen(name) + 1) {
		ssize_t size = fgetxattr(from, name, value, sizeof(value));
		if (size < 0 || (fsetxattr(to, name, value, (size_t)size, 0) < 0 && errno != ENOTSUP && errno != EPERM))
			return -errno;
	}
	return 0;
}

/* The owner first: it takes set-user-ID and capabilities away. */
static int copy_metadata(int from, int to, const struct stat *file)
{
	if (fchown(to, file->st_uid, file->st_gid) < 0 || fchmod(to, file->st_mode & 07777) < 0)
		return -errno;
	int error = copy_xattrs(from, to);
	const struct timespec times[] = {file->st_atim, file->st_mtim};
	return error ? error : futimens(to, times) < 0 ? -errno : 0;
}

static int copy_file(int from, int to, const char *name, const struct stat *file)
{
	CLEANUP_FD int source = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (source < 0)
		return -errno;
	CLEANUP_FD int copy = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int error = copy < 0 ? -errno : copy_content(source, copy);
	return error ? error : copy_metadata(source, copy, file);
}

static int copy_link(int from, int to, const char *name, const struct stat *file)
{
	char target[PATH_MAX];
	ssize_t length = readlinkat(from, name, target, sizeof(target) - 1);
	if (length < 0)
		return -errno;
	target[length] = '\0';
	if (symlinkat(target, to, name) < 0)
		return -errno;
	return fchownat(to, name, file->st_uid, file->st_gid, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int copy_node(int from, int to, const char *name, const struct stat *file)
{
	(void)from;
	if (mknodat(to, name, file->st_mode, file->st_rdev) < 0 ||
	    fchownat(to, name, file->st_uid, file->st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fchmodat(to, name, file->st_mode & 07777, 0) < 0)
		return -errno;
	return 0;
}

static int copy_below(int from, int to, bool as_top, int depth);

static int copy_directory(int from, int to, const char *name, int depth)
{
	CLEANUP_FD int source = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (source < 0 || mkdirat(to, name, 0700) < 0)
		return -errno;
	CLEANUP_FD int copy = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return copy < 0 ? -errno : copy_below(source, copy, true, depth + 1);
}

static int copy_entry(int from, int to, const char *name, int depth)
{
	struct stat file;
	if (fstatat(from, name, &file, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (S_ISDIR(file.st_mode))
		return copy_directory(from, to, name, depth);
	return (S_ISREG(file.st_mode)   ? copy_file
	        : S_ISLNK(file.st_mode) ? copy_link
	                                : copy_node)(from, to, name, &file);
}

static int copy_below(int from, int to, bool as_top, int depth)
{
	struct listing listing = {.fd = from};
	struct entry entry;
	struct stat file;
	int more, error = depth > MAX_DEPTH ? -ELOOP : 0;
	while (!error && (more = listing_next(&listing, &entry)) != 0)
		error = more < 0 ? more : copy_entry(from, to, entry.name, depth);
	if (error || fstat(from, &file) < 0)
		return error ? error : -errno;
	return depth || as_top ? copy_metadata(from, to, &file) : 0;
}

int copy_tree(int from, int to, bool as_top)
{
	return copy_below(from, to, as_top, 0);
}
