/* A pty of the root's own devpts: its slave is the process's terminal, its master goes to the parent. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "child.h"
#include "descriptor.h"
#include "kernel.h"
#include "path.h"

/* The workload's /dev may be hostile when a process joins it: nothing but the kernel's own multiplexer is opened. */
static int open_master(const struct setup *setup)
{
	struct open_how how = {
		.flags = O_RDWR | O_NOCTTY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
	};
	struct statfs shown;
	struct stat found;
	CLEANUP_FD int devpts = path_open(setup->root, "/dev/pts");
	if (devpts < 0)
		return devpts;
	if (fstatfs(devpts, &shown) < 0 || shown.f_type != DEVPTS_SUPER_MAGIC)
		return -ENODEV;
	CLEANUP_FD int master = fd_high(sys_openat2(devpts, "ptmx", &how));
	if (master < 0)
		return master;
	if (fstat(master, &found) < 0 || !S_ISCHR(found.st_mode) || found.st_rdev != makedev(5, 2))
		return -ENODEV;
	return fd_take(&master);
}

static int open_slave(int master, const struct setup *setup, const struct op *op)
{
	struct winsize size = {
		.ws_row = (unsigned short)op->args[0].number,
		.ws_col = (unsigned short)op->args[1].number,
	};
	int unlocked = 0;
	if (ioctl(master, TIOCSPTLCK, &unlocked) < 0 || ioctl(master, TIOCSWINSZ, &size) < 0)
		return -errno;
	CLEANUP_FD int slave = fd_high(ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
	if (slave < 0)
		return -errno;
	if (setup->shape->user && fchown(slave, (uid_t)setup->shape->user->args[0].number, (gid_t)-1) < 0)
		return -errno;
	return fd_take(&slave);
}

/* /dev/console is the slave itself, made here in a /dev of our own, never what the image has there. */
static int bind_console(const struct setup *setup, int slave)
{
	struct stat found;
	CLEANUP_FD int target = path_make(setup->root, "/dev/console", S_IFREG, 0600);
	if (target < 0)
		return target;
	if (fstat(target, &found) < 0 || S_ISDIR(found.st_mode))
		return -EEXIST;
	CLEANUP_FD int tree = sys_open_tree(slave, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	return tree < 0 ? tree : sys_move_mount(tree, target);
}

int op_terminal(struct setup *setup, const struct op *op)
{
	setup->terminal = op;
	if (setup->shape->runtime)
		return 0;
	CLEANUP_FD int master = open_master(setup);
	if (master < 0)
		return master;
	CLEANUP_FD int slave = open_slave(master, setup, op);
	if (slave < 0)
		return slave;
	if (ioctl(slave, TIOCSCTTY, 0) < 0)
		return -errno;
	int error = setup->shape->joins || !setup->private ? 0 : bind_console(setup, slave);
	struct report report = {.kind = REPORT_TERMINAL};
	if (!error)
		error = report_send(setup->ends.status, &report, master);
	if (error)
		return error;
	for (int i = 0; i < 3; i++)
		setup->ends.io[i] = slave;
	slave = -1; /* kept open as the standard streams */
	return 0;
}
