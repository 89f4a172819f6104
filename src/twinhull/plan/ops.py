"""The op table: the one description of every instruction the launcher knows.

`launcher/ops.h` is generated from it (`make launcher/ops.h`), docs/plan-format.md documents it, and
tests compare all three. Stages say who performs an op, and when:

host   the shim, before the workload exists; in the order of the plan
child  the new process, inside its namespaces, between clone and exec
undo   the shim when the workload has ended, or the next command when the shim was lost;
       an undo op succeeds when what it removes is already gone

Argument kinds: s = text (no NUL inside), i = unsigned 64-bit integer, b = bytes.
"""

from __future__ import annotations

from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Literal

    Stage = Literal["host", "child", "undo"]

VERSION = 1

Arg = str | int | bytes


class OpType(NamedTuple):
    """One row of the table: `code` on the wire, `args` as (kind, name) pairs."""

    code: int
    stage: Stage
    name: str
    args: tuple[str, ...]
    does: str


class Op(NamedTuple):
    """One instruction for the launcher. `name` is a row of the op table."""

    name: str
    args: tuple[Arg, ...] = ()


class Plan(NamedTuple):
    """What to do, and how to take it back. `undo` is performed in its own order."""

    host: tuple[Op, ...] = ()
    child: tuple[Op, ...] = ()
    undo: tuple[Op, ...] = ()


# A descriptor number in an op ("i:fd") is the number the process that is exec'ed will see. The shim
# and the launcher keep their own descriptors out of the range 3..63.
NETNS_FD = 62  # rtnetlink messages name the workload's network namespace by this number
MAX_OPS = 8192  # each argument and each variable is one
MAX_PLAN_BYTES = 4 << 20

# fmt: off
TABLE = (
    # --- host: cgroups
    OpType(1, "host", "cgroup2", ("s:path",), "make a v2 leaf; the child is created inside it"),
    OpType(2, "host", "cgroup1", ("s:path",), "make a v1 group; the child enters it before exec"),
    OpType(3, "host", "write", ("s:path", "s:value"), "write a value to a file of the host (cgroup limits)"),
    OpType(4, "host", "device-policy", ("b:program",), "attach a BPF device program to the v2 leaf"),
    # --- host: network
    OpType(10, "host", "netns", (), "make the workload's network namespace and keep it at NETNS_FD"),
    OpType(11, "host", "netlink", ("b:messages", "i:acks"), "send rtnetlink messages in the host's namespace"),
    OpType(12, "host", "netlink-inside", ("b:messages", "i:acks"), "send rtnetlink messages in the workload's"),
    OpType(13, "host", "nftables", ("b:batch", "i:acks"), "send one nfnetlink batch in the host's namespace"),
    OpType(14, "host", "hold-port", ("s:protocol", "s:address", "i:port"), "bind a port, so that it is taken"),
    OpType(15, "host", "tap", ("i:fd", "s:name", "i:index"),
           "make a tap with vnet_hdr and this link index (TUNSETIFINDEX) in the workload's namespace"),
    OpType(16, "host", "proxy", ("s:address", "i:port", "s:to", "i:to_port"), "forward TCP from loopback (IPv6)"),
    # --- host: descriptors for the child
    OpType(20, "host", "open", ("i:fd", "s:path", "i:flags"), "open a file of the host for the child"),
    OpType(21, "host", "listen", ("i:fd", "s:name"), "a listening stream socket in the instance directory"),
    OpType(22, "host", "channel", ("i:fd",), "one end of the guest agent's socketpair; the relay keeps the other"),
    OpType(23, "host", "inherit", ("i:fd",), "a descriptor that whoever spawned the shim left open"),
    OpType(24, "host", "join-namespace", ("i:flags", "s:path"), "the child enters this namespace of the host's"),
    OpType(25, "host", "own-users", ("s:path", "s:uids", "s:gids"),
           "before all others, for who is not root: do everything in this user namespace, or in a new one with these "
           "maps; without maps the client has them written"),
    OpType(92, "host", "first-affinity", ("b:processors",),
           "bind us to these processors, and so a child until it is in its groups (only for launcher init)"),
    # --- child: namespaces and mounts
    OpType(30, "child", "namespaces", ("i:flags",), "CLONE_NEW* flags of the clone; first in its stage"),
    OpType(31, "child", "id-maps", ("s:uids", "s:gids"), "write the maps of a new user namespace"),
    OpType(32, "child", "private-mounts", (), "no mount of ours reaches the host (MS_SLAVE, recursive)"),
    OpType(33, "child", "overlay", ("s:base", "s:lower", "s:upper", "s:work", "i:volatile"),
           "mount the root: lower are names relative to base, top first, split by ':'; "
           "volatile: 1 nothing is synced, 2 notes of overlayfs are user.* attributes"),
    OpType(34, "child", "root-bind", ("s:path", "i:mode"),
           "the root is this directory of the host; 1 read-only, 2 with its owners as they are"),
    OpType(35, "child", "bind", ("s:source", "s:target", "i:recursive", "i:attributes"),
           "bind a tree of the host at a path in the root, made if missing; recursive: 1 all of it, 2 with its peers, "
           "8 the source is a path in the root, with what is mounted there by now"),
    OpType(36, "child", "filesystem", ("s:type", "s:source", "s:target", "i:attributes", "s:data"),
           "mount a new file system at a path in the root, made if missing"),
    OpType(37, "child", "directory", ("s:path", "i:mode"), "make a directory in the root"),
    OpType(38, "child", "device", ("s:path", "i:mode", "i:type", "i:major", "i:minor", "i:uid", "i:gid"),
           "make a device node in the root (type: S_IFCHR, S_IFBLK, S_IFIFO)"),
    OpType(39, "child", "symlink", ("s:target", "s:path"), "make a symbolic link in the root"),
    OpType(40, "child", "mask", ("s:path",), "hide a file or directory of the root; absent is fine"),
    OpType(41, "child", "read-only", ("s:path",), "make a subtree read-only; absent is fine"),
    OpType(42, "child", "enter-root", (), "pivot into the root; every later path is the workload's"),
    OpType(43, "child", "root-readonly", (), "remount the root itself read-only"),
    OpType(44, "child", "stage", ("s:type", "s:source", "s:name", "i:attributes", "s:data"),
           "mount a file system at /run/stage/NAME before the root exists (guest: image and scratch disks)"),
    OpType(45, "child", "file", ("s:path", "b:content", "i:mode"),
           "write a small file in the root (guest: hosts, resolv.conf), its directory made if missing"),
    OpType(46, "child", "scaffold", (),
           "a root for the time being: what is made in it moves into the real one (a guest ahead of its plan)"),
    OpType(47, "child", "await-hooks", (), "tell the parent that the namespaces are there, and wait for its word"),
    OpType(48, "child", "hook", ("i:when", "s:path", "b:arguments", "b:environment", "i:timeout_ms", "s:state"),
           "run a program to its end: 0 here, 1 just before exec, 2 then, with the process's environment; state and "
           "the pid are its standard input"),
    OpType(90, "child", "hook-directory", ("s:path",), "where hooks here run, if it can be entered"),
    OpType(91, "child", "foreign-mounts", (),
           "leave the mount namespace for the one that the host stage was given, with the root as it is; after join: "
           "take the root of the main process"),
    OpType(49, "child", "propagation", ("i:flags",), "how mounts spread: before the root as private-mounts, then of /"),
    # --- child: the process
    OpType(50, "child", "hostname", ("s:name",), "sethostname"),
    OpType(51, "child", "domainname", ("s:name",), "setdomainname"),
    OpType(52, "child", "sysctl", ("s:key", "s:value"), "write /proc/sys/KEY of a procfs of our own"),
    OpType(53, "child", "rlimit", ("i:resource", "i:soft", "i:hard"), "prlimit"),
    OpType(54, "child", "oom-score", ("i:adjust_plus_1000",), "oom_score_adj, offset by 1000"),
    OpType(55, "child", "umask", ("i:mask",), "umask"),
    OpType(56, "child", "capabilities",
           ("i:bounding", "i:effective", "i:permitted", "i:inheritable", "i:ambient"), "bit sets"),
    OpType(57, "child", "user", ("i:uid", "i:gid", "b:groups"), "identity; groups: u32 little-endian, or a byte: kept"),
    OpType(58, "child", "no-new-privileges", (), "prctl"),
    OpType(59, "child", "seccomp", ("b:filter",), "load a BPF filter (array of struct sock_filter)"),
    OpType(60, "child", "directory-of-work", ("s:path",), "chdir, made if missing unless joining; it lies in the root"),
    OpType(61, "child", "terminal", ("i:rows", "i:columns"), "a pty of the root's devpts is stdin, stdout, stderr"),
    OpType(62, "child", "argument", ("s:value",), "appended to argv"),
    OpType(63, "child", "environment", ("s:value",), "appended to envp, NAME=VALUE"),
    OpType(64, "child", "exec", ("s:path",), "last: the program; without '/', looked for in PATH"),
    OpType(65, "child", "join", (), "exec only: enter every namespace and the cgroups of the main process"),
    OpType(66, "child", "stdin", ("i:mode",), "0 /dev/null, 1 open while a client is, 2 stays open (-i -d)"),
    OpType(67, "child", "scheduler", ("b:value",), "sched_setattr with a struct sched_attr"),
    OpType(93, "child", "affinity", ("b:processors",),
           "the processors of the process, a bit each; none: all that its cpuset has"),
    OpType(68, "child", "io-priority", ("i:priority",), "ioprio_set of the process"),
    OpType(69, "child", "personality", ("i:persona",), "personality"),
    OpType(70, "child", "time-offsets", ("s:value",), "a time namespace with these offsets; exec enters it"),
    # --- child: a guest
    OpType(71, "child", "network", ("b:messages", "i:acks"), "rtnetlink messages in the child's own namespace"),
    OpType(73, "child", "share", ("s:tag", "s:target", "i:attributes"),
           "show a share of the host in the root; in a guest a bind takes its place"),
    # --- child: what only an OCI runtime's caller asks for
    OpType(74, "child", "attributes", ("s:target", "i:attributes", "i:clear", "i:recursive", "i:propagation"),
           "change the mount at a path in the root"),
    OpType(94, "child", "remount", ("s:target", "s:data"),
           "give the file system whose mount is at a path in the root other options"),
    OpType(75, "child", "bind-idmapped",
           ("s:source", "s:target", "i:recursive", "i:attributes", "s:uids", "s:gids"), "bind seen through these maps"),
    OpType(76, "child", "seccomp-flags", ("b:filter", "i:flags"), "as seccomp, with flags of seccomp(2)"),
    OpType(77, "child", "label", ("s:key", "s:value"), "write /proc/self/attr/KEY: the label that exec will have"),
    OpType(78, "child", "filesystem-copied", ("s:type", "s:source", "s:target", "i:attributes", "s:data"),
           "as filesystem, and it holds a copy of what it hides"),
    OpType(79, "child", "init", (), "the first process is ours: it passes signals on, reaps, ends as the program does"),
    OpType(89, "child", "imprint", ("i:fd",),
           "in place of exec become the process that was saved to this descriptor (launcher imprint)"),
    # --- child: what is done beside a workload, without running anything of it
    OpType(72, "child", "tool", ("s:name", "s:path", "i:flags"),
           "last, in place of exec: a part of the launcher (usage, processes, limit, hold, read, write, changes), "
           "outside the workload's cgroups; those of files see its mounts. flags: docs/plan-format.md"),
    # --- child: a process that another runtime makes
    OpType(87, "child", "runtime", ("s:path", "s:bundle", "b:arguments", "b:environment", "i:timeout_ms"),
           "last, in place of exec: the root is mounted at BUNDLE/rootfs, and this program with these arguments makes "
           "the process, whose pid it writes to BUNDLE/pid"),
    # --- undo
    OpType(80, "undo", "kill-cgroup", ("s:path",), "kill what is left in a v2 leaf"),
    OpType(81, "undo", "remove-cgroup", ("s:path",), "rmdir a cgroup and its descendants"),
    OpType(82, "undo", "nftables-delete", ("b:batch", "i:acks"), "as nftables; ENOENT is success"),
    OpType(85, "undo", "remove-file", ("s:path",), "unlink a file of ours; absent is fine"),
    OpType(86, "undo", "end-service", ("s:users", "s:path"),
           "under the lock PATH.lock: if the directory `users` is empty, end the process whose pid the file PATH "
           "holds and whose command line has the argument --pid-file=PATH, and unlink PATH; absent is fine"),
    OpType(88, "undo", "end-runtime", ("i:when", "s:path", "b:arguments", "b:environment", "i:timeout_ms", "s:state"),
           "run a program as hook does; whatever becomes of it, the undo goes on"),
)
# fmt: on

BY_NAME = {row.name: row for row in TABLE}
BY_CODE = {row.code: row for row in TABLE}


def render(ops: Iterable[Op]) -> str:
    """One op a line, for golden files and `twinhull plan`."""
    return "".join(f"{op.name} {' '.join(map(render_argument, op.args))}".rstrip() + "\n" for op in ops)


def render_argument(value: Arg) -> str:
    """Bytes by their length and a checksum: a filter of 2 KB says nothing to a reader."""
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return repr(value)
