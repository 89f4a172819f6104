#define _GNU_SOURCE
#include "seal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "descriptor.h"
#include "kernel.h"

extern char **environ;

static const char SELF[] = "/proc/self/exe";

/* A user without root can make no mount. What root alone may write needs none; else a copy runs that nobody can. */
static int seal_for_user(char **argv)
{
	struct stat file;
	CLEANUP_FD int self = open(SELF, O_RDONLY | O_CLOEXEC);
	if (self < 0 || fstat(self, &file) < 0)
		return -errno;
	int seals = fcntl(self, F_GET_SEALS);
	if ((seals >= 0 && (seals & F_SEAL_WRITE)) || (file.st_uid == 0 && !(file.st_mode & (S_IWGRP | S_IWOTH))))
		return 0;
	CLEANUP_FD int copy = memfd_create("launcher", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	for (off_t done = 0; copy >= 0 && done < file.st_size;)
		if (sendfile(copy, self, &done, (size_t)(file.st_size - done)) <= 0)
			return -EIO;
	if (copy < 0 || fcntl(copy, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		return -errno;
	return result(syscall(SYS_execveat, copy, "", argv, environ, AT_EMPTY_PATH));
}

int seal_launcher(char **argv)
{
	struct statvfs mount;
	if (statvfs(SELF, &mount) == 0 && (mount.f_flag & ST_RDONLY))
		return 0;
	if (geteuid() != 0)
		return seal_for_user(argv);
	CLEANUP_FD int fd = sys_open_tree(AT_FDCWD, SELF, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (fd < 0)
		return fd;
	struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};
	int error = sys_mount_setattr(fd, AT_EMPTY_PATH, &attributes);
	if (error < 0)
		return error;
	return result(syscall(SYS_execveat, fd, "", argv, environ, AT_EMPTY_PATH));
}
