#define _GNU_SOURCE
#include "path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "descriptor.h"
#include "kernel.h"

#define MAX_LINKS 40 /* as the kernel's own limit on links in one path */

static bool below(const char *path, const char *name)
{
	path += strspn(path, "/");
	size_t length = strlen(name);
	return strncmp(path, name, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* The places where the workload and the kernel meet: a link there redirects what we mount or write. */
static bool is_guarded(const char *path)
{
	return below(path, "proc") || below(path, "sys") || below(path, "dev");
}

int path_open(int root, const char *path)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	if (is_guarded(path))
		how.resolve |= RESOLVE_NO_SYMLINKS;
	return sys_openat2(root, path, &how);
}

static int open_below(int parent, const char *name)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};
	return sys_openat2(parent, name, &how);
}

static int make_component(int parent, const char *name, mode_t type, mode_t mode)
{
	if (type == S_IFDIR) {
		if (mkdirat(parent, name, mode) < 0)
			return -errno;
	} else {
		CLEANUP_FD int fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
		if (fd < 0)
			return -errno;
	}
	return open_below(parent, name);
}

/* Replace the component path[at..end), a dangling link, by what the link says; `next` is what stood at end. */
static int splice_link(int parent, char path[PATH_MAX], size_t at, size_t end, char next)
{
	char link[PATH_MAX], spliced[PATH_MAX];
	ssize_t length = readlinkat(parent, path + at, link, sizeof(link));
	if (length < 0)
		return errno == EINVAL ? -EEXIST : -errno;
	path[end] = next;
	size_t before = length > 0 && link[0] == '/' ? 0 : at, after = strlen(path + end) + 1;
	if (before + (size_t)length + after > PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(spliced, path, before);
	memcpy(spliced + before, link, (size_t)length);
	memcpy(spliced + before + length, path + end, after);
	memcpy(path, spliced, before + (size_t)length + after);
	return -EAGAIN;
}

/* One descent from the root. -EAGAIN: a dangling link was replaced in path, start again. */
static int descend(int root, char path[PATH_MAX], mode_t type, mode_t mode)
{
	CLEANUP_FD int parent = path_open(root, "/");
	size_t at = strspn(path, "/");
	while (parent >= 0 && path[at] != '\0') {
		size_t end = at + strcspn(path + at, "/");
		bool last = path[end + strspn(path + end, "/")] == '\0';
		char next = path[end];
		path[end] = '\0';
		int fd = path_open(root, path);
		if (fd == -ENOENT)
			fd = make_component(parent, path + at, last ? type : S_IFDIR, last ? mode : 0755);
		if (fd == -EEXIST)
			return splice_link(parent, path, at, end, next);
		path[end] = next;
		fd_close(&parent);
		parent = fd;
		at = end + strspn(path + end, "/");
	}
	return fd_take(&parent);
}

int path_make(int root, const char *path, mode_t type, mode_t mode)
{
	char walked[PATH_MAX];
	size_t length = strlen(path);
	int fd = path_open(root, path);
	if (fd != -ENOENT)
		return fd;
	if (length >= sizeof(walked))
		return -ENAMETOOLONG;
	memcpy(walked, path, length + 1);
	for (int links = 0; links < MAX_LINKS; links++) {
		fd = descend(root, walked, type, mode);
		if (fd != -EAGAIN)
			return fd;
	}
	return -ELOOP;
}

int path_parent(int root, const char *path, char name[NAME_MAX + 1])
{
	char parent[PATH_MAX];
	const char *slash = strrchr(path, '/'), *last = slash ? slash + 1 : path;
	size_t before = (size_t)(last - path), length = strlen(last);
	if (length == 0 || strcmp(last, ".") == 0 || strcmp(last, "..") == 0)
		return -EINVAL;
	if (length > NAME_MAX || before + 2 > sizeof(parent))
		return -ENAMETOOLONG;
	memcpy(name, last, length + 1);
	memcpy(parent, path, before);
	memcpy(parent + before, "/", 2);
	return path_make(root, parent, S_IFDIR, 0755);
}
