/* The probe runs inside a workload as its only program and prints what it finds there, "name value" a line.
 * It judges nothing: the comparison puts these facts beside the host's. */
#define _GNU_SOURCE
#include "probe.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define SYSCALL_NUMBERS 480   /* Linux 6.18 ends at 469 on x86-64 and on arm64 */
#define TRIAL_LIMIT_US 100000 /* a call that blocks this long has been reached */
#define NOT_TRIED (-1)

/* Calls that would do something even with every argument wrong, or would take the trial's own process apart. */
static bool is_left_out(long number)
{
	switch (number) {
	case SYS_exit:
	case SYS_exit_group:
	case SYS_rt_sigreturn:
	case SYS_sync:
#ifdef SYS_vfork
	case SYS_vfork:
#endif
		return true;
	default: return false;
	}
}

static void limit_trial(void)
{
	struct rlimit none = {0, 0};
	struct itimerval soon = {.it_value = {.tv_usec = TRIAL_LIMIT_US}};
	setsid();
	setrlimit(RLIMIT_CORE, &none);
	signal(SIGALRM, SIG_DFL);
	setitimer(ITIMER_REAL, &soon, NULL);
}

/* The errno of one call, 0 for a success or for a call that does not come back. */
static int try_syscall(long number, volatile int *result)
{
	*result = 0;
	pid_t child = fork();
	if (child < 0)
		return errno;
	if (child == 0) {
		limit_trial();
		long wrong = -1;
		int error = syscall(number, wrong, wrong, wrong, wrong, wrong, wrong) < 0 ? errno : 0;
		/* Some calls answer an unknown operation as if they did not exist (futex): ask for operation 0. */
		if (error == ENOSYS && syscall(number, 0L, 0L, 0L, 0L, 0L, 0L) < 0)
			error = errno;
		*result = error;
		_exit(0);
	}
	int status = 0;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	/* A filter that kills is a refusal; any other death came after the kernel had taken the call. */
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGSYS ? EPERM : 0;
	return *result;
}

static void report_syscalls(void)
{
	volatile int *result = mmap(NULL, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (result == MAP_FAILED) {
		printf("error mmap: %s\n", strerror(errno));
		return;
	}
	static int errors[SYSCALL_NUMBERS];
	int tried = 0;
	int answered = 0;
	int absent = 0;
	for (long number = 0; number < SYSCALL_NUMBERS; number++) {
		errors[number] = is_left_out(number) ? NOT_TRIED : try_syscall(number, result);
		tried += errors[number] != NOT_TRIED;
		absent += errors[number] == ENOSYS;
		answered += errors[number] != NOT_TRIED && errors[number] != EPERM && errors[number] != ENOSYS;
	}
	printf("syscalls-tried %d\nsyscalls-answered %d\nsyscalls-absent %d\nsyscalls-list", tried, answered, absent);
	for (int number = 0; number < SYSCALL_NUMBERS; number++)
		if (errors[number] != NOT_TRIED && errors[number] != EPERM && errors[number] != ENOSYS)
			printf(" %d", number);
	printf("\n");
}

/* The first line of a small file of the kernel. */
static void report_line(const char *name, const char *path)
{
	char line[256];
	FILE *file = fopen(path, "re");
	if (!file)
		return;
	if (fgets(line, sizeof line, file)) {
		line[strcspn(line, "\n")] = '\0';
		printf("%s %s\n", name, line);
	}
	fclose(file);
}

/* The lines of /proc/self/status and /proc/meminfo that matter, under names of our own. */
static void report_fields(const char *path, const char *const (*fields)[2])
{
	char line[512];
	FILE *file = fopen(path, "re");
	if (!file)
		return;
	while (fgets(line, sizeof line, file)) {
		char *colon = strchr(line, ':');
		if (!colon)
			continue;
		*colon = '\0';
		for (int i = 0; fields[i][0]; i++)
			if (strcmp(fields[i][0], line) == 0)
				printf("%s %s", fields[i][1], colon + 1 + strspn(colon + 1, " \t"));
	}
	fclose(file);
}

static void report_namespaces(void)
{
	static const char *const names[] = {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		char path[64];
		struct stat status;
		snprintf(path, sizeof path, "/proc/self/ns/%s", names[i]);
		if (stat(path, &status) == 0)
			printf("namespace-%s %ju\n", names[i], (uintmax_t)status.st_ino);
	}
}

static int count_entries(const char *path, bool (*counts)(int directory, const char *name))
{
	DIR *directory = opendir(path);
	int count = 0;
	if (!directory)
		return 0;
	for (struct dirent *entry; (entry = readdir(directory));)
		count += counts(dirfd(directory), entry->d_name);
	closedir(directory);
	return count;
}

static bool is_process(int directory, const char *name)
{
	(void)directory;
	return name[0] >= '1' && name[0] <= '9';
}

static bool is_device(int directory, const char *name)
{
	struct stat status;
	if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return false;
	return S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode);
}

static int processors(void)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	return sched_getaffinity(0, sizeof set, &set) < 0 ? 0 : CPU_COUNT(&set);
}

/* The name that a hypervisor gives itself: leaf 0x40000000, valid if the processor's hypervisor bit is set. */
static void report_hypervisor(void)
{
#if defined(__x86_64__)
	unsigned a = 0;
	unsigned words[4] = {0};
	unsigned b = 0;
	unsigned c = 0;
	unsigned d = 0;
	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1u << 31)))
		return;
	__cpuid(0x40000000, a, words[0], words[1], words[2]);
	printf("hypervisor %.12s\n", (const char *)words);
#endif
}

static void report_place(void)
{
	static const char *const status[][2] = {
		{"CapEff", "capabilities"}, {"Seccomp", "seccomp"}, {"NoNewPrivs", "no-new-privileges"}, {0}};
	static const char *const memory[][2] = {{"MemTotal", "memory-kb"}, {0}};
	struct utsname name;
	if (uname(&name) == 0)
		printf("release %s\nmachine %s\n", name.release, name.machine);
	report_line("boot-id", "/proc/sys/kernel/random/boot_id");
	report_line("process-1", "/proc/1/comm");
	report_fields("/proc/self/status", status);
	report_fields("/proc/meminfo", memory);
	report_hypervisor();
	printf("uid %u\nprocessors %d\nprocesses %d\ndevices %d\n", getuid(), processors(),
	       count_entries("/proc", is_process), count_entries("/dev", is_device));
}

int probe_main(int argc, char **argv)
{
	if (argc > 2 && strcmp(argv[2], "wait") == 0) {
		puts("ready");
		fflush(stdout);
		for (;;)
			pause();
	}
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	report_place();
	report_namespaces();
	/* What is printed must not be printed again by each child. */
	fflush(stdout);
	report_syscalls();
	return fflush(stdout) == 0 ? 0 : 1;
}
