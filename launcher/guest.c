#define _GNU_SOURCE
#include "guest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "descriptor.h"
#include "kernel.h"

#define MODULES_ORDER "/modules.order"
#define MODULES_MAX_BYTES 8192
#define PORTS "/sys/class/virtio-ports"
#define PORT_WAIT_MS 10000
#define MAX_FILES 1048576 /* fs.nr_open, and what Docker gives */
#define WORKLOAD_GROUP "/sys/fs/cgroup/twinhull/workload"

struct file_system {
	const char *type;
	const char *target;
	unsigned long flags;
	const char *data;
};

static const struct file_system FILE_SYSTEMS[] = {
	{"devtmpfs", "/dev", MS_NOSUID, "mode=0755"},
	{"proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL},
	{"sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL},
	{"tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755"},
	{"cgroup2", "/sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL},
};

static int complain(const char *what, int error)
{
	fprintf(stderr, "twinhull: %s: %s\n", what, strerror(-error));
	return error;
}

/* The kernel's first root can be neither pivoted nor unmounted: lay a bind mount of it over itself. */
static int make_root_movable(void)
{
	if (mkdir("/root", 0700) < 0 && errno != EEXIST)
		return -errno;
	if (mount("/", "/root", NULL, MS_BIND, NULL) < 0 || chdir("/root") < 0)
		return -errno;
	if (mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return -errno;
	return 0;
}

static int mount_file_systems(void)
{
	for (size_t i = 0; i < sizeof(FILE_SYSTEMS) / sizeof(*FILE_SYSTEMS); i++) {
		const struct file_system *fs = &FILE_SYSTEMS[i];
		if (mkdir(fs->target, 0755) < 0 && errno != EEXIST)
			return complain(fs->target, -errno);
		if (mount(fs->type, fs->target, fs->type, fs->flags, fs->data) < 0)
			return complain(fs->target, -errno);
	}
	return 0;
}

/* What the kernel gave PID 1 was opened before devtmpfs was there, if at all. */
static void use_console(void)
{
	CLEANUP_FD int fd = open("/dev/console", O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return;
	for (int standard = 0; standard < 3; standard++)
		dup2(fd, standard);
	if (fd < 3)
		fd = -1;
}

static int load_module(const char *name)
{
	char path[300];
	snprintf(path, sizeof(path), "/modules/%s", name);
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return complain(path, -errno);
	int loaded = result(syscall(SYS_finit_module, fd, "", 0));
	if (loaded < 0 && loaded != -EEXIST)
		return complain(path, loaded);
	return 0;
}

/* Once they are loaded, nothing needs the files: they go, or every guest would carry their pages. */
static int load_modules(void)
{
	static char order[MODULES_MAX_BYTES];
	int length = file_read(AT_FDCWD, MODULES_ORDER, order, sizeof(order));
	if (length < 0)
		return complain(MODULES_ORDER, length);
	int status = 0;
	char *rest = order;
	for (char *name; (name = strsep(&rest, "\n"));) {
		if (!*name)
			continue;
		int loaded = load_module(name);
		if (loaded < 0 && !status)
			status = loaded;
		char path[300];
		snprintf(path, sizeof(path), "/modules/%s", name);
		unlink(path);
	}
	return status;
}

static void offer_controllers(const char *group)
{
	static const char *const controllers[] = {"+cpu", "+memory", "+pids"};
	char path[sizeof(WORKLOAD_GROUP) + sizeof("/cgroup.subtree_control")];
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", group);
	for (size_t i = 0; i < sizeof(controllers) / sizeof(*controllers); i++)
		file_write(AT_FDCWD, path, controllers[i], strlen(controllers[i]));
}

/* The workload's group, as plan/guest.py names it: made before anybody waits for it. */
static void make_groups(void)
{
	offer_controllers("/sys/fs/cgroup");
	mkdir("/sys/fs/cgroup/twinhull", 0755);
	offer_controllers("/sys/fs/cgroup/twinhull");
	mkdir(WORKLOAD_GROUP, 0755);
}

/* On disks that a host keeps in its memory nothing is won by sorting or holding back; and the kernel's counters need
 * no bringing up to date every second. */
void guest_simplify(void)
{
	static const struct {
		const char *path, *value;
	} SETTINGS[] = {
		{"/sys/block/vda/queue/scheduler", "none"}, {"/sys/block/vdb/queue/scheduler", "none"},
		{"/sys/block/vda/queue/wbt_lat_usec", "0"}, {"/sys/block/vdb/queue/wbt_lat_usec", "0"},
		{"/proc/sys/vm/stat_interval", "60"},
	};
	for (size_t i = 0; i < sizeof(SETTINGS) / sizeof(SETTINGS[0]); i++)
		file_write(AT_FDCWD, SETTINGS[i].path, SETTINGS[i].value, strlen(SETTINGS[i].value));
}

/* A link-local address made from the template's hardware address would be every guest's. As in a container of
 * Docker's, a workload has no IPv6 but what it is given. */
static void forbid_autoconf(void)
{
	static const char *const LINKS[] = {"default", "eth0"};
	for (size_t i = 0; i < sizeof(LINKS) / sizeof(LINKS[0]); i++) {
		char path[64];
		snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/addr_gen_mode", LINKS[i]);
		file_write(AT_FDCWD, path, "1", 1);
	}
}

/* The kernel's own are for a machine as small as this; whatever runs here inherits ours. */
static void raise_limits(void)
{
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){MAX_FILES, MAX_FILES});
	setrlimit(RLIMIT_NPROC, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY});
}

int guest_prepare(void)
{
	raise_limits();
	int status = make_root_movable();
	if (status < 0)
		return complain("the root", status);
	status = mount_file_systems();
	use_console();
	if (status < 0)
		return status;
	status = load_modules();
	make_groups();
	forbid_autoconf();
	/* The file system, not a mount of it: the agent was started from the kernel's own mount of the first root, and
	 * a workload that reaches it by /proc/PID/exe must not change it (CVE-2019-5736). */
	if (mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
		return complain("the root", -errno);
	return status;
}

/* The names that the host gave to the ports are in sysfs; the numbers are the kernel's. */
static int find_port(const char *wanted)
{
	DIR *ports = opendir(PORTS);
	if (!ports)
		return -errno;
	int found = -ENOENT;
	for (struct dirent *entry; found < 0 && (entry = readdir(ports));) {
		char path[sizeof(entry->d_name) + 16], name[64];
		snprintf(path, sizeof(path), "%s/name", entry->d_name);
		int length = file_read(dirfd(ports), path, name, sizeof(name));
		if (length <= 0)
			continue;
		name[strcspn(name, "\n")] = '\0';
		if (strcmp(name, wanted))
			continue;
		snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
		found = result(open(path, O_RDWR | O_CLOEXEC));
	}
	closedir(ports);
	return found;
}

int guest_open_port(const char *name)
{
	for (int waited = 0; waited < PORT_WAIT_MS; waited++) {
		int fd = find_port(name);
		if (fd >= 0)
			return fd;
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	return complain(name, -ENODEV);
}

void guest_warm_up(void)
{
	char *argv[] = {"launcher", "agent", GUEST_WARM_UP, NULL}, *environment[] = {NULL};
	pid_t child;
	for (int i = 0; i < 2; i++)
		if (!posix_spawn(&child, "/init", NULL, NULL, argv, environment))
			waitpid(child, NULL, 0);
	if (mkdir("/run/warm", 0700) < 0)
		return;
	/* The placeholder holds zeroes: the attempt reads the disk and fails. */
	if (!mount("/dev/vda", "/run/warm", "erofs", MS_RDONLY, NULL))
		umount2("/run/warm", 0);
	rmdir("/run/warm");
}

void guest_power_off(void)
{
	sync();
	reboot(RB_AUTOBOOT); /* QEMU ends instead (-no-reboot): a board without ACPI cannot be switched off */
	for (;;)
		pause();
}
