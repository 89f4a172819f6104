"""From an OCI spec to a plan: what the launcher does, step by step, and how it is taken back. Pure.

The same compiler serves two places. On the host the plan makes namespaces, cgroups and an overlay
of layers; in a guest the image and the scratch space are disks, and the network is the guest's own.
"""

from __future__ import annotations

from twinhull.errors import UnsupportedSpec
from twinhull.model import Facts
from twinhull.plan import defaults
from twinhull.plan.cgroups import Groups, cgroup_ops, hierarchies
from twinhull.plan.mounts import compile_mount, split_options
from twinhull.plan.ops import Op, Plan
from twinhull.plan.process import process_ops
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, Literal

    Place = Literal["host", "guest"]
    Files = tuple[tuple[str, bytes], ...]

CLONE_FLAGS = {
    "mount": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
}
S_IFCHR, S_IFBLK = 0o020000, 0o060000
GUEST_IMAGE_DISK, GUEST_SCRATCH_DISK = "/dev/vda", "/dev/vdb"
MOUNT_RDONLY = 1
STAGE, COVERS = "/run/stage", "files"
COVER_ATTRIBUTES = 0x2 | 0x4 | 0x8  # nosuid, nodev, noexec
STDIN_NONE, STDIN_CLIENT, STDIN_OPEN = 0, 1, 2


class Root(NamedTuple):
    """Where the root comes from.

    On the host `lower` are directory names below `base`, top first. In a guest `base` is "" and the
    image is the first disk; `upper` "tmpfs" asks for memory instead of the second disk.
    """

    base: str
    lower: str
    upper: str
    work: str
    volatile: bool = False


class Network(NamedTuple):
    """What the network adds: ops before the workload exists, and what takes them back."""

    host: tuple[Op, ...] = ()
    undo: tuple[Op, ...] = ()
    inside: tuple[Op, ...] = ()  # guest only: `network` ops


def compile_plan(
    spec: Mapping[str, Any],
    facts: Facts,
    root: Root,
    network: Network,
    *,
    place: Place = "host",
    seccomp: bytes = b"",
    stdin: int = STDIN_NONE,
    files: Files = (),
    covers: Files = (),
) -> Plan:
    """Return the plan for `spec`.

    Args:
        seccomp: the BPF filter for the process, b"" for none.
        stdin: one of STDIN_NONE, STDIN_CLIENT, STDIN_OPEN (the `stdin` op).
        files: (path, content) written into the root: what a guest cannot bind from the host.
        covers: the same for what lies on a volume: shown on top of it, so that nothing of it is the volume's.

    Raises:
        UnsupportedSpec: a field that this place cannot honour.
    """
    linux = spec["linux"]
    groups = cgroup_ops(linux, facts, place)
    child = (
        *namespace_ops(linux, place),
        *covers_made(covers),
        *root_ops(root, place, rootless=facts.rootless),
        *mount_ops(spec, facts, place, limited_by_v1(groups, linux, facts)),
        *device_ops(filled=any(mount.get("type") == "devtmpfs" for mount in spec["mounts"])),
        *given_devices(linux),
        *network.inside,
        *(Op("file", (path, content, 0o644)) for path, content in files),
        *covers_shown(covers, readonly=bool(spec["root"].get("readonly"))),
        *isolation_ops(spec, linux),
        *((Op("domainname", (spec["domainname"],)),) if spec.get("domainname") else ()),
        Op("stdin", (stdin,)),
        *((Op("init"),) if defaults.INIT_ANNOTATION in spec.get("annotations", ()) else ()),
        *process_ops(spec["process"], facts, seccomp=seccomp),
    )
    if place == "guest":  # links and ports are the host's affair
        return Plan(groups.make, child, groups.undo)
    return Plan((*groups.make, *network.host), child, (*network.undo, *groups.undo))


def namespace_ops(linux: Mapping[str, Any], place: Place) -> tuple[Op, ...]:
    """The clone flags and, with a user namespace, its maps. The network is the host stage's."""
    kinds = {entry["type"] for entry in linux["namespaces"]}
    unknown = kinds - CLONE_FLAGS.keys() - {"network"}
    if unknown:
        raise UnsupportedSpec(f"namespace type {sorted(unknown)[0]!r} is not supported")
    flags = sum(CLONE_FLAGS[kind] for kind in kinds - {"network"})
    ops = [Op("namespaces", (flags,))]
    if "user" in kinds:
        if place == "guest":
            raise UnsupportedSpec(
                "a virtual machine takes no user namespace: its root is root of its own kernel alone already",
                hint="leave --userns out",
            )
        ops.append(Op("id-maps", (id_map(linux["uidMappings"]), id_map(linux["gidMappings"]))))
    return (*ops, Op("private-mounts"))


def id_map(mappings: list[Mapping[str, int]]) -> str:
    """The lines that /proc/PID/uid_map takes."""
    return "".join(f"{row['containerID']} {row['hostID']} {row['size']}\n" for row in mappings)


def root_ops(root: Root, place: Place, *, rootless: bool = False) -> tuple[Op, ...]:
    """Assemble the root from layers, or from the guest's disks.

    Args:
        rootless: overlayfs keeps its own notes where a user may write them.
    """
    if place == "host":
        if not root.lower:
            return (Op("root-bind", (root.base, 0)),)
        return (Op("overlay", (root.base, root.lower, root.upper, root.work, root.volatile | rootless << 1)),)
    image = Op("stage", ("erofs", GUEST_IMAGE_DISK, "image", MOUNT_RDONLY, ""))
    if root.upper == "tmpfs":
        scratch = Op("stage", ("tmpfs", "scratch", "scratch", 0, ""))
    else:
        scratch = Op("stage", ("ext4", GUEST_SCRATCH_DISK, "scratch", 0, "discard"))
    keep_unsynced = root.volatile and root.upper != "tmpfs"  # there is no disk to sync, and the mark costs a mount 2 ms
    return (
        image,
        scratch,
        Op("overlay", (STAGE, "image", f"{STAGE}/scratch/upper", f"{STAGE}/scratch/work", int(keep_unsynced))),
    )


def covers_made(covers: Files) -> Iterator[Op]:
    """Files in memory that lies outside the root, which is not there yet: paths are still the agent's."""
    if covers:
        yield Op("stage", ("tmpfs", COVERS, COVERS, COVER_ATTRIBUTES, "mode=755"))
    for path, content in covers:
        yield Op("file", (f"{STAGE}/{COVERS}{path}", content, 0o644))


def covers_shown(covers: Files, *, readonly: bool) -> Iterator[Op]:
    """Each of them at its place, over a name that is made empty if missing."""
    for path, _ in covers:
        attributes = COVER_ATTRIBUTES | (MOUNT_RDONLY if readonly else 0)
        yield Op("bind", (f"{STAGE}/{COVERS}{path}", path, 0, attributes))


def limited_by_v1(groups: Groups, linux: Mapping[str, Any], facts: Facts) -> dict[str, list[str]]:
    """Mount point -> controllers of each v1 hierarchy in which it has a group of its own."""
    own = {op.args[0] for op in groups.make if op.name == "cgroup1"}
    if not own:
        return {}
    return {point: names for point, names in hierarchies(facts).items() if point + linux["cgroupsPath"] in own}


def mount_ops(spec: Mapping[str, Any], facts: Facts, place: Place, v1: Mapping[str, list[str]]) -> tuple[Op, ...]:
    """The spec's mounts; in a guest a bind of the host arrives as a shared directory."""
    mounts = spec["mounts"]
    if place == "host":
        ops: list[Op] = []
        for mount in mounts:
            if mount.get("type") == "sysfs" and facts.rootless and not has_network(spec):
                ops.append(compile_mount(sys_of_host(mount)))
            elif mount.get("type") != "cgroup":
                ops.append(compile_mount(mount))
            elif v1:
                ops += cgroup_mounts(mount, facts, v1)
            elif facts.cgroup2:
                ops.append(compile_mount(mount))
        return tuple(ops)
    shares, ops = 0, []
    for mount in mounts:
        if mount.get("type") == "bind":
            readonly = MOUNT_RDONLY if "ro" in mount["options"] else 0
            ops.append(Op("share", (f"volume{shares}", mount["destination"], readonly)))
            shares += 1
        else:
            ops.append(compile_mount(mount))
    return tuple(ops)


def has_network(spec: Mapping[str, Any]) -> bool:
    """True if the workload has a network namespace of its own."""
    return any(entry["type"] == "network" for entry in spec["linux"]["namespaces"])


def sys_of_host(mount: Mapping[str, Any]) -> dict[str, Any]:
    """The host's /sys in the place of a new one: its links are those of a network that only root may mount."""
    return {**mount, "type": "bind", "source": "/sys", "options": ["rbind", *mount["options"]]}


def cgroup_mounts(mount: Mapping[str, Any], facts: Facts, v1: Mapping[str, list[str]]) -> list[Op]:
    """A directory of the hierarchies that limit it, each with its own group as the root: programs look there."""
    target, attributes = mount["destination"], split_options(mount["options"]).attributes
    ops = [Op("filesystem", ("tmpfs", "cgroup", target, attributes & ~MOUNT_RDONLY, "mode=755"))]
    for point, names in v1.items():
        below = f"{target}/{point.rpartition('/')[2]}"
        ops.append(Op("filesystem", ("cgroup", "cgroup", below, attributes, ",".join(names))))
    if facts.cgroup2:
        ops.append(Op("filesystem", ("cgroup2", "cgroup", f"{target}/unified", attributes, "")))
    if attributes & MOUNT_RDONLY:
        ops.append(Op("attributes", (target, MOUNT_RDONLY, 0, 0, 0)))
    return ops


def device_ops(*, filled: bool = False) -> tuple[Op, ...]:
    """The nodes and links that runtime-spec 1.2 demands below /dev.

    Args:
        filled: the kernel makes its own nodes there, and its ptmx finds the devpts beside it.
    """
    nodes = [
        Op("device", (f"/dev/{name}", 0o666, S_IFCHR, major, minor, 0, 0)) for name, major, minor in defaults.DEVICES
    ]
    return (*nodes, *(Op("symlink", link) for link in defaults.LINKS if not (filled and link[1] == "/dev/ptmx")))


def given_devices(linux: Mapping[str, Any]) -> Iterator[Op]:
    """The nodes of linux.devices, with every field."""
    for row in linux.get("devices") or ():
        kind = S_IFCHR if row["type"] == "c" else S_IFBLK
        yield Op("device", (row["path"], row["fileMode"], kind, row["major"], row["minor"], row["uid"], row["gid"]))


def isolation_ops(spec: Mapping[str, Any], linux: Mapping[str, Any]) -> tuple[Op, ...]:
    """From the last mount to the process: masks, the pivot, the name."""
    ops = [Op("mask", (path,)) for path in linux.get("maskedPaths", ())]
    ops += [Op("read-only", (path,)) for path in linux.get("readonlyPaths", ())]
    ops += [Op("sysctl", (key, value)) for key, value in (linux.get("sysctl") or {}).items()]
    if spec["root"].get("readonly"):
        ops.append(Op("root-readonly"))
    ops.append(Op("enter-root"))
    if spec.get("hostname"):
        ops.append(Op("hostname", (spec["hostname"],)))
    return tuple(ops)
