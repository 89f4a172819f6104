"""checkpoint and restore: a container's processes as files, and back. Both need CRIU; nothing else loads this."""

from __future__ import annotations

import os
from _signal import SIG_BLOCK, pthread_sigmask  # type: ignore[import-not-found]  # has no stub; signal costs 3 ms

from twinhull.cli.oci import identity_of, root_of
from twinhull.cli.oci_containers import (
    FORWARDED,
    attend,
    called,
    check_console,
    isolation_of,
    leave,
    streams_of,
    warner,
)
from twinhull.cli.oci_options import Options
from twinhull.errors import HostUnfit, InvalidRequest
from twinhull.plan.criu import CGROUP_MODES, EMPTY_NAMESPACES, NETWORK_LOCKS
from twinhull.runtime.oci import checkpoint, life
from twinhull.runtime.oci import record as records
from twinhull.runtime.oci.checkpoint import Demand, Images
from twinhull.runtime.oci.create import load_spec
from twinhull.runtime.oci.restore import restore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinhull.plan.criu import Value

DEFAULT_IMAGES = "checkpoint"
# Option -> its name in CRIU's rpc.proto; both verbs take some of them.
FLAGS = {
    "leave-running": "leave_running",
    "tcp-established": "tcp_established",
    "tcp-skip-in-flight": "tcp_skip_in_flight",
    "link-remap": "link_remap",
    "ext-unix-sk": "ext_unix_sk",
    "shell-job": "shell_job",
    "file-locks": "file_locks",
    "auto-dedup": "auto_dedup",
}
LABELS = {"lsm-profile": "lsm_profile", "lsm-mount-context": "lsm_mount_context"}


def run_checkpoint(options: Options, given: Options, words: list[str]) -> int:
    """Write a container to files."""
    identity, images = identity_of(words), images_of(options, given, to_read=False)
    demand = Demand(given.flag("pre-dump"), given.flag("leave-running"))
    checkpoint.take(root_of(options), identity, images, demand, warner(options))
    return 0


def run_restore(options: Options, given: Options, words: list[str]) -> int:
    """Make a container of its files and, unless detached, wait and delete; ends with the status of the process."""
    identity, root, detached = identity_of(words), root_of(options), given.flag("detach")
    bundle, warn = os.path.realpath(given.value("bundle") or "."), warner(options)
    spec = load_spec(bundle, given.value("config"))
    if isolation_of(options.value("isolation"), spec.get("annotations") or {}, called()) == "vm":
        raise HostUnfit("restore: of a virtual machine there is no checkpoint")
    if options.value("cgroup-manager") == "disabled":
        raise InvalidRequest("--cgroup-manager disabled: CRIU restores into control groups")
    images = images_of(options, given, to_read=True)
    check_console(spec, given, detached=detached)
    started = restore(root, identity, bundle, spec, streams_of(options, given), images, warn)
    if detached:
        return 0
    pthread_sigmask(SIG_BLOCK, FORWARDED)
    elsewhere, keeps = bool(given.value("console-socket")), given.flag("keep")
    if not keeps and (started.terminal < 0 or elsewhere) and records.POSTSTOP not in records.marks_of(spec):
        leave(options, root, identity, started.pid)
    try:
        return attend(started, elsewhere)
    finally:
        if not keeps:
            life.delete(root, identity, force=True, warn=warn)


def images_of(options: Options, given: Options, *, to_read: bool) -> Images:
    """Where CRIU is, where it writes or reads, and how.

    Raises:
        InvalidRequest: an option has an impossible value.
    """
    directory = os.path.realpath(given.value("image-path") or DEFAULT_IMAGES)
    work = os.path.realpath(given.value("work-path") or directory)
    if to_read and not os.path.isdir(directory):
        raise InvalidRequest(f"--image-path: {directory} is no directory")
    chosen: dict[str, Value] = {name: True for option, name in FLAGS.items() if given.flag(option)}
    chosen |= {name: given.value(option) for option, name in LABELS.items() if given.value(option)}
    chosen["manage_cgroups"] = True
    chosen["manage_cgroups_mode"] = one_of(given, "manage-cgroups-mode", CGROUP_MODES)
    if given.value("network-lock"):
        chosen["network_lock"] = one_of(given, "network-lock", NETWORK_LOCKS)
    if given.all("empty-ns"):
        chosen["empty_ns"] = sum({EMPTY_NAMESPACES[check_empty(kind)] for kind in given.all("empty-ns")})
    chosen |= parent_of(given, directory)
    return Images(options.value("criu") or "criu", directory, work, chosen)


def one_of(given: Options, option: str, known: Mapping[str, int]) -> int:
    """The number of an option's word.

    Raises:
        InvalidRequest: it is unknown.
    """
    if given.value(option) not in known:
        raise InvalidRequest(f"--{option}: {given.value(option)!r} is none of {', '.join(filter(None, known))}")
    return known[given.value(option)]


def check_empty(kind: str) -> str:
    """A namespace whose content is left out.

    Raises:
        InvalidRequest: CRIU always has it.
    """
    if kind not in EMPTY_NAMESPACES:
        raise InvalidRequest(f"--empty-ns: {kind!r} cannot be left empty, only {', '.join(EMPTY_NAMESPACES)}")
    return kind


def parent_of(given: Options, directory: str) -> dict[str, Value]:
    """Where the memory of a checkpoint --pre-dump is, from the images on.

    Raises:
        InvalidRequest: it is absolute, or not there.
    """
    parent = given.value("parent-path")
    if not parent:
        return {}
    if parent.startswith("/"):
        raise InvalidRequest(f"--parent-path: {parent} is absolute, and must be relative to --image-path")
    if not os.path.isdir(os.path.join(directory, parent)):
        raise InvalidRequest(f"--parent-path: {os.path.join(directory, parent)} is no directory")
    return {"parent_img": parent, "track_mem": True}
