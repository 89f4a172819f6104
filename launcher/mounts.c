/* Making mounts that nothing can reach yet; who attaches them, and where, is another's business. */
#define _GNU_SOURCE
#include "mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "descriptor.h"
#include "kernel.h"

#define USER "userxattr,"
#define LOWER "index=off,metacopy=off,redirect_dir=nofollow,lowerdir="

int directory_make(const char *path)
{
	return *path && mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

static int append(char *data, size_t *length, const char *text, bool escape)
{
	for (; *text; text++) {
		/* Overlayfs splits its options at commas, and reads a backslash as "take the next as it is". */
		bool special = escape && (*text == ',' || *text == '\\');
		if (*length + special + 2 > MOUNT_DATA_BYTES)
			return -E2BIG;
		if (special)
			data[(*length)++] = '\\';
		data[(*length)++] = *text;
	}
	data[*length] = '\0';
	return 0;
}

static int overlay_data(const struct overlay *overlay, char data[MOUNT_DATA_BYTES])
{
	const struct {
		const char *key, *value;
	} options[] = {
		{overlay->notes & OVERLAY_OF_USER ? USER LOWER : LOWER, overlay->lower},
		{",upperdir=", overlay->upper},
		{",workdir=", overlay->work},
		{",volatile", overlay->notes & OVERLAY_VOLATILE ? overlay->upper : ""},
	};
	size_t length = 0;
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		int error = *options[i].value ? append(data, &length, options[i].key, false) : 0;
		if (!error && i < 3)
			error = append(data, &length, options[i].value, true);
		if (error)
			return error;
	}
	return 0;
}

/* The old mount(2), because fsconfig takes at most 255 bytes of lowerdir before Linux 6.7 could append layers;
 * with names relative to the base 127 layers fit into its page. It needs a path to mount on: "/" itself, whose
 * topmost mount is then "/..". */
int mount_overlay(const struct overlay *overlay, const char **blame)
{
	char data[MOUNT_DATA_BYTES];
	struct statfs shown;
	int error = overlay_data(overlay, data);
	if (error)
		return error;
	if (chdir(overlay->base) < 0) {
		*blame = overlay->base;
		return -errno;
	}
	error = directory_make(overlay->upper);
	if (!error)
		error = directory_make(overlay->work);
	if (!error)
		error = sys_mount("overlay", "/", "overlay", 0, data);
	if (error)
		return error;
	CLEANUP_FD int root = open("/..", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0 || fstatfs(root, &shown) < 0)
		return -errno;
	return shown.f_type == OVERLAYFS_SUPER_MAGIC ? fd_take(&root) : -ESTALE;
}

int mount_change(int mount, bool recursive, struct mount_attr *changes)
{
	return sys_mount_setattr(mount, AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), changes);
}

int mount_clone(int directory, const char *path, bool recursive, uint64_t attributes)
{
	return mount_copy(directory, path, recursive, true, attributes);
}

int mount_copy(int directory, const char *path, bool recursive, bool alone, uint64_t attributes)
{
	unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
	flags |= (recursive ? AT_RECURSIVE : 0) | (*path ? 0 : AT_EMPTY_PATH);
	CLEANUP_FD int tree = sys_open_tree(directory, path, flags);
	if (tree < 0)
		return tree;
	struct mount_attr changes = {.attr_set = attributes, .propagation = alone ? MS_PRIVATE : 0};
	if (attributes & MOUNT_ATTR__ATIME)
		changes.attr_clr = MOUNT_ATTR__ATIME;
	int error = mount_change(tree, recursive, &changes);
	return error < 0 ? error : fd_take(&tree);
}

/* "size=64k,newinstance" to one fsconfig each. */
static int configure(int fs, const char *options)
{
	char copy[MOUNT_DATA_BYTES];
	if (strlen(options) >= sizeof(copy))
		return -E2BIG;
	memcpy(copy, options, strlen(options) + 1);
	char *rest = copy;
	for (char *option; (option = strsep(&rest, ","));) {
		char *value = strchr(option, '=');
		if (value)
			*value++ = '\0';
		int error = 0;
		if (value)
			error = sys_fsconfig(fs, FSCONFIG_SET_STRING, option, value);
		else if (*option)
			error = sys_fsconfig(fs, FSCONFIG_SET_FLAG, option, NULL);
		if (error)
			return error;
	}
	return 0;
}

int mount_configure(int mount, const char *options)
{
	CLEANUP_FD int fs = sys_fspick(mount);
	int error = fs < 0 ? fs : configure(fs, options);
	return error || !*options ? error : sys_fsconfig(fs, FSCONFIG_CMD_RECONFIGURE, NULL, NULL);
}

static bool below_dev(const char *source)
{
	return strncmp(source, "/dev/", strlen("/dev/")) == 0;
}

int mount_filesystem(const char *type, const char *source, const char *options, uint64_t attributes)
{
	if (attributes > UINT32_MAX)
		return -EINVAL;
	CLEANUP_FD int fs = sys_fsopen(type);
	if (fs < 0)
		return fs;
	int error = *source ? sys_fsconfig(fs, FSCONFIG_SET_STRING, "source", source) : 0;
	/* A block device is opened for writing unless the superblock itself is asked to be read-only. Other
	 * superblocks may be shared (cgroup2, sysfs): there the mount alone is. */
	if (!error && (attributes & MOUNT_ATTR_RDONLY) && below_dev(source))
		error = sys_fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL);
	if (!error)
		error = configure(fs, options);
	if (!error)
		error = sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL);
	return error < 0 ? error : sys_fsmount(fs, (unsigned)attributes);
}
