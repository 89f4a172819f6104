"""The plan that puts QEMU into a container of its own. Pure.

Promise: QEMU runs as a user of its own without any capability (but for those that serve a volume), in
namespaces of its own, below a read-only root of its own files, and holds only the descriptors named here.
"""

from __future__ import annotations

from twinhull.model import Facts, Volume
from twinhull.plan.cgroups import Groups, cgroup_ops
from twinhull.plan.netlink import PAIR, TAP_INDEX
from twinhull.plan.ops import Op, Plan
from twinhull.plan.qemu import (
    AGENT_FD,
    ENTROPY_FD,
    IMPRINT_FD,
    MAX_NICS,
    MEMORY_FD,
    QMP_FD,
    SHARES,
    SPARE_NICS,
    STATE_FD,
    TAP_FD,
)
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

# clone(2)
NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWPID = 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x20000000
RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8  # mount_setattr(2)
RLIMIT_CORE, RLIMIT_NOFILE = 4, 7  # getrlimit(2), x86-64
STDIN_NONE, STDIN_OPEN = 0, 2
S_IFCHR = 0o020000
NULL = (1, 3)

# Users that no account and no other tool's range has: one a VM, so that none can touch another's process.
FIRST_UID, UIDS = 0x70000000, 0x0FFFFFFF
# Of a user's own numbers, of which subuid(5) gives him 65,536 where nobody chose otherwise.
FIRST_SUBORDINATE, SUBORDINATES = 1000, 60_000
# What real ownership on a shared directory takes (capability.h). MKNOD is not among them: a guest's device
# nodes would be the host's. Nor is DAC_READ_SEARCH: DAC_OVERRIDE reads and searches all that it does, and does not let
# files be opened by handle, which leads out of the directory that is shared.
CHOWN, DAC_OVERRIDE, FOWNER, FSETID = 0, 1, 3, 4
SHARE_CAPABILITIES = sum(1 << number for number in (CHOWN, DAC_OVERRIDE, FOWNER, FSETID))
# What QEMU takes beyond the guest's memory, translated code included.
OVERHEAD_BYTES = 384 << 20
# QEMU's threads beside those of the guest's processors: up to 64 that read and write files, and a handful.
THREADS = 128
ENTROPY, RDONLY_OPEN = "/dev/urandom", 0
MAX_FILES = 1 << 16


class Opened(NamedTuple):
    """A file of the host that QEMU gets as a descriptor."""

    number: int
    path: str
    flags: int


class Jail(NamedTuple):
    """Everything that differs between one jailed QEMU and another.

    Attributes:
        identity: hexadecimal name of the instance; the user is derived from it.
        cgroup: path of the leaf below the cgroup mount points.
        root: directory tree of QEMU's files.
        seccomp: the filter that QEMU runs under (plan/qemu_filter.py).
        memory_bytes: of the guest, for the limit around the whole QEMU.
        cpus: that the guest has: each is a thread.
        resources: linux.resources of the spec, for further limits around the whole QEMU.
        groups: in place of all of these: somebody else's groups, which are there.
        inherited: numbers that whoever spawns the shim leaves open.
        kvm: major and minor number of /dev/kvm, () without it.
        sockets: (number, name) of sockets that listen in the instance directory.
        terminal: rows and columns of the pty that its standard streams are; without one they are pipes, and the
            agent's port leads to the shim's relay.
        imprint: a descriptor of the process that it goes on from, 0 for none; argv only tells what that was.
        nics: network cards; each that no op of the network makes a tap for gets one that leads nowhere.
    """

    identity: str
    cgroup: str
    root: str
    argv: tuple[str, ...]
    seccomp: bytes
    opened: tuple[Opened, ...] = ()
    inherited: tuple[int, ...] = ()
    volumes: tuple[Volume, ...] = ()
    memory_bytes: int = 0
    cpus: int = 1
    resources: Mapping[str, Any] = {}
    kvm: tuple[int, ...] = ()
    sockets: tuple[tuple[int, str], ...] = ((QMP_FD, "qmp"),)
    terminal: tuple[int, ...] = ()
    nics: int = 1
    groups: Groups | None = None
    imprint: int = 0


def jail_plan(jail: Jail, facts: Facts, network_host: Iterable[Op] = (), network_undo: Iterable[Op] = ()) -> Plan:
    """Return the plan for QEMU: what the shim does before it, in it and after it."""
    groups = jail.groups or cgroup_ops({"cgroupsPath": jail.cgroup, "resources": limits(jail, facts)}, facts, "host")
    network = with_taps(tuple(network_host), jail.nics)
    host = (
        *groups.make,
        *network,
        *(Op("open", (file.number, file.path, file.flags)) for file in jail.opened),
        *(Op("inherit", (number,)) for number in jail.inherited),
        *(Op("listen", socket) for socket in jail.sockets),
        *(() if jail.terminal else (Op("open", (ENTROPY_FD, ENTROPY, RDONLY_OPEN)), Op("channel", (AGENT_FD,)))),
    )
    child = (*root_ops(jail, rootless=facts.rootless), *process_ops(jail, facts))
    return Plan(host, child, (*network_undo, *groups.undo))


def limits(jail: Jail, facts: Facts) -> Mapping[str, Any]:
    """Return the limits around QEMU: memory and threads always, where the machine can limit them.

    A user without root has none where no group is his; his guests hold their own.
    """
    if facts.rootless and not facts.cgroup2:
        return {}
    here = {*facts.cgroup2_controllers, *(controller for controller, _ in facts.cgroup1)}
    always = {
        "memory": {"limit": jail.memory_bytes + OVERHEAD_BYTES, "swap": None},
        "pids": {"limit": jail.cpus + THREADS},
    }
    return {**{name: limit for name, limit in always.items() if name in here}, **jail.resources}


def cards(network: Iterable[Op]) -> int:
    """Return how many network cards a guest on these networks has: one at least, and one more to join with.

    In a namespace that is somebody else's there are no taps but the needed ones.
    """
    names = [op.name for op in network]
    taps = names.count("tap")
    return max(1, taps) if "join-namespace" in names else cards_for(taps)


def cards_for(networks: int) -> int:
    """Return the same for so many networks, in a namespace of their own."""
    return min(max(1, networks) + SPARE_NICS, MAX_NICS)


def with_taps(network: tuple[Op, ...], nics: int) -> tuple[Op, ...]:
    """Add what the network leaves out: a namespace, and for each card without one a tap that leads nowhere."""
    namespace = () if any(op.name in ("netns", "join-namespace") for op in network) else (Op("netns"),)
    made = {op.args[0] for op in network if op.name == "tap"}
    absent = [number for number in range(nics) if TAP_FD - number not in made]
    taps = [Op("tap", (TAP_FD - number, f"tap{number}", TAP_INDEX + PAIR * number)) for number in absent]
    return (*network, *namespace, *taps)


def root_ops(jail: Jail, *, rootless: bool = False) -> tuple[Op, ...]:
    """Namespaces and the root: QEMU's files, a bare procfs, and the volumes. The network's is the host stage's."""
    return (
        Op("namespaces", (NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWPID,)),
        Op("private-mounts"),
        Op("root-bind", (jail.root, 1)),
        # Descriptors are opened again through /proc/self/fd; nothing else of it is needed.
        Op("filesystem", ("proc", "proc", "/proc", NOSUID | NODEV | NOEXEC, "hidepid=invisible,subset=pid")),
        *device_ops(jail, jail_user(jail.identity, rootless=rootless)),
        *share_ops(jail.volumes),
        Op("enter-root"),
        Op("hostname", ("vm",)),
    )


def device_ops(jail: Jail, user: int) -> tuple[Op, ...]:
    """A /dev with what this QEMU alone may open, whoever may open the host's: KVM, and its own terminal.

    Beside a terminal there is a null device: QEMU tries on it whether locks of open files are to be had.
    """
    ops = [Op("filesystem", ("tmpfs", "dev", "/dev", NOSUID | NOEXEC, "size=4k,mode=0755"))]
    if jail.kvm:
        ops.append(Op("device", ("/dev/kvm", 0o600, S_IFCHR, *jail.kvm, user, user)))
    if jail.terminal:
        ops.append(Op("device", ("/dev/null", 0o666, S_IFCHR, *NULL, 0, 0)))
        ops.append(Op("filesystem", ("devpts", "devpts", "/dev/pts", NOSUID | NOEXEC, "newinstance,ptmxmode=0,max=1")))
    return tuple(ops) if jail.kvm or jail.terminal else ()


def share_ops(volumes: tuple[Volume, ...]) -> tuple[Op, ...]:
    """One directory with a mount a volume: what the guest sees as the only share. Nothing else can be made in it."""
    if not volumes:
        return ()
    attributes = NOSUID | NODEV
    binds = [
        Op(
            "bind",
            (volume.source, f"/{SHARES}/{share_name(index)}", 1, attributes | (RDONLY if volume.readonly else 0)),
        )
        for index, volume in enumerate(volumes)
    ]
    room = f"size=1m,nr_inodes={1 + len(volumes)},mode=0755"
    return (
        Op("filesystem", ("tmpfs", SHARES, f"/{SHARES}", attributes, room)),
        *binds,
        Op("attributes", (f"/{SHARES}", RDONLY, 0, 0, 0)),
    )


def share_name(index: int) -> str:
    """Name of the index-th volume below the share; the tag in the guest plan's `share` op."""
    return f"volume{index}"


def process_ops(jail: Jail, facts: Facts) -> tuple[Op, ...]:
    """Limits, identity and the command line."""
    user = jail_user(jail.identity, rootless=facts.rootless)
    kept = SHARE_CAPABILITIES if jail.volumes else 0
    files = min(facts.max_files or MAX_FILES, MAX_FILES)  # each file that the guest opens on a volume is one
    return (
        Op("rlimit", (RLIMIT_CORE, 0, 0)),
        Op("rlimit", (RLIMIT_NOFILE, files, files)),
        *((Op("terminal", jail.terminal),) if jail.terminal else ()),
        Op("capabilities", (kept, kept, kept, kept, kept)),
        Op("user", (user, user, b"")),
        Op("no-new-privileges"),
        Op("seccomp", (jail.seccomp,)),
        Op("directory-of-work", ("/",)),
        Op("stdin", (STDIN_OPEN if jail.terminal else STDIN_NONE,)),
        *(Op("argument", (value,)) for value in jail.argv),
        *((Op("imprint", (jail.imprint,)),) if jail.imprint else ()),
        Op("exec", (jail.argv[0],)),
    )


def jail_user(identity: str, *, rootless: bool = False) -> int:
    """Return the user (and group) of an instance's QEMU; without root it is one of the user's own numbers."""
    number = int(identity[:8], 16)
    return FIRST_SUBORDINATE + number % SUBORDINATES if rootless else FIRST_UID + number % UIDS


def restored(jail: Jail, state: str) -> Jail:
    """Return a jail that starts from a template: its memory inherited, its state opened."""
    return jail._replace(
        opened=(*jail.opened, Opened(STATE_FD, state, 0)),
        inherited=(*jail.inherited, MEMORY_FD),
    )


def imprinted(jail: Jail) -> Jail:
    """Return a jail that goes on from the imprint of a QEMU: with it the template's memory is inherited."""
    return jail._replace(inherited=(*jail.inherited, MEMORY_FD, IMPRINT_FD), imprint=IMPRINT_FD)
