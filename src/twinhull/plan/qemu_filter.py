"""The system calls that are refused to QEMU before it runs, whatever its own sandbox allows later. Pure.

Promise: what is refused leads out of QEMU's namespaces, into another process or into a part of the kernel that QEMU
never needs: files by handle (open_by_handle_at reaches every file of a file system of which one directory is bound),
mounts and namespaces, memory and control of others, bpf, io_uring, userfaultfd, keys, modules, another kernel.
"""

from __future__ import annotations

from twinhull.plan.seccomp import ANSWERS_ENOSYS, ENOSYS, EPERM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.plan.filters import Profile

VERSION = 2  # part of the cache key: raise it with any change below

REFUSED = tuple(
    """
    acct add_key bpf chroot clock_adjtime clock_settime create_module delete_module fanotify_init finit_module fsconfig
    fsmount fsopen fspick init_module io_uring_enter io_uring_register io_uring_setup ioperm iopl kcmp kexec_file_load
    kexec_load keyctl listmount lookup_dcookie modify_ldt mount mount_setattr move_mount move_pages migrate_pages
    open_by_handle_at open_tree open_tree_attr perf_event_open pidfd_getfd pivot_root process_madvise process_vm_readv
    process_vm_writev ptrace quotactl quotactl_fd reboot request_key setdomainname sethostname setns settimeofday
    statmount swapoff swapon syslog umount umount2 unshare userfaultfd vhangup
    """.split()
)
# clone(2): CLONE_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET. That of time is of clone3 alone.
NEW_NAMESPACE = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)

# madvise(2): QEMU asks for a huge page for ACPI's tables, room for 2 MiB of which a guest of ours has one page (4 KiB).
TABLES_BYTES, MADV_HUGEPAGE = 2 << 20, 14

FAMILIES = (38, 40)  # socket(2): AF_ALG, AF_VSOCK


def profile() -> Profile:
    """Return the profile; of another processor's calls libseccomp lets none through."""
    from twinhull.plan.filters import ACTIONS, OPERATORS, Profile, Rule

    refuse, missing = ACTIONS["SCMP_ACT_ERRNO"] | EPERM, ACTIONS["SCMP_ACT_ERRNO"] | ENOSYS
    masked = OPERATORS["SCMP_CMP_MASKED_EQ"]
    equal = OPERATORS["SCMP_CMP_EQ"]
    rules = (
        *(Rule(refuse, name, ()) for name in REFUSED),
        *(Rule(missing, name, ()) for name in ANSWERS_ENOSYS),
        *(Rule(refuse, "clone", ((0, masked, flag, flag),)) for flag in NEW_NAMESPACE),
        *(Rule(refuse, "socket", ((0, equal, family, 0),)) for family in FAMILIES),
        Rule(refuse, "madvise", ((1, equal, TABLES_BYTES, 0), (2, equal, MADV_HUGEPAGE, 0))),
    )
    return Profile(ACTIONS["SCMP_ACT_ALLOW"], (), rules, 0)
