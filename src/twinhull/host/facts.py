"""Facts of this machine that a plan depends on, read cheaply and passed on as one value."""

from __future__ import annotations

import os

from twinhull.host import files
from twinhull.model import Facts

KEEPER = "twinhull-keeper "  # launcher/keep.c
# uname -m -> what images call it, and what else its kernel executes
PROCESSORS = {"x86_64": ("amd64", "386"), "aarch64": ("arm64", "arm")}
CONTROLLERS = tuple(
    """cpu memory pids devices blkio cpuset freezer cpuacct hugetlb net_cls net_prio perf_event rdma misc
    name=systemd""".split()
)


def read_facts() -> Facts:
    """Read mountinfo, /proc/self/status and the limits."""
    cgroup2, cgroup1 = cgroup_mounts(read("/proc/self/mountinfo"))
    controllers: tuple[str, ...] = ()
    if cgroup2:
        controllers = tuple(read(f"{cgroup2}/cgroup.controllers").split())
    bounding = next((line.split()[1] for line in read("/proc/self/status").splitlines() if line[:7] == "CapBnd:"), "0")
    return Facts(
        cgroup2=cgroup2,
        cgroup2_controllers=controllers,
        cgroup1=cgroup1,
        last_capability=int(read("/proc/sys/kernel/cap_last_cap") or 40),
        capabilities=int(bounding, 16),
        max_files=os.sysconf("SC_OPEN_MAX"),
        cpu_count=os.cpu_count() or 1,
        swap_limit=os.path.exists(f"{dict(cgroup1).get('memory', '/')}/memory.memsw.limit_in_bytes"),
        bfq=os.path.exists(f"{dict(cgroup1).get('blkio', '/')}/blkio.bfq.io_serviced"),
        rootless=is_rootless(),
    )


def is_rootless() -> bool:
    """True for root of a user namespace in which this machine's root is nobody."""
    return os.stat("/").st_uid != 0 == os.geteuid()


def architecture() -> str:
    """This machine's architecture, as images name it."""
    machine = os.uname().machine
    return PROCESSORS.get(machine, (machine,))[0]


def executes(platform: str) -> bool:
    """True if this kernel executes an image's programs without an emulator; platforms as images have them."""
    system, _, rest = platform.partition("/")
    machine = os.uname().machine
    return system == "linux" and rest.partition("/")[0] in PROCESSORS.get(machine, (machine,))


def cgroup_mounts(mountinfo: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the v2 mount point and (controller, mount point) of v1, from /proc/self/mountinfo.

    What the namespaces of a user without root cover is not there.
    """
    unified = ""
    legacy: dict[str, str] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, rest = right.partition(" ")
        if kind == "cgroup2":
            unified = unified or left.split()[4]
        elif kind == "cgroup":
            options = rest.split()[-1].split(",")
            for controller in CONTROLLERS:
                if controller in options:
                    legacy.setdefault(controller, left.split()[4])
        elif kind == "tmpfs" and rest.startswith(KEEPER):  # it covers what came before
            unified, legacy = "", {}
    return unified, tuple(legacy.items())


def read(path: str) -> str:
    """Return a kernel file's text, "" if it is not there."""
    try:
        return files.read(path).decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def boot_id() -> str:
    """The kernel's name for this boot."""
    return read("/proc/sys/kernel/random/boot_id").strip()
