/* System calls that C libraries do not wrap, or whose header contradicts the kernel's (sys/mount.h). Each returns
 * what the kernel returns: a value or -errno. */
#ifndef TWINHULL_KERNEL_H
#define TWINHULL_KERNEL_H

#include <errno.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define UMOUNT_DETACH 2 /* MNT_DETACH */

static inline int result(long value)
{
	return value < 0 ? -errno : (int)value;
}

static inline int sys_openat2(int directory, const char *path, struct open_how *how)
{
	return result(syscall(SYS_openat2, directory, path, how, sizeof(*how)));
}

static inline int sys_open_tree(int directory, const char *path, unsigned flags)
{
	return result(syscall(SYS_open_tree, directory, path, flags));
}

static inline int sys_move_mount(int from, int to)
{
	unsigned flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
	return result(syscall(SYS_move_mount, from, "", to, "", flags));
}

static inline int sys_mount_setattr(int fd, unsigned flags, struct mount_attr *attributes)
{
	return result(syscall(SYS_mount_setattr, fd, "", flags, attributes, sizeof(*attributes)));
}

static inline int sys_fsopen(const char *type)
{
	return result(syscall(SYS_fsopen, type, FSOPEN_CLOEXEC));
}

static inline int sys_fsconfig(int fd, unsigned command, const char *key, const char *value)
{
	return result(syscall(SYS_fsconfig, fd, command, key, value, 0));
}

/* To configure the file system whose mount a descriptor is; -EINVAL if it is no mount. */
static inline int sys_fspick(int mount)
{
	return result(syscall(SYS_fspick, mount, "", FSPICK_CLOEXEC | FSPICK_NO_AUTOMOUNT | FSPICK_EMPTY_PATH));
}

static inline int sys_fsmount(int fd, unsigned attributes)
{
	return result(syscall(SYS_fsmount, fd, FSMOUNT_CLOEXEC, attributes));
}

static inline int sys_mount(const char *source, const char *target, const char *type, unsigned long flags,
                            const char *data)
{
	return result(syscall(SYS_mount, source, target, type, flags, data));
}

static inline int sys_umount(const char *target, int flags)
{
	return result(syscall(SYS_umount2, target, flags));
}

static inline int sys_pivot_root(const char *new_root, const char *put_old)
{
	return result(syscall(SYS_pivot_root, new_root, put_old));
}

static inline int sys_clone3(struct clone_args *arguments)
{
	return result(syscall(SYS_clone3, arguments, sizeof(*arguments)));
}

static inline int sys_pidfd_open(pid_t pid)
{
	return result(syscall(SYS_pidfd_open, pid, 0));
}

static inline int sys_pidfd_send_signal(int pidfd, int signal)
{
	return result(syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0));
}

static inline int sys_close_range(unsigned first, unsigned last)
{
	return result(syscall(SYS_close_range, first, last, 0));
}

static inline int sys_rename_new(int from, const char *name, int to, const char *fresh)
{
	return result(syscall(SYS_renameat2, from, name, to, fresh, RENAME_NOREPLACE));
}

static inline int sys_capset(struct __user_cap_header_struct *header, struct __user_cap_data_struct *data)
{
	return result(syscall(SYS_capset, header, data));
}

static inline int sys_seccomp(unsigned operation, unsigned flags, void *argument)
{
	return result(syscall(SYS_seccomp, operation, flags, argument));
}

static inline int sys_bpf(int command, union bpf_attr *attributes)
{
	return result(syscall(SYS_bpf, command, attributes, sizeof(*attributes)));
}

#endif
