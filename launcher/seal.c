#define _GNU_SOURCE
#include "seal.h"

#include <fcntl.h>
#include <sys/statvfs.h>

#include "descriptor.h"
#include "kernel.h"

extern char **environ;

static const char SELF[] = "/proc/self/exe";

int seal_launcher(char **argv)
{
	struct statvfs mount;
	if (statvfs(SELF, &mount) == 0 && (mount.f_flag & ST_RDONLY))
		return 0;
	CLEANUP_FD int fd = sys_open_tree(AT_FDCWD, SELF, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (fd < 0)
		return fd;
	struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};
	int error = sys_mount_setattr(fd, AT_EMPTY_PATH, &attributes);
	if (error < 0)
		return error;
	return result(syscall(SYS_execveat, fd, "", argv, environ, AT_EMPTY_PATH));
}
