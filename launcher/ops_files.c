/* Nodes, links and small files of the root, each made by name in a directory held open. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "child.h"
#include "descriptor.h"
#include "kernel.h"
#include "mounts.h"
#include "path.h"

#define FILE_MOUNTED 0100000U /* of a file's mode: another was mounted there, which gets the content */

int op_directory(struct setup *setup, const struct op *op)
{
	mode_t mode = (mode_t)op->args[1].number & 07777;
	CLEANUP_FD int made = path_make(setup->root, op->args[0].text, S_IFDIR, mode);
	return made < 0 ? made : 0;
}

static int same_node(int parent, const char *name, mode_t type, dev_t device)
{
	struct stat found;
	if (fstatat(parent, name, &found, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	bool same = (found.st_mode & S_IFMT) == type && (type == S_IFIFO || found.st_rdev == device);
	return same ? 0 : -EEXIST;
}

static int show_node(const struct setup *setup, const char *path, int tree)
{
	CLEANUP_FD int target = path_make(setup->root, path, S_IFREG, 0666);
	return target < 0 ? target : sys_move_mount(tree, target);
}

/* A user namespace may not make nodes: the host's own is shown, if it has the same under the same name. */
static int bind_node(struct setup *setup, const char *path, mode_t type, dev_t device)
{
	struct stat found;
	if (!setup->private || setup->entered)
		return -EPERM;
	CLEANUP_FD int node = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (node < 0 || fstat(node, &found) < 0)
		return -errno;
	if ((found.st_mode & S_IFMT) != type || found.st_rdev != device)
		return -ENODEV;
	CLEANUP_FD int tree = mount_clone(node, "", false, 0);
	return tree < 0 ? tree : show_node(setup, path, tree);
}

int op_device(struct setup *setup, const struct op *op)
{
	const struct argument *args = op->args;
	mode_t mode = (mode_t)args[1].number & 07777, type = (mode_t)args[2].number;
	dev_t device = makedev((unsigned)args[3].number, (unsigned)args[4].number);
	char name[NAME_MAX + 1];
	if (type != S_IFCHR && type != S_IFBLK && type != S_IFIFO)
		return -EINVAL;
	CLEANUP_FD int made = fd_take(&setup->prepared[op - setup->plan->ops]);
	if (made >= 0)
		return show_node(setup, args[0].text, made);
	CLEANUP_FD int parent = path_parent(setup->root, args[0].text, name);
	if (parent < 0)
		return parent;
	if (mknodat(parent, name, type | mode, device) < 0) {
		int error = errno == EEXIST ? same_node(parent, name, type, device) : -errno;
		return error == -EPERM ? bind_node(setup, args[0].text, type, device) : error;
	}
	if (args[5].number == 0 && args[6].number == 0)
		return 0;
	if (fchownat(parent, name, (uid_t)args[5].number, (gid_t)args[6].number, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return 0;
}

static int same_link(int parent, const char *name, const struct argument *wanted)
{
	char found[PATH_MAX];
	ssize_t length = readlinkat(parent, name, found, sizeof(found));
	bool same = length >= 0 && (size_t)length == wanted->length && memcmp(found, wanted->text, wanted->length) == 0;
	return same ? 0 : -EEXIST;
}

int op_symlink(struct setup *setup, const struct op *op)
{
	char name[NAME_MAX + 1];
	CLEANUP_FD int parent = path_parent(setup->root, op->args[1].text, name);
	if (parent < 0)
		return parent;
	if (symlinkat(op->args[0].text, parent, name) < 0)
		return errno == EEXIST ? same_link(parent, name, &op->args[0]) : -errno;
	return 0;
}

/* A file that was mounted over a volume's: if it has been taken off, what is there is not ours. */
static int rewrite(int parent, const char *name, const struct argument *content)
{
	struct stat around, found;
	CLEANUP_FD int fd = openat(parent, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ELOOP ? 0 : -errno;
	if (fstat(fd, &found) < 0 || fstat(parent, &around) < 0)
		return -errno;
	if (found.st_dev == around.st_dev)
		return 0;
	return ftruncate(fd, 0) < 0 ? -errno : fd_write_all(fd, content->text, content->length);
}

/* What the image has under the name is replaced, never written through: it may be a link or shared. */
int op_file(struct setup *setup, const struct op *op)
{
	const struct argument *content = &op->args[1];
	char name[NAME_MAX + 1];
	CLEANUP_FD int parent = path_parent(setup->root, op->args[0].text, name);
	if (parent < 0)
		return parent;
	if (op->args[2].number & FILE_MOUNTED)
		return rewrite(parent, name, content);
	if (unlinkat(parent, name, 0) < 0 && errno != ENOENT)
		return -errno;
	mode_t mode = (mode_t)op->args[2].number & 07777;
	CLEANUP_FD int fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	return fd < 0 ? -errno : fd_write_all(fd, content->text, content->length);
}
