/* Building the root: each mount is made detached and then attached to a descriptor, never to a path. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "child.h"
#include "copy.h"
#include "descriptor.h"
#include "kernel.h"
#include "mounts.h"
#include "path.h"

#define STAGE "/run/stage" /* of the agent's root, or the caller's */

int op_private_mounts(struct setup *setup, const struct op *op)
{
	(void)op;
	/* Without a namespace of our own this would cut the host's mounts off from each other. */
	if (!(setup->shape->flags & CLONE_NEWNS))
		return -EINVAL;
	int error = sys_mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL);
	setup->private = !error;
	return error;
}

static int attach_new(struct setup *setup, int mount, const char *target_path)
{
	if (mount < 0)
		return mount;
	CLEANUP_FD int target = path_make(setup->root, target_path, S_IFDIR, 0755);
	return target < 0 ? target : sys_move_mount(mount, target);
}

/* A mount at the top of the root: what is mounted below it goes where it goes. */
static bool is_tree(const struct op *op)
{
	return op->code == OP_FILESYSTEM && !strchr(op->args[2].text + 1, '/');
}

static int keep_tree(struct setup *setup, int *mount)
{
	for (size_t i = 0; i < MAX_TREES; i++)
		if (setup->trees[i] < 0) {
			setup->trees[i] = fd_high(fd_take(mount));
			return 0;
		}
	return -E2BIG;
}

/* Move what was made ahead from the scaffold into the root, each tree with all that is mounted in it. */
static int graft(struct setup *setup)
{
	size_t tree = 0;
	for (size_t i = 0; setup->grafts && i < setup->done->count; i++) {
		const struct op *op = &setup->done->ops[i];
		if (!is_tree(op))
			continue;
		CLEANUP_FD int mount = fd_take(&setup->trees[tree++]);
		setup->blame = op->args[2].text;
		int error = attach_new(setup, mount, op->args[2].text);
		if (error)
			return error;
	}
	setup->blame = NULL;
	return 0;
}

/* From here on paths of the root begin at this mount. */
static int use_root(struct setup *setup, int *mount)
{
	fd_close(&setup->root);
	setup->root = fd_high(fd_take(mount));
	return setup->root < 0 ? setup->root : 0;
}

/* The real root, and in it what a scaffold has. */
static int begin_root(struct setup *setup, int *mount)
{
	int error = use_root(setup, mount);
	setup->made = true;
	return error ? error : graft(setup);
}

/* With a user namespace mounts of the host were made before it was entered, see userns.c. */
static int prepared(struct setup *setup, const struct op *op)
{
	return fd_take(&setup->prepared[op - setup->plan->ops]);
}

static int attach_root(struct setup *setup, int *tree, const char *at)
{
	CLEANUP_FD int top = open(at, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (top < 0)
		return -errno;
	int error = sys_move_mount(*tree, top);
	return error < 0 ? error : begin_root(setup, tree);
}

int op_overlay(struct setup *setup, const struct op *op)
{
	struct overlay overlay = {
		.base = op->args[0].text,
		.lower = op->args[1].text,
		.upper = op->args[2].text,
		.work = op->args[3].text,
		.notes = op->args[4].number,
	};
	if (!setup->private || setup->made)
		return -EINVAL;
	CLEANUP_FD int root = prepared(setup, op);
	if (root >= 0)
		return attach_root(setup, &root, "/");
	root = mount_overlay(&overlay, &setup->blame);
	return root < 0 ? root : begin_root(setup, &root);
}

int op_root_bind(struct setup *setup, const struct op *op)
{
	if (!setup->private || setup->made)
		return -EINVAL;
	CLEANUP_FD int tree = prepared(setup, op);
	/* Where hooks of the caller's look for it; but root of a user namespace may not get there, and a mount on a
	 * shared one would be the host's too. */
	bool in_place = tree < 0 && !setup->shared && (op->args[1].number & ROOT_OWNERS);
	const char *at = in_place ? op->args[0].text : "/";
	if (tree < 0)
		tree = mount_clone(AT_FDCWD, op->args[0].text, true,
		                   op->args[1].number & ROOT_READONLY ? MOUNT_ATTR_RDONLY : 0);
	return tree < 0 ? tree : attach_root(setup, &tree, at);
}

/* Only root of the host may map what is the host's, and only then do we know what the source is: our parent does it. */
static int ask_mapped(struct setup *setup, const struct op *op, int source)
{
	struct report report = {.kind = REPORT_MAP, .index = (size_t)(op - setup->plan->ops)};
	int error = report_send(setup->ends.status, &report, source);
	int tree = error ? error : fd_receive(setup->ends.status);
	if (tree < 0)
		setup->blame = op->args[0].text;
	return tree == -EPROTO ? -EPERM : tree;
}

int bind_tree(struct setup *setup, const struct op *op)
{
	const struct argument *args = op->args;
	unsigned how = (unsigned)args[2].number;
	bool inside = how & BIND_INSIDE;
	CLEANUP_FD int source = inside ? path_open(setup->root, args[0].text) : -1;
	if (source >= 0 && op->code == OP_BIND_IDMAPPED && setup->host->userns_fd >= 0)
		return ask_mapped(setup, op, source);
	CLEANUP_FD int tree = inside && source < 0 ? source
	                                           : mount_copy(inside ? source : AT_FDCWD, inside ? "" : args[0].text,
	                                                        how & BIND_ALL, !(how & BIND_PEERS), args[3].number);
	int error = tree >= 0 && op->code == OP_BIND_IDMAPPED ? userns_map(setup, tree, op) : 0;
	if (tree < 0 || error)
		setup->blame = args[0].text;
	return error ? error : fd_take(&tree);
}

/* The host's "/" with all that is mounted there, and that is the new root, too: who asks for the one is not to get the
 * other on top of it. */
static int bind_top(struct setup *setup, const struct op *op)
{
	struct mount_attr hide = {.propagation = MS_UNBINDABLE};
	struct mount_attr show = {.propagation = setup->shared ? MS_SHARED : MS_PRIVATE};
	int error = mount_change(setup->root, false, &hide);
	CLEANUP_FD int tree = error ? error : bind_tree(setup, op);
	if (!error)
		error = mount_change(setup->root, false, &show);
	return error ? error : fd_take(&tree);
}

static bool is_top(int tree)
{
	struct stat ours, top;
	return fstat(tree, &ours) == 0 && stat("/", &top) == 0 && ours.st_dev == top.st_dev &&
	       ours.st_ino == top.st_ino;
}

int op_bind(struct setup *setup, const struct op *op)
{
	struct stat source;
	if (!setup->private || setup->entered)
		return -EINVAL;
	CLEANUP_FD int tree = prepared(setup, op);
	if (tree < 0)
		tree = bind_tree(setup, op);
	if (setup->made && tree >= 0 && is_top(tree)) {
		fd_close(&tree);
		tree = bind_top(setup, op);
	}
	if (tree < 0 || fstat(tree, &source) < 0) {
		setup->blame = op->args[0].text;
		return tree < 0 ? tree : -errno;
	}
	struct stat below;
	mode_t type = S_ISDIR(source.st_mode) ? S_IFDIR : S_IFREG;
	CLEANUP_FD int target = path_make(setup->root, op->args[1].text, type, type == S_IFDIR ? 0755 : 0644);
	if (target >= 0 && fstat(target, &below) == 0 && S_ISDIR(below.st_mode) != (type == S_IFDIR))
		return type == S_IFDIR ? -ENOTDIR : -EISDIR;
	return target < 0 ? target : sys_move_mount(tree, target);
}

/* Fill a new file system with what it will hide; a mode that it was given stays. */
static int copy_up(struct setup *setup, const struct argument *args, int mount)
{
	CLEANUP_FD int hidden = path_open(setup->root, args[2].text);
	if (hidden == -ENOENT)
		return 0;
	CLEANUP_FD int from = hidden < 0 ? hidden : result(openat(hidden, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	CLEANUP_FD int to = result(openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	return from < 0 ? from : to < 0 ? to : copy_tree(from, to, !strstr(args[4].text, "mode="));
}

/* The options of a new file system; a tmpfs without a mode takes that of the directory which it hides. */
static int options_of(const struct setup *setup, const struct argument *args, char options[MOUNT_DATA_BYTES])
{
	struct stat hidden;
	bool inherits = strcmp(args[0].text, "tmpfs") == 0 && !strstr(args[4].text, "mode=");
	CLEANUP_FD int directory = inherits ? path_open(setup->root, args[2].text) : -1;
	inherits = directory >= 0 && fstat(directory, &hidden) == 0 && S_ISDIR(hidden.st_mode);
	int length = snprintf(options, MOUNT_DATA_BYTES, "%s", args[4].text);
	if (inherits && length < MOUNT_DATA_BYTES)
		length += snprintf(options + length, MOUNT_DATA_BYTES - (size_t)length, "%smode=%o", length ? "," : "",
		                   hidden.st_mode & 07777);
	return length < MOUNT_DATA_BYTES ? 0 : -E2BIG;
}

int op_filesystem(struct setup *setup, const struct op *op)
{
	const struct argument *args = op->args;
	char options[MOUNT_DATA_BYTES];
	if (!setup->private)
		return -EINVAL;
	int long_options = options_of(setup, args, options);
	if (long_options)
		return long_options;
	CLEANUP_FD int mount = mount_filesystem(args[0].text, args[1].text, options, args[3].number);
	int error = mount >= 0 && op->code == OP_FILESYSTEM_COPIED ? copy_up(setup, args, mount) : 0;
	if (!error)
		error = attach_new(setup, mount, args[2].text);
	return error || setup->outer < 0 || !is_tree(op) ? error : keep_tree(setup, &mount);
}

/* A directory of the stage, made if missing: in a guest it is there already, and to look is cheaper than to make. */
static int stage_open(const char *path)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0 || errno != ENOENT)
		return fd < 0 ? -errno : fd;
	int error = directory_make("/run");
	if (!error)
		error = directory_make(STAGE);
	if (!error)
		error = directory_make(path);
	return error ? error : result(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
}

/* Mount a file system at a path of the agent's root. */
static int stage_mount(const char *path, int mount)
{
	if (mount < 0)
		return mount;
	CLEANUP_FD int target = stage_open(path);
	return target < 0 ? target : sys_move_mount(mount, target);
}

int op_stage(struct setup *setup, const struct op *op)
{
	const struct argument *args = op->args;
	char path[PATH_MAX];
	if (!setup->private || setup->made || strchr(args[2].text, '/') || args[2].text[0] == '.')
		return -EINVAL;
	snprintf(path, sizeof(path), STAGE "/%s", args[2].text);
	CLEANUP_FD int mount = mount_filesystem(args[0].text, args[1].text, args[4].text, args[3].number);
	return stage_mount(path, mount);
}

int op_scaffold(struct setup *setup, const struct op *op)
{
	(void)op;
	if (!setup->private || setup->made || setup->outer >= 0)
		return -EINVAL;
	CLEANUP_FD int mount = mount_filesystem("tmpfs", "scaffold", "mode=755", 0);
	int error = stage_mount(STAGE "/scaffold", mount);
	if (error)
		return error;
	setup->outer = fd_take(&setup->root);
	return use_root(setup, &mount);
}

void scaffold_leave(struct setup *setup)
{
	if (setup->outer < 0)
		return;
	fd_close(&setup->root);
	setup->root = fd_take(&setup->outer);
}

/* A root that nothing is mounted under, as an initramfs, cannot be pivoted away; ours covers it instead. */
static bool is_initramfs(void)
{
	struct statfs shown;
	return statfs("/", &shown) == 0 && (shown.f_type == RAMFS_MAGIC || shown.f_type == TMPFS_MAGIC);
}

int op_enter_root(struct setup *setup, const struct op *op)
{
	(void)op;
	if (!setup->private || !setup->made || setup->entered)
		return -EINVAL;
	if (fchdir(setup->root) < 0)
		return -errno;
	/* Both names are the root itself: the old root comes to lie on top of it, and is then taken off. */
	int error = sys_pivot_root(".", ".");
	if (error == -EINVAL && is_initramfs())
		error = chroot(".") < 0 ? -errno : 0;
	else if (!error)
		error = sys_umount(".", UMOUNT_DETACH);
	if (error)
		return error;
	if (chdir("/") < 0)
		return -errno;
	CLEANUP_FD int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	setup->entered = true;
	return root < 0 ? -errno : use_root(setup, &root);
}

/* What was mounted is nobody's but ours: a copy of it that is in no namespace, in the one we go to nothing is changed.
 * When the copy's descriptor is closed, its mounts stay as they are for who has it as a root, and end with him. */
int op_foreign_mounts(struct setup *setup, const struct op *op)
{
	char work[PATH_MAX];
	(void)op;
	if (setup->shape->joins) /* namespaces_join has done it */
		return 0;
	if (!setup->entered || setup->host->mounts_fd < 0)
		return -EINVAL;
	CLEANUP_FD int tree = mount_clone(AT_FDCWD, "/", true, 0);
	if (tree < 0)
		return tree;
	if (!getcwd(work, sizeof(work)) || setns(setup->host->mounts_fd, CLONE_NEWNS) < 0 || fchdir(tree) < 0 ||
	    chroot(".") < 0)
		return -errno;
	int error = use_root(setup, &tree);
	CLEANUP_FD int directory = error ? error : path_open(setup->root, work);
	return directory < 0 ? directory : fchdir(directory) < 0 ? -errno : 0;
}

int op_attributes(struct setup *setup, const struct op *op)
{
	const struct argument *args = op->args;
	struct mount_attr changes = {
		.attr_set = args[1].number, .attr_clr = args[2].number, .propagation = args[4].number};
	if (!setup->private)
		return -EINVAL;
	CLEANUP_FD int target = path_open(setup->root, args[0].text);
	return target < 0 ? target : mount_change(target, args[3].number != 0, &changes);
}

int op_remount(struct setup *setup, const struct op *op)
{
	if (!setup->private)
		return -EINVAL;
	CLEANUP_FD int target = path_open(setup->root, op->args[0].text);
	return target < 0 ? target : mount_configure(target, op->args[1].text);
}

/* Mounts of the host that are shared stay its peers if the plan says so; "/" itself never, or our root would cover
 * the host's. */
int op_propagation(struct setup *setup, const struct op *op)
{
	unsigned long flags = op->args[0].number;
	if (!(setup->shape->flags & CLONE_NEWNS) || (setup->made && !setup->entered))
		return -EINVAL;
	int error = sys_mount(NULL, "/", NULL, flags, NULL);
	if (!error && !setup->entered && !(flags & (MS_SLAVE | MS_PRIVATE)))
		error = sys_mount(NULL, "/", NULL, MS_PRIVATE, NULL);
	setup->private = !error;
	setup->shared = !(flags & (MS_SLAVE | MS_PRIVATE));
	return error;
}

/* Last of all, so that a directory of work or a mount's target can still be made. */
int root_readonly(struct setup *setup)
{
	struct mount_attr changes = {.attr_set = MOUNT_ATTR_RDONLY};
	if (!setup->root_readonly)
		return 0;
	setup->current = setup->root_readonly;
	return setup->private ? mount_change(setup->root, false, &changes) : -EINVAL;
}

int op_read_only(struct setup *setup, const struct op *op)
{
	if (!setup->private)
		return -EINVAL;
	CLEANUP_FD int target = path_open(setup->root, op->args[0].text);
	if (target == -ENOENT || target == -ENOTDIR)
		return 0;
	if (target < 0)
		return target;
	CLEANUP_FD int tree = mount_clone(target, "", true, MOUNT_ATTR_RDONLY);
	return tree < 0 ? tree : sys_move_mount(tree, target);
}

/* The first empty directory is a file system of its own; the others are further views of it. */
static int empty_directory(struct setup *setup)
{
	uint64_t attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
	if (setup->empty >= 0)
		return mount_clone(setup->empty, "", false, attributes);
	return fd_high(mount_filesystem("tmpfs", "mask", "nr_inodes=1,mode=755", attributes));
}

/* /dev/null, after a look at what the name leads to. */
static int null_device(void)
{
	CLEANUP_FD int null = open("/dev/null", O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat found;
	if (null < 0 || fstat(null, &found) < 0)
		return -errno;
	if (!S_ISCHR(found.st_mode) || found.st_rdev != makedev(1, 3))
		return -ENODEV;
	return mount_clone(null, "", false, MOUNT_ATTR_NOEXEC);
}

int op_mask(struct setup *setup, const struct op *op)
{
	struct stat found;
	if (!setup->private)
		return -EINVAL;
	CLEANUP_FD int target = path_open(setup->root, op->args[0].text);
	if (target == -ENOENT || target == -ENOTDIR)
		return 0;
	if (target < 0 || fstat(target, &found) < 0)
		return target < 0 ? target : -errno;
	bool directory = S_ISDIR(found.st_mode);
	CLEANUP_FD int cover = directory ? empty_directory(setup) : null_device();
	if (cover < 0)
		return cover;
	int error = sys_move_mount(cover, target);
	if (!error && directory && setup->empty < 0)
		setup->empty = fd_take(&cover);
	return error;
}
