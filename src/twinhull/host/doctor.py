"""What this machine can do for workloads, and the exact command that repairs each shortcoming.

Promise: "ok" was tried or read from the kernel just now; what was not tried is called not proven.
`observe` looks, `judge` decides; so every machine that a user may have can be judged in a test.
"""

from __future__ import annotations

import os
from stat import S_IWOTH

from twinhull.config import CONFIG_FILE
from twinhull.errors import HostUnfit
from twinhull.host import attempts
from twinhull.host.facts import read, read_facts
from twinhull.model import Facts
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Literal

    State = Literal["ok", "degraded", "missing"]

INSTALL = "apt-get install -y"
# What is said in place of a command.
NOTHING = "nothing on this machine mends it"
ANOTHER_KERNEL = f"{NOTHING}: boot a kernel that has it"
FIRMWARE = f"{NOTHING}: virtualisation is switched on in the firmware, or by the hypervisor around it"
MOVE_STATE = f"echo 'state = \"/DIRECTORY/ON/A/DISK\"' >> {CONFIG_FILE}"
MINIMUM_KERNEL = (5, 12)  # mount_setattr(2); clone3 with CLONE_INTO_CGROUP is 5.7, openat2 5.6


class Fact(NamedTuple):
    """One line of the doctor.

    Attributes:
        needed_for: run (nothing starts without it), vm, network, pull, rootless, root (what only root may), "".
        repair: a command to type, or "" where none helps.
    """

    name: str
    state: State
    detail: str
    needed_for: str
    repair: str = ""


class Tool(NamedTuple):
    """A program that some part of the engine calls, and the Debian package that brings it."""

    name: str
    package: str
    needed_for: str
    use: str


class Kvm(NamedTuple):
    """What is known of hardware virtualisation. `usable` is None until a guest has been tried."""

    present: bool
    error: str = ""  # of opening the device, "" if it opens
    usable: bool | None = None
    reason: str = ""  # why a guest did not run


class Observed(NamedTuple):
    """Everything `judge` looks at. A trial is "" if it worked, None if it was not made."""

    euid: int
    kernel: str
    processor_flags: frozenset[str]
    facts: Facts
    tools: dict[str, str]  # name -> path, "" if it is not there
    launcher: str  # path, "" if it is not there
    seccomp: bool
    libseccomp: bool
    kvm: Kvm
    tun: str | None
    overlay: str | None
    bridge: str | None
    nftables: str | None
    user_namespace: str | None
    subordinate_ids: bool
    modules: bool  # the kernel's modules are on this machine
    numbers: str = ""  # what gives a user without root numbers to map, "" where he has some
    group: str = ""  # the v2 group that is his
    state: tuple[str, str] = ("", "")  # the directory that will hold workloads, and its file system


TOOLS = (
    Tool("skopeo", "skopeo", "pull", "talks to registries"),
    Tool("qemu-system-x86_64", "qemu-system-x86", "vm", "runs the guests"),
    Tool("mkfs.erofs", "erofs-utils", "vm", "makes an image's disk"),
    Tool("mke2fs", "e2fsprogs", "vm", "makes scratch disks"),
    Tool("nft", "nftables", "network", "outgoing traffic and published ports"),
    Tool("dnsmasq", "dnsmasq-base", "network", "names between workloads"),
    Tool("busybox", "busybox-static", "", "the embedded default image"),
)
# What a user without root needs beside.
OWN_TOOLS = (
    Tool("newuidmap", "uidmap", "run", "gives your namespaces your further numbers"),
    Tool("slirp4netns", "slirp4netns", "network", "joins your networks to the world"),
)


def examine(launcher: str, state: str, kvm: Kvm | None = None) -> tuple[Fact, ...]:
    """Look at this machine and judge it.

    Args:
        launcher: path of the launcher binary; "" means the one beside this package.
        state: the directory that will hold workloads; overlayfs is tried on its file system.
        kvm: the result of running a guest; without it, KVM is opened only.
    """
    return judge(observe(launcher, state, kvm))


def observe(launcher: str, state: str, kvm: Kvm | None = None) -> Observed:
    """Look, and try what can be tried without leaving a trace."""
    root, user_namespace = os.geteuid() == 0, attempts.user_namespace()
    able = root or user_namespace == ""
    numbers, group = ("", "") if root else own_state()
    launcher = launcher or os.path.join(os.path.dirname(os.path.dirname(__file__)), "bin", "launcher")
    cpuinfo = read("/proc/cpuinfo")
    flags = next((line.partition(":")[2] for line in cpuinfo.splitlines() if line.startswith("flags")), "")
    return Observed(
        euid=os.geteuid(),
        kernel=os.uname().release,
        processor_flags=frozenset(flags.split()),
        facts=read_facts(),
        tools={tool.name: find_tool(tool.name) for tool in tools_for(root)},
        launcher=launcher if os.access(launcher, os.X_OK) else "",
        seccomp="errno" in read("/proc/sys/kernel/seccomp/actions_avail"),
        libseccomp=attempts.library("libseccomp.so.2"),
        kvm=kvm or open_kvm(),
        tun=attempts.open_device("/dev/net/tun"),
        overlay=attempts.overlay(state) if able else None,
        bridge=attempts.bridge() if able else None,
        nftables=attempts.nftables() if able else None,
        user_namespace=user_namespace,
        subordinate_ids=attempts.subordinate_ids() and bool(find_tool("newuidmap")),
        modules=os.path.isdir(f"/lib/modules/{os.uname().release}"),
        numbers=numbers,
        group=group,
        state=(state, attempts.file_system(state)),
    )


def tools_for(root: bool) -> tuple[Tool, ...]:
    """The programs that some part of the engine calls."""
    return TOOLS if root else (*TOOLS, *OWN_TOOLS)


def own_state() -> tuple[str, str]:
    """The command that gives this user numbers to map, "" if he has some, and the control group that is his."""
    from twinhull.host import rootless

    user = rootless.owner()
    texts = [rootless.read_text(path) for path in ("/etc/subuid", "/etc/subgid")]
    has_numbers = all(rootless.subordinate(text, user) for text in texts)
    return "" if has_numbers else rootless.add_command(user), rootless.covered()[1]


def find_tool(name: str) -> str:
    """Return a program's path, also from the usual places; busybox counts only if static."""
    path = attempts.find(name)
    return "" if name == "busybox" and not attempts.is_static(path) else path


def open_kvm() -> Kvm:
    """See whether the device opens. That proves little: a guest can still crash on its first step."""
    if not os.path.exists("/dev/kvm"):
        return Kvm(False)
    if os.geteuid() != 0 and not os.stat("/dev/kvm").st_mode & S_IWOTH:
        return Kvm(True, "not open to everybody, and the jailed QEMU has none of your groups")
    return Kvm(True, attempts.open_device("/dev/kvm"))


def judge(seen: Observed) -> tuple[Fact, ...]:
    """Turn what was seen into facts, most basic first."""
    return (
        judge_root(seen),
        judge_kernel(seen),
        judge_launcher(seen),
        judge_cgroups(seen.facts) if seen.euid == 0 else judge_own_group(seen),
        judge_trial("overlayfs", seen.overlay, "run", "mounted and unmounted", modprobe(seen, "overlay")),
        judge_state(seen),
        judge_seccomp(seen),
        judge_trial("bridge and veth", seen.bridge, "network", "made in a namespace", modprobe(seen, "bridge veth")),
        judge_trial("nftables", seen.nftables, "network", "made a chain in a namespace", modprobe(seen, "nf_tables")),
        judge_tun(seen),
        judge_kvm(seen),
        judge_modules(seen),
        *(judge_tool(tool, seen.tools.get(tool.name, "")) for tool in tools_for(seen.euid == 0)),
        judge_user_namespace(seen),
        judge_rootless(seen) if seen.euid == 0 else judge_numbers(seen),
    )


def judge_root(seen: Observed) -> Fact:
    """Most works without root."""
    if seen.euid == 0:
        return Fact("root", "ok", "uid 0", "run")
    return Fact("root", "missing", f"uid {seen.euid}: compare, prove and machines need root", "root", "sudo -i")


def judge_kernel(seen: Observed) -> Fact:
    """The launcher's system calls decide the oldest kernel."""
    numbers = tuple(int(part) for part in seen.kernel.split("-")[0].split(".")[:2] if part.isdigit())
    if numbers >= MINIMUM_KERNEL:
        return Fact("kernel", "ok", seen.kernel, "run")
    oldest = ".".join(map(str, MINIMUM_KERNEL))
    return Fact("kernel", "missing", f"{seen.kernel}; {oldest} is the oldest that works", "run", "apt-get upgrade")


def judge_launcher(seen: Observed) -> Fact:
    """The one binary of ours."""
    if seen.launcher:
        return Fact("launcher", "ok", "built", "run")
    return Fact("launcher", "missing", "not built", "run", "make setup")


def judge_cgroups(facts: Facts) -> Fact:
    """A v2 leaf for each workload; limits from whichever version has the controllers."""
    available = {*facts.cgroup2_controllers, *(name for name, _ in facts.cgroup1)}
    lacking = [name for name in ("memory", "cpu", "pids") if name not in available]
    mode = {"v2": "v2", "v1": "v1 only", "hybrid": "hybrid: limits by v1, a v2 leaf for each workload"}
    detail = mode.get(facts.cgroup_mode, "none mounted")
    if facts.cgroup_mode == "none":
        return Fact("cgroups", "missing", detail, "run", "mount -t cgroup2 none /sys/fs/cgroup")
    if not facts.cgroup2:
        repair = "mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified"
        return Fact("cgroups", "degraded", f"{detail}: no v2 hierarchy to freeze and kill by", "run", repair)
    if lacking:
        repair = f"echo '{' '.join('+' + name for name in lacking)}' > {facts.cgroup2}/cgroup.subtree_control"
        return Fact("cgroups", "degraded", f"{detail}; no limits of {', '.join(lacking)}", "run", repair)
    return Fact("cgroups", "ok", detail, "run")


def judge_own_group(seen: Observed) -> Fact:
    """A user without root needs no group to run something, but one that is his for what groups are for."""
    if not seen.group:
        detail = "none is delegated to you: no limits, no pause, top and stats"
        repair = "systemd-run --user --scope twinhull …" if os.path.isdir("/run/systemd/system") else ""
        return Fact("cgroups", "degraded", detail if repair else f"{detail}; root has to delegate one", "", repair)
    return Fact("cgroups", "ok", f"{seen.group} is yours", "")


def judge_tun(seen: Observed) -> Fact:
    """For guests; without root for every network."""
    if seen.euid == 0:
        return judge_trial("tun device", seen.tun, "vm", "/dev/net/tun opens", modprobe(seen, "tun"))
    repair = "chmod 0666 /dev/net/tun" if os.path.exists("/dev/net/tun") else modprobe(seen, "tun")
    return judge_trial("tun device", seen.tun, "network", "/dev/net/tun opens", repair)


def judge_state(seen: Observed) -> Fact:
    """Memory is no place for disks."""
    path, kind = seen.state
    if kind in ("tmpfs", "ramfs"):
        detail = f"{path} is in memory ({kind}): what a guest writes to its disk counts as its QEMU's memory"
        return Fact("state directory", "degraded", detail, "vm", MOVE_STATE)
    return Fact("state directory", "ok", f"{path}: {kind or 'not in memory'}", "vm")


def judge_seccomp(seen: Observed) -> Fact:
    """Both the kernel and the library that compiles the filter."""
    if not seen.seccomp:
        return Fact("seccomp", "missing", f"this kernel has no seccomp filters; {ANOTHER_KERNEL}", "run")
    if not seen.libseccomp:
        return Fact("seccomp", "missing", "libseccomp.so.2 is not here", "run", f"{INSTALL} libseccomp2")
    return Fact("seccomp", "ok", "kernel and libseccomp", "run")


def judge_trial(name: str, result: str | None, needed_for: str, proof: str, repair: str) -> Fact:
    """A thing that was tried."""
    if result is None:
        return Fact(name, "degraded", "not proven: trying it needs root", needed_for, "sudo twinhull doctor")
    if helper := attempts.helper_of(result):
        return not_tried(name, helper, needed_for)
    if result.startswith(attempts.UNTRIED):
        return Fact(name, "missing", f"{result}; TWINHULL_ROOT names another place for the state", needed_for)
    if result:
        return Fact(name, "missing", result if repair else f"{result}; {ANOTHER_KERNEL}", needed_for, repair)
    return Fact(name, "ok", proof, needed_for)


def not_tried(name: str, helper: str, needed_for: str) -> Fact:
    """A thing that may work, and could not be tried for want of a program."""
    detail = f"not proven: {helper} is not here to try it"
    return Fact(name, "degraded", detail, needed_for, f"{INSTALL} {attempts.HELPERS[helper]}")


def modprobe(seen: Observed, names: str) -> str:
    """The command that loads modules; "" where the kernel has none to load."""
    return f"modprobe -a {names}" if seen.modules else ""


def judge_kvm(seen: Observed) -> Fact:
    """Only a guest that ran makes it ok; the alternative is TCG, which is slow and no wall."""
    kvm, fallback = seen.kvm, "VMs run under TCG: slow, and no security wall"
    hardware = seen.processor_flags & {"vmx", "svm"}
    if not kvm.present:
        module = "kvm_intel" if "vmx" in hardware else "kvm_amd"
        if hardware:
            return Fact("kvm", "degraded", f"no /dev/kvm; {fallback}", "vm", f"modprobe {module}")
        return Fact("kvm", "degraded", f"no vmx or svm in /proc/cpuinfo; {fallback}; {FIRMWARE}", "vm")
    if kvm.error:
        repair = "chmod 0666 /dev/kvm" if seen.euid else "chmod 0660 /dev/kvm"
        return Fact("kvm", "degraded", f"/dev/kvm: {kvm.error}; {fallback}", "vm", repair)
    if kvm.usable is None:
        return Fact(
            "kvm",
            "degraded",
            "/dev/kvm opens; not proven, no guest was tried",
            "vm",
            "twinhull run --rm --vm busybox true",
        )
    if not kvm.usable:
        return Fact("kvm", "degraded", f"/dev/kvm opens, but {kvm.reason}; {fallback}; {FIRMWARE}", "vm")
    return Fact("kvm", "ok", "a guest ran", "vm")


def judge_modules(seen: Observed) -> Fact:
    """A kernel with everything built in needs no modules; any other cannot load what is missing."""
    if seen.modules:
        return Fact("kernel modules", "ok", f"/lib/modules/{seen.kernel}", "")
    detail = "none for this kernel: what is not built in cannot be loaded, and guests cannot boot from it"
    return Fact("kernel modules", "degraded", f"{detail}; {NOTHING}: whoever built the kernel has them", "")


def judge_tool(tool: Tool, path: str) -> Fact:
    """A program is here or is one package away."""
    if path:
        return Fact(tool.name, "ok", f"{path}: {tool.use}", tool.needed_for)
    return Fact(tool.name, "missing", f"not found: {tool.use}", tool.needed_for, f"{INSTALL} {tool.package}")


def judge_user_namespace(seen: Observed) -> Fact:
    """For --userns and for everything without root."""
    purpose = "run" if seen.euid else "rootless"
    if seen.user_namespace == "":
        return Fact("user namespaces", "ok", "made one", purpose)
    if helper := attempts.helper_of(seen.user_namespace):
        return not_tried("user namespaces", helper, purpose)
    repair = "sysctl -w user.max_user_namespaces=65536"
    if os.path.exists("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"):
        repair = "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    return Fact("user namespaces", "missing", seen.user_namespace or "not tried", purpose, repair)


def judge_numbers(seen: Observed) -> Fact:
    """What the files of an image belong to, where their owner is not root."""
    if seen.numbers:
        detail = "/etc/subuid and /etc/subgid give you no numbers to map"
        return Fact("subordinate ids", "missing", detail, "run", seen.numbers)
    return Fact("subordinate ids", "ok", "numbers of yours to map", "run")


def judge_rootless(seen: Observed) -> Fact:
    """What running without root stands on."""
    if seen.user_namespace == "" and seen.subordinate_ids:
        return Fact("rootless", "ok", "user namespaces, newuidmap and subordinate ids", "rootless")
    lacking = [] if seen.user_namespace == "" else ["user namespaces"]
    lacking += [] if seen.subordinate_ids else ["newuidmap with subordinate ids"]
    repair = f"{INSTALL} uidmap && usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER"
    return Fact("rootless", "degraded", f"lacks {', '.join(lacking)}", "rootless", repair)


def lacking(facts: Iterable[Fact], *purposes: str) -> list[Fact]:
    """The facts that stop these purposes."""
    return [fact for fact in facts if fact.state == "missing" and fact.needed_for in purposes]


def repair_all(facts: Iterable[Fact]) -> str:
    """One command line that mends what can be mended, packages in one go."""
    packages: list[str] = []
    others: list[str] = []
    for fact in facts:
        if fact.state != "missing" or not fact.repair:
            continue
        if fact.repair.startswith(f"{INSTALL} ") and "&&" not in fact.repair:
            packages += fact.repair.removeprefix(f"{INSTALL} ").split()
        elif fact.name != "root":
            others.append(fact.repair)
    return " && ".join([f"{INSTALL} {' '.join(packages)}"] * bool(packages) + others)


def refusal(facts: Iterable[Fact]) -> HostUnfit | None:
    """The one error of what needs root and a machine that runs workloads; None where it can work."""
    missing = lacking(facts, "root", "run")
    if not missing:
        return None
    reasons = "; ".join(f"{fact.name}: {fact.detail}" for fact in missing)
    able = "compare, doctor and plan still tell what they can"
    first = next((fact.repair for fact in missing if fact.repair), "")
    hint = f"{first}   ({able})" if first else f"twinhull doctor   ({able})"
    return HostUnfit(f"this machine cannot run workloads: {reasons}", hint=hint)
