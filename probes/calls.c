/* Ways that lead through system calls. */
#define _GNU_SOURCE
#include "escape.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <unistd.h>

#define NO_SUCH_MAGIC 0x7477696eU
#define NO_SUCH_FLAG 0x8000UL
#define TOO_MANY_SEGMENTS 1000UL
#define KLOG_SIZE_BUFFER 10 /* syslog(2): how large the kernel's log is */
#define CLIMBS 64

/* The kernel judged the arguments: it had nothing against the caller. */
static int past(long result, int expected, char *detail)
{
	if (result >= 0)
		return 0;
	if (errno != expected)
		return errno;
	say(detail, "past the check of privileges: %s", strerror(errno));
	return 0;
}

/* A descriptor that would be the first step is closed again. */
static int closed(long fd)
{
	if (fd < 0)
		return errno;
	close((int)fd);
	return 0;
}

/* Past the check: no file system has this name. */
static int mount_something(const struct host *host, char *detail)
{
	(void)host;
	return past(mount("none", "/", "twinhull-none", 0, NULL), ENODEV, detail);
}

/* Own process: a context for a mount that is never made. */
static int mount_context(const struct host *host, char *detail)
{
	(void)host;
	(void)detail;
	return closed(syscall(SYS_fsopen, "tmpfs", 1UL));
}

/* Own process: the namespaces end with it. */
static int user_namespace(const struct host *host, char *detail)
{
	(void)host;
	(void)detail;
	return unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 ? errno : 0;
}

/* Past the check: without the magic numbers nothing is rebooted, whoever asks (reboot(2)). */
static int reboot_machine(const struct host *host, char *detail)
{
	(void)host;
	return past(syscall(SYS_reboot, NO_SUCH_MAGIC, NO_SUCH_MAGIC, 0UL, NULL), EINVAL, detail);
}

/* Past the check: an unknown flag, and more segments than there may be. */
static int load_kernel(const struct host *host, char *detail)
{
	(void)host;
	return past(syscall(SYS_kexec_load, 0UL, TOO_MANY_SEGMENTS, NULL, NO_SUCH_FLAG), EINVAL, detail);
}

/* Past the check: an empty file is no module. */
static int load_module(const struct host *host, char *detail)
{
	(void)host;
	return past(syscall(SYS_init_module, "", 0UL, ""), ENOEXEC, detail);
}

/* Past the check: a tick of length 0 is refused by every kernel (adjtimex(2)). */
static int set_clock(const struct host *host, char *detail)
{
	(void)host;
	struct timex none = {.modes = ADJ_TICK, .tick = 0};
	return past(adjtimex(&none), EINVAL, detail);
}

/* Past the check: no file has inode 0, generation 0. The handle that the published program guessed was of inode 2. */
static int open_by_handle(const struct host *host, char *detail)
{
	(void)host;
	struct {
		struct file_handle head;
		uint32_t body[2];
	} handle = {.head = {.handle_bytes = sizeof handle.body, .handle_type = 1}};
	int mount = open("/etc/hosts", O_RDONLY | O_CLOEXEC);
	if (mount < 0)
		mount = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return past(syscall(SYS_open_by_handle_at, mount, &handle, O_RDONLY | O_CLOEXEC), ESTALE, detail);
}

/* Own process: a program that returns 0 and is attached to nothing. */
static int load_bpf(const struct host *host, char *detail)
{
	(void)host;
	(void)detail;
	struct bpf_insn program[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr attributes;
	memset(&attributes, 0, sizeof attributes);
	attributes.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
	attributes.insns = (uint64_t)(uintptr_t)program;
	attributes.insn_cnt = sizeof program / sizeof *program;
	attributes.license = (uint64_t)(uintptr_t) "GPL";
	return closed(syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes));
}

/* Own process: no memory is registered with it. */
static int user_faults(const struct host *host, char *detail)
{
	(void)host;
	(void)detail;
	return closed(syscall(SYS_userfaultfd, O_CLOEXEC));
}

/* Own process: a ring of one entry that nothing is put into. */
static int io_ring(const struct host *host, char *detail)
{
	(void)host;
	(void)detail;
	uint32_t parameters[64] = {0};
	return closed(syscall(SYS_io_uring_setup, 1UL, parameters));
}

/* Look: the number of a keyring, which is not read. Keyrings know no namespace but the user's. */
static int keyring(const struct host *host, char *detail)
{
	(void)host;
	long found = syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0L);
	if (found < 0)
		return errno;
	say(detail, "the session keyring has a number");
	return 0;
}

/* Own process: a counter of every process on one processor, that is off. */
static int count_events(const struct host *host, char *detail)
{
	(void)host;
	(void)detail;
	struct perf_event_attr event = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof event,
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.disabled = 1,
	};
	return closed(syscall(SYS_perf_event_open, &event, -1, 0, -1, PERF_FLAG_FD_CLOEXEC));
}

/* Look: the size of the kernel's log, which is not read. */
static int kernel_log(const struct host *host, char *detail)
{
	(void)host;
	int size = klogctl(KLOG_SIZE_BUFFER, NULL, 0);
	if (size < 0)
		return errno;
	say(detail, "the kernel's log of %d bytes may be read", size);
	return 0;
}

/* Own process: the classic way out of chroot(2). A root that was changed by pivot_root(2) ends it where it began. */
static int climb_root(const struct host *host, char *detail)
{
	(void)host;
	struct stat before;
	struct stat after;
	if (stat("/", &before) < 0 || chdir("/") < 0 || chroot("/dev") < 0)
		return errno;
	for (int i = 0; i < CLIMBS; i++)
		if (chdir("..") < 0)
			return errno;
	if (chroot(".") < 0 || stat("/", &after) < 0)
		return errno;
	say(detail, "the root that is reached");
	if (before.st_dev == after.st_dev && before.st_ino == after.st_ino)
		return EXDEV;
	say(detail, "another root lies above");
	return 0;
}

const struct trial call_trials[] = {
	{"mount", mount_something},
	{"mount-context", mount_context},
	{"user-namespace", user_namespace},
	{"chroot", climb_root},
	{"open-by-handle", open_by_handle},
	{"reboot", reboot_machine},
	{"kexec", load_kernel},
	{"module", load_module},
	{"clock", set_clock},
	{"bpf", load_bpf},
	{"userfaultfd", user_faults},
	{"io-uring", io_ring},
	{"keyring", keyring},
	{"perf-event", count_events},
	{"kernel-log", kernel_log},
	{NULL, NULL},
};
