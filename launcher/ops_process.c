/* What belongs to the process rather than to its root. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "child.h"
#include "descriptor.h"
#include "kernel.h"
#include "path.h"

#define OOM_OFFSET 1000

int op_hostname(struct setup *setup, const struct op *op)
{
	/* In the host's namespace the name would be the host's. */
	if (!(setup->shape->flags & CLONE_NEWUTS))
		return -EINVAL;
	return sethostname(op->args[0].text, op->args[0].length) < 0 ? -errno : 0;
}

int op_domainname(struct setup *setup, const struct op *op)
{
	if (!(setup->shape->flags & CLONE_NEWUTS))
		return -EINVAL;
	return setdomainname(op->args[0].text, op->args[0].length) < 0 ? -errno : 0;
}

/* A procfs that no path leads to: an image or a neighbour cannot put anything else in its place. */
static int own_procfs(struct setup *setup)
{
	struct statfs shown;
	if (setup->procfs >= 0)
		return setup->procfs;
	CLEANUP_FD int fs = sys_fsopen("proc");
	if (fs < 0)
		return fs;
	int error = sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL);
	if (error < 0)
		return error;
	CLEANUP_FD int mount = sys_fsmount(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (mount < 0)
		return mount;
	if (fstatfs(mount, &shown) < 0 || shown.f_type != PROC_SUPER_MAGIC)
		return -EPERM;
	return setup->procfs = fd_high(fd_take(&mount));
}

static int write_procfs(struct setup *setup, const char *path, const char *value, size_t length)
{
	struct open_how how = {
		.flags = O_WRONLY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
	};
	int procfs = own_procfs(setup);
	if (procfs < 0)
		return procfs;
	CLEANUP_FD int fd = sys_openat2(procfs, path, &how);
	if (fd < 0)
		return fd;
	ssize_t written = write(fd, value, length);
	if (written < 0)
		return -errno;
	return (size_t)written == length ? 0 : -EIO;
}

int op_sysctl(struct setup *setup, const struct op *op)
{
	char path[PATH_MAX];
	int length = snprintf(path, sizeof(path), "sys/%s", op->args[0].text);
	if ((size_t)length >= sizeof(path))
		return -ENAMETOOLONG;
	/* "net.ipv4.ip_forward"; with a slash anywhere the dots belong to the names. */
	bool dotted = !strchr(op->args[0].text, '/');
	for (char *dot = path; dotted && (dot = strchr(dot, '.'));)
		*dot = '/';
	return write_procfs(setup, path, op->args[1].text, op->args[1].length);
}

int op_oom_score(struct setup *setup, const struct op *op)
{
	char path[64], value[16];
	if (op->args[0].number > 2 * OOM_OFFSET)
		return -EINVAL;
	snprintf(path, sizeof(path), "%d/oom_score_adj", getpid());
	int length = snprintf(value, sizeof(value), "%d", (int)op->args[0].number - OOM_OFFSET);
	return write_procfs(setup, path, value, (size_t)length);
}

int op_rlimit(struct setup *setup, const struct op *op)
{
	(void)setup;
	struct rlimit limit = {.rlim_cur = op->args[1].number, .rlim_max = op->args[2].number};
	return setrlimit((int)op->args[0].number, &limit) < 0 ? -errno : 0;
}

int op_umask(struct setup *setup, const struct op *op)
{
	/* Set just before exec: until then modes are exactly what the plan says. */
	setup->umask = (mode_t)op->args[0].number & 0777;
	return 0;
}

int op_directory_of_work(struct setup *setup, const struct op *op)
{
	char shown[PATH_MAX];
	struct statfs fs;
	CLEANUP_FD int directory = path_make(setup->root, op->args[0].text, S_IFDIR, 0755);
	if (directory < 0)
		return directory;
	/* CVE-2024-21626: a directory outside the root, reached through a descriptor that procfs shows. */
	if (fstatfs(directory, &fs) < 0 || fs.f_type == PROC_SUPER_MAGIC)
		return -EACCES;
	if (fchdir(directory) < 0)
		return -errno;
	return getcwd(shown, sizeof(shown)) && shown[0] == '/' ? 0 : -EACCES;
}
