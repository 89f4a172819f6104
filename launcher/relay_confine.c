/* The relay reads what a hostile guest sends: whoever takes it over finds a process that can do nothing else. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "descriptor.h"
#include "kernel.h"
#include "relay_state.h"

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, field))
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, value)
#define ALLOW(number) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), RETURN(SECCOMP_RET_ALLOW)

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#define OLDER ALLOW(SYS_poll), ALLOW(SYS_open) /* musl's openat on some paths */
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#define OLDER ALLOW(SYS_ppoll)
#endif

/* No socket, no exec, no signal, no new memory that can be executed. Paths begin at the instance directory. */
static struct sock_filter FILTER[] = {
	LOAD(arch),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0),
	RETURN(SECCOMP_RET_KILL_PROCESS),
	LOAD(nr),
	ALLOW(SYS_read),
	ALLOW(SYS_write),
	ALLOW(SYS_writev),
	OLDER,
	ALLOW(SYS_close),
	ALLOW(SYS_clock_gettime),
	ALLOW(SYS_accept4),
	ALLOW(SYS_getsockopt),
	ALLOW(SYS_geteuid),
	ALLOW(SYS_fcntl),
	ALLOW(SYS_openat),
	ALLOW(SYS_renameat),
	ALLOW(SYS_renameat2),
	ALLOW(SYS_fstat),
	ALLOW(SYS_newfstatat),
	ALLOW(SYS_ftruncate),
	ALLOW(SYS_munmap),
	ALLOW(SYS_madvise),
	ALLOW(SYS_restart_syscall), /* after SIGSTOP and SIGCONT */
	ALLOW(SYS_rt_sigreturn),
	ALLOW(SYS_exit),
	ALLOW(SYS_exit_group),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 3),
	LOAD(args[2]),
	BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 1, 0),
	RETURN(SECCOMP_RET_ALLOW),
	RETURN(SECCOMP_RET_KILL_PROCESS),
};

static int drop_capabilities(void)
{
	for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
		if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
			return -errno;
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}, {0}};
	return sys_capset(&header, none);
}

int relay_confine(int directory_fd, int *keep, size_t count)
{
	struct sock_fprog program = {.len = sizeof(FILTER) / sizeof(FILTER[0]), .filter = FILTER};
	umask(0077);
	if (fchdir(directory_fd) < 0 || chroot(".") < 0)
		return -errno;
	int error = fd_keep_only(keep, count);
	if (!error)
		error = drop_capabilities();
	if (error)
		return error;
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return sys_seccomp(SECCOMP_SET_MODE_FILTER, 0, &program);
}
