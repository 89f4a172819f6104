/* Ways that lead through files. All of them look; nothing is ever written to what they open. */
#define _GNU_SOURCE
#include "escape.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Open and close. Opening is no access to a device's or a sysctl's content; a file to be written is not truncated. */
int look_at(const char *path, int flags, char *detail)
{
	int fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return errno;
	close(fd);
	say(detail, "opened %s", path);
	return 0;
}

static int kernel_memory(const struct host *host, char *detail)
{
	(void)host;
	return look_at("/dev/mem", O_RDONLY, detail);
}

/* A mask leaves an empty file in its place: only the header of the kernel's own tells. */
static int kernel_core(const struct host *host, char *detail)
{
	(void)host;
	char magic[4] = {0};
	int fd = open("/proc/kcore", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	ssize_t got = read(fd, magic, sizeof magic);
	close(fd);
	if (got == sizeof magic && memcmp(magic, "\177ELF", sizeof magic) == 0) {
		say(detail, "read the header of /proc/kcore");
		return 0;
	}
	say(detail, "/proc/kcore is masked");
	return EACCES;
}

static int core_pattern(const struct host *host, char *detail)
{
	(void)host;
	return look_at("/proc/sys/kernel/core_pattern", O_WRONLY, detail);
}

static int sysrq(const struct host *host, char *detail)
{
	(void)host;
	return look_at("/proc/sysrq-trigger", O_WRONLY, detail);
}

static int uevent_helper(const struct host *host, char *detail)
{
	(void)host;
	return look_at("/sys/kernel/uevent_helper", O_WRONLY, detail);
}

static int binfmt_misc(const struct host *host, char *detail)
{
	(void)host;
	return look_at("/proc/sys/fs/binfmt_misc/register", O_WRONLY, detail);
}

/* The first entry of a directory that `try` accepts; its errors otherwise, the last one seen. */
static int each_entry(const char *path, int (*try)(const char *path, const char *name, char *detail), char *detail)
{
	DIR *directory = opendir(path);
	int error = ENOENT;
	if (!directory)
		return errno;
	for (struct dirent *entry; error && (entry = readdir(directory));) {
		int found = entry->d_name[0] == '.' ? ENOENT : try(path, entry->d_name, detail);
		error = found == ENOENT ? error : found;
	}
	closedir(directory);
	return error;
}

static int open_release_agent(const char *directory, const char *name, char *detail)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/%s/release_agent", directory, name);
	int error = look_at(path, O_WRONLY, detail);
	return error == ENOTDIR ? ENOENT : error;
}

static int release_agent(const struct host *host, char *detail)
{
	(void)host;
	return each_entry("/sys/fs/cgroup", open_release_agent, detail);
}

static int is_anything(const char *directory, const char *name, char *detail)
{
	say(detail, "%s lists %s", directory, name);
	return 0;
}

static int firmware(const struct host *host, char *detail)
{
	(void)host;
	return each_entry("/sys/firmware", is_anything, detail);
}

static bool is_number(const char *name)
{
	return name[0] && strspn(name, "0123456789") == strlen(name);
}

/* kthreadd is process 2 of a kernel, in the first PID namespace only. */
static int is_kthreadd(const char *directory, const char *name, char *detail)
{
	char path[PATH_MAX];
	char comm[32] = {0};
	snprintf(path, sizeof path, "%s/%s/comm", directory, name);
	FILE *file = is_number(name) ? fopen(path, "re") : NULL;
	if (!file)
		return ENOENT;
	bool found = fgets(comm, sizeof comm, file) && strcmp(comm, "kthreadd\n") == 0;
	fclose(file);
	if (found)
		say(detail, "the kernel's own kthreadd is process %s", name);
	return found ? 0 : ENOENT;
}

static int host_processes(const struct host *host, char *detail)
{
	(void)host;
	return each_entry("/proc", is_kthreadd, detail);
}

/* True for a process that runs another program than we do. */
static bool is_foreign(const char *process)
{
	char path[PATH_MAX];
	struct stat own;
	struct stat other;
	snprintf(path, sizeof path, "/proc/%s/exe", process);
	if (!is_number(process) || stat("/proc/self/exe", &own) < 0 || stat(path, &other) < 0)
		return false;
	return own.st_dev != other.st_dev || own.st_ino != other.st_ino;
}

static int open_of(const char *process, const char *file, int flags, char *detail)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "/proc/%s/%s", process, file);
	return look_at(path, flags, detail);
}

/* The named process, or the first of a program that is not ours on which it works. */
static int each_process(const struct host *host, int (*try)(const char *process, char *detail), char *detail)
{
	DIR *directory = host->process ? NULL : opendir("/proc");
	int error = ENOENT;
	if (host->process)
		return try(host->process, detail);
	if (!directory)
		return errno;
	for (struct dirent *entry; error && (entry = readdir(directory));) {
		int found = is_foreign(entry->d_name) ? try(entry->d_name, detail) : ENOENT;
		error = found == ENOENT ? error : found;
	}
	closedir(directory);
	return error;
}

/* The link of a process's root leads out of every chroot and mount namespace. */
static int open_root(const char *process, char *detail)
{
	return open_of(process, "root/", O_RDONLY | O_DIRECTORY, detail);
}

static int host_root(const struct host *host, char *detail)
{
	return each_process(host, open_root, detail);
}

/* To open it, a process must be allowed to trace the other (ptrace(2), PTRACE_MODE_ATTACH), which is not stopped. */
static int open_memory(const char *process, char *detail)
{
	return open_of(process, "mem", O_RDONLY, detail);
}

static int foreign_memory(const struct host *host, char *detail)
{
	return each_process(host, open_memory, detail);
}

/* A program that runs cannot be opened for writing (ETXTBSY), but only after the permission was given. */
static int open_program(const char *process, char *detail)
{
	int error = open_of(process, "exe", O_WRONLY, detail);
	if (error == ETXTBSY)
		say(detail, "/proc/%s/exe may be written, and is only busy", process);
	return error == ETXTBSY ? 0 : error;
}

static int runtime_program(const struct host *host, char *detail)
{
	return each_process(host, open_program, detail);
}

/* A directory that is open without our doing, as the first program was started with it. */
static int is_leaked(const char *directory, const char *name, char *detail)
{
	char path[PATH_MAX];
	struct stat status;
	snprintf(path, sizeof path, "%s/%s", directory, name);
	if (!is_number(name) || atoi(name) < 3 || fcntl(atoi(name), F_GETFD) & FD_CLOEXEC)
		return ENOENT;
	if (stat(path, &status) < 0 || !S_ISDIR(status.st_mode))
		return ENOENT;
	say(detail, "descriptor %s is a directory", name);
	return 0;
}

static int leaked_descriptor(const struct host *host, char *detail)
{
	(void)host;
	return each_entry("/proc/self/fd", is_leaked, detail);
}

/* Make a node in /dev, where devices work, open it, and remove it at once; nothing is read from it. */
static int open_device(mode_t kind, dev_t number, char *detail)
{
	char path[64];
	snprintf(path, sizeof path, "/dev/twinhull-trial-%d", getpid());
	if (mknod(path, kind | 0600, number) < 0)
		return errno;
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int error = fd < 0 ? errno : 0;
	unlink(path);
	if (fd >= 0)
		close(fd);
	say(detail, "device %u:%u", major(number), minor(number));
	return error;
}

/* /proc/partitions names the disks of the kernel, whatever the namespace. */
static int host_disk(const struct host *host, char *detail)
{
	(void)host;
	char line[256];
	unsigned first = 0;
	unsigned second = 0;
	FILE *file = fopen("/proc/partitions", "re");
	if (!file)
		return errno;
	int found = 0;
	while (found != 2 && fgets(line, sizeof line, file))
		found = sscanf(line, "%u %u", &first, &second);
	fclose(file);
	return found == 2 ? open_device(S_IFBLK, makedev(first, second), detail) : ENOENT;
}

/* The ports of a guest's paravirtual console, over which an agent speaks to the host. EBUSY: it was only taken. */
static int open_port(const char *directory, const char *name, char *detail)
{
	char path[PATH_MAX];
	unsigned first = 0;
	unsigned second = 0;
	snprintf(path, sizeof path, "%s/%s/dev", directory, name);
	FILE *file = fopen(path, "re");
	if (!file)
		return ENOENT;
	int found = fscanf(file, "%u:%u", &first, &second);
	fclose(file);
	int error = found == 2 ? open_device(S_IFCHR, makedev(first, second), detail) : ENOENT;
	return error == EBUSY ? 0 : error;
}

static int agent_port(const struct host *host, char *detail)
{
	(void)host;
	return each_entry("/sys/class/virtio-ports", open_port, detail);
}

const struct trial file_trials[] = {
	{"host-root", host_root},
	{"host-processes", host_processes},
	{"foreign-memory", foreign_memory},
	{"kernel-memory", kernel_memory},
	{"kernel-core", kernel_core},
	{"core-pattern", core_pattern},
	{"release-agent", release_agent},
	{"sysrq", sysrq},
	{"uevent-helper", uevent_helper},
	{"binfmt-misc", binfmt_misc},
	{"firmware", firmware},
	{"runtime-program", runtime_program},
	{"leaked-descriptor", leaked_descriptor},
	{"host-disk", host_disk},
	{"agent-port", agent_port},
	{NULL, NULL},
};
