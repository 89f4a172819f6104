/* What belongs to the process rather than to its root. */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/ioprio.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "descriptor.h"
#include "hook.h"
#include "kernel.h"
#include "path.h"

#define OOM_OFFSET 1000
#define PROCESSORS_BYTES 1024

/* In the host's namespace a name would be the host's. */
static bool has_names(const struct setup *setup)
{
	bool joined = false;
	for (size_t i = 0; i < MAX_JOINED; i++)
		joined |= setup->host->joined[i].kind == CLONE_NEWUTS;
	return joined || (setup->shape->flags & CLONE_NEWUTS);
}

int op_hostname(struct setup *setup, const struct op *op)
{
	if (!has_names(setup))
		return -EINVAL;
	return sethostname(op->args[0].text, op->args[0].length) < 0 ? -errno : 0;
}

int op_domainname(struct setup *setup, const struct op *op)
{
	if (!has_names(setup))
		return -EINVAL;
	return setdomainname(op->args[0].text, op->args[0].length) < 0 ? -errno : 0;
}

/* A procfs that no path leads to: an image or a neighbour cannot put anything else in its place. */
int own_procfs(struct setup *setup)
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
	if (strstr(path, "/../")) /* it would lead out of the namespaces that the plan was checked against */
		return -EINVAL;
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

int rlimit_set(const struct op *op)
{
	struct rlimit limit = {.rlim_cur = op->args[1].number, .rlim_max = op->args[2].number};
	return setrlimit((int)op->args[0].number, &limit) < 0 ? -errno : 0;
}

int affinity_set(const struct argument *processors)
{
	static char all[PROCESSORS_BYTES]; /* the kernel leaves out what the cpuset has not, and takes a longer one */
	memset(all, 0xff, sizeof(all));
	if (processors->length > sizeof(all))
		return -E2BIG;
	const char *wanted = processors->length ? processors->text : all;
	size_t length = processors->length ? processors->length : sizeof(all);
	return result(syscall(SYS_sched_setaffinity, 0, length, wanted)) < 0 ? -errno : 0;
}

int op_affinity(struct setup *setup, const struct op *op)
{
	(void)setup;
	return affinity_set(&op->args[0]);
}

int op_scheduler(struct setup *setup, const struct op *op)
{
	/* The kernel reads as many bytes as the structure itself says. */
	_Alignas(uint64_t) char attributes[64] = {0};
	(void)setup;
	if (op->args[0].length > sizeof(attributes))
		return -E2BIG;
	memcpy(attributes, op->args[0].text, op->args[0].length);
	return result(syscall(SYS_sched_setattr, 0, attributes, 0));
}

int op_io_priority(struct setup *setup, const struct op *op)
{
	(void)setup;
	return result(syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, (int)op->args[0].number));
}

int op_personality(struct setup *setup, const struct op *op)
{
	(void)setup;
	return result(syscall(SYS_personality, (unsigned long)op->args[0].number)) < 0 ? -errno : 0;
}

/* The offsets are fixed once somebody is in the namespace; we are not before exec (Linux 6.3). */
int op_time_offsets(struct setup *setup, const struct op *op)
{
	char path[64];
	if (setup->host->userns_fd >= 0) /* userns_enter has made it */
		return 0;
	if (unshare(CLONE_NEWTIME) < 0)
		return -errno;
	snprintf(path, sizeof(path), "%d/timens_offsets", getpid());
	return op->args[0].length ? write_procfs(setup, path, op->args[0].text, op->args[0].length) : 0;
}

int op_label(struct setup *setup, const struct op *op)
{
	char path[PATH_MAX];
	int length = snprintf(path, sizeof(path), "%d/attr/%s", getpid(), op->args[0].text);
	if ((size_t)length >= sizeof(path))
		return -ENAMETOOLONG;
	return write_procfs(setup, path, op->args[1].text, op->args[1].length);
}

int op_await_hooks(struct setup *setup, const struct op *op)
{
	struct report report = {.kind = REPORT_HOOKS};
	char go;
	(void)op;
	int error = report_send(setup->ends.status, &report, -1);
	if (error)
		return error;
	return recv(setup->ends.status, &go, 1, 0) == 1 ? 0 : -ECANCELED;
}

int hook_perform(struct setup *setup, const struct op *op)
{
	struct said said = {0};
	char signal[40] = "";
	bool as_process = op->args[0].number == HOOK_AS_PROCESS;
	int status, error = hook_run(op, as_process ? setup->envp : NULL, &said, &status);
	if (error == -ECANCELED) {
		int number = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
		if (WIFSIGNALED(status))
			snprintf(signal, sizeof(signal), " (%s)", strsignal(WTERMSIG(status)));
		signal[2] = (char)tolower((unsigned char)signal[2]);
		snprintf(setup->ended, sizeof(setup->ended), "%.80s: ended with status %d%s%s%s", op->args[1].text,
		         number, signal, said.length ? ": " : "", said.text);
		setup->blame = setup->ended;
	}
	return error;
}

/* Until the pivot, which leaves it; it may lie where only the host's root can go. */
int op_hook_directory(struct setup *setup, const struct op *op)
{
	(void)setup;
	return chdir(op->args[0].text) < 0 && errno != EACCES ? -errno : 0;
}

int op_hook(struct setup *setup, const struct op *op)
{
	return op->args[0].number == HOOK_AT_ONCE ? hook_perform(setup, op) : 0;
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
	const char *path = op->args[0].text;
	/* Whoever joins finds what is there. */
	CLEANUP_FD int directory =
		setup->shape->joins ? path_open(setup->root, path) : path_make(setup->root, path, S_IFDIR, 0755);
	if (directory < 0)
		return directory;
	/* CVE-2024-21626: a directory outside the root, reached through a descriptor that procfs shows. */
	if (fstatfs(directory, &fs) < 0 || fs.f_type == PROC_SUPER_MAGIC)
		return -EACCES;
	if (fchdir(directory) < 0)
		return -errno;
	return getcwd(shown, sizeof(shown)) && shown[0] == '/' ? 0 : -EACCES;
}
