"""The default seccomp profile, as data. Pure.

An allow-list: what is not named answers EPERM, and ENOSYS what is newer than all that is named. Left out, by reason:
kernel modules, kexec and reboot; mounts and roots; namespaces (unshare, setns, clone with namespace flags; clone3
answers ENOSYS, for its flags lie in memory that a filter cannot read); bpf, perf, userfaultfd, fanotify; keys, which no
namespace divides; io_uring, whose requests pass by this filter; the clock, the log and the accounting of the whole
machine; memory policy; open_by_handle_at, which reaches any file of a file system. Of the socket families VSOCK and ALG
stay closed (CVE-2026-31431). A capability that is granted opens the calls it is for.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from twinhull.plan.filters import Profile, Rule

ANNOTATION, UNCONFINED = "dev.twinhull.seccomp", "unconfined"  # a spec without a section means the default otherwise
GUEST_ARCHITECTURE = "dev.twinhull.guest-architecture"  # of the guest that performs a spec, where it is not the host's
VERSION = 2  # part of the cache key: raise it with any change below

ALLOWED = tuple(
    """
    accept accept4 access adjtimex alarm arch_prctl bind brk cachestat capget capset chdir chmod chown chroot
    clock_adjtime clock_getres clock_gettime clock_nanosleep close close_range connect copy_file_range creat dup
    dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 execve
    execveat exit exit_group faccessat faccessat2 fadvise64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2
    fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstatfs fsync
    ftruncate futex futex_requeue futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu
    getcwd getdents getdents64 getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp getpid getppid
    getpriority getrandom getresgid getresuid getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday
    getuid getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy
    io_getevents io_pgetevents io_setup io_submit ioctl ioprio_get ioprio_set kill landlock_add_rule
    landlock_create_ruleset landlock_restrict_self lchown lgetxattr link linkat listen listxattr listxattrat
    llistxattr lremovexattr lseek lsetxattr lstat madvise map_shadow_stack membarrier memfd_create memfd_secret
    mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap modify_ldt mprotect mq_getsetattr mq_notify
    mq_open mq_timedreceive mq_timedsend mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall
    munmap name_to_handle_at nanosleep newfstatat open openat openat2 pause pidfd_getfd pidfd_open pidfd_send_signal
    pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll prctl pread64 preadv preadv2 prlimit64 process_madvise
    process_mrelease process_vm_readv pselect6 ptrace pwrite64 pwritev pwritev2 read readahead readlink readlinkat
    readv recvfrom recvmmsg recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2
    restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
    rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr
    sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam
    sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop sendfile sendmmsg sendmsg sendto
    set_robust_list set_thread_area set_tid_address setfsgid setfsuid setgid setgroups setitimer setpgid setpriority
    setregid setresgid setresuid setreuid setrlimit setsid setsockopt setuid setxattr setxattrat shmat shmctl shmdt
    shmget shutdown sigaltstack signalfd signalfd4 socketpair splice stat statfs statx symlink symlinkat sync
    sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime
    timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill truncate umask uname unlink unlinkat
    utime utimensat utimes vfork vmsplice wait4 waitid write writev
    """.split()
)

# What the default lacks, by the capability that the kernel asks for.
BY_CAPABILITY = {
    name: tuple(calls.split())
    for name, calls in {
        "DAC_READ_SEARCH": "open_by_handle_at",
        "SYS_ADMIN": """bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick listmount lookup_dcookie mount
            mount_setattr move_mount open_tree perf_event_open pivot_root quotactl quotactl_fd setdomainname sethostname
            setns statmount syslog umount umount2 unshare""",
        "SYS_BOOT": "reboot",
        "SYS_MODULE": "delete_module finit_module init_module",
        "SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
        "SYS_PACCT": "acct",
        "SYS_PTRACE": "kcmp process_vm_writev",
        "SYS_RAWIO": "ioperm iopl",
        "SYS_TIME": "clock_settime settimeofday",
        "SYS_TTY_CONFIG": "vhangup",
        "SYSLOG": "syslog",
        "BPF": "bpf",
        "PERFMON": "perf_event_open",
    }.items()
}

# What programs for 32-bit Arm call in place of some of these, and what only their processor has. Those for 32-bit x86
# are another matter: they make sockets by a call that hides their family from a filter.
ALLOWED_ARM = tuple(
    """
    _llseek _newselect arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush chown32 clock_adjtime64
    clock_getres_time64 clock_gettime64 clock_nanosleep_time64 fadvise64_64 fchown32 fcntl64 fstat64 fstatat64
    fstatfs64 ftruncate64 futex_time64 getegid32 geteuid32 getgid32 getgroups32 getresgid32 getresuid32 getuid32
    io_pgetevents_time64 lchown32 lstat64 mmap2 mq_timedreceive_time64 mq_timedsend_time64 ppoll_time64 pselect6_time64
    recv recvmmsg_time64 rt_sigtimedwait_time64 sched_rr_get_interval_time64 semtimedop_time64 send sendfile64 set_tls
    setfsgid32 setfsuid32 setgid32 setgroups32 setregid32 setresgid32 setresuid32 setreuid32 setuid32 sigaction
    sigpending sigprocmask sigreturn sigsuspend stat64 statfs64 sync_file_range2 timer_gettime64 timer_settime64
    timerfd_gettime64 timerfd_settime64 truncate64 ugetrlimit utimensat_time64
    """.split()
)

ENOSYS, EPERM = 38, 1
ANSWERS_ENOSYS = ("clone3",)

# clone(2): allowed without any CLONE_NEW* flag.
NAMESPACE_FLAGS = 0x7E020000 | 0x80
# personality(2): the persona values programs ask for; 0xffffffff reads it.
PERSONALITIES = (0x0, 0x0008, 0x20000, 0x20008, 0xFFFFFFFF)
# socket(2): every family but AF_ALG (38) and AF_VSOCK (40); one rule may test an argument once only.
FAMILIES = (("SCMP_CMP_LT", 38), ("SCMP_CMP_EQ", 39), ("SCMP_CMP_GT", 40))


def opening(capabilities: Collection[str]) -> tuple[str, ...]:
    """Of these capabilities those that open calls; the default's fourteen open none."""
    return tuple(name for name in BY_CAPABILITY if f"CAP_{name}" in capabilities)


def profile(capabilities: Collection[str], processor: str = "") -> Profile:
    """Return the profile for a workload with these capabilities in its bounding set.

    Args:
        processor: as images name it, "" for this machine's.
    """
    from twinhull.plan.filters import ACTIONS, Profile, Rule

    more = ALLOWED_ARM if processor == "arm64" else ()
    found = (*rules(opening(capabilities)), *(Rule(ACTIONS["SCMP_ACT_ALLOW"], name, ()) for name in more))
    return Profile(ACTIONS["SCMP_ACT_ERRNO"] | EPERM, (), found, 0, processor)


def rules(capabilities: Collection[str]) -> Iterator[Rule]:
    """The rules, those without comparisons first. `capabilities` are such as `opening` returns."""
    from twinhull.plan.filters import ACTIONS, OPERATORS, Rule

    allow, refuse = ACTIONS["SCMP_ACT_ALLOW"], ACTIONS["SCMP_ACT_ERRNO"] | ENOSYS
    opened = dict.fromkeys(name for capability in capabilities for name in BY_CAPABILITY[capability])
    yield from (Rule(allow, name, ()) for name in (*ALLOWED, *opened))
    yield from (Rule(refuse, name, ()) for name in ANSWERS_ENOSYS if name not in opened)
    if "clone" not in opened:
        yield Rule(allow, "clone", ((0, OPERATORS["SCMP_CMP_MASKED_EQ"], NAMESPACE_FLAGS, 0),))
    for persona in PERSONALITIES:
        yield Rule(allow, "personality", ((0, OPERATORS["SCMP_CMP_EQ"], persona, 0),))
    for operator, family in FAMILIES:
        yield Rule(allow, "socket", ((0, OPERATORS[operator], family, 0),))
