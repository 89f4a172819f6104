"""What the rarer flags of `run` make of a spec: limits of a process, settings, mounts of memory, devices. Pure."""

from __future__ import annotations

from twinhull.errors import InvalidRequest
from twinhull.model import Request
from twinhull.plan.defaults import INIT_ANNOTATION, device_rule
from twinhull.plan.sysctl import namespace_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

TMPFS_DEFAULT = ("noexec", "nosuid", "nodev")
TMPFS_FLAGS = ("rw", "ro", "exec", "noexec", "suid", "nosuid", "dev", "nodev", "noatime", "relatime", "strictatime")
TMPFS_VALUES = ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks")
TMPFS_MODE = "mode=1777"


def apply(spec: dict[str, Any], request: Request, devices: Sequence[Mapping[str, Any]]) -> None:
    """Change a spec that has the defaults.

    Args:
        devices: entries of linux.devices, each with the `access` that it is given for.

    Raises:
        InvalidRequest: a setting that would be the whole machine's.
    """
    process, linux = spec["process"], spec["linux"]
    process["rlimits"] += [
        {"type": f"RLIMIT_{name.upper()}", "soft": soft, "hard": hard} for name, soft, hard in request.ulimits
    ]
    if request.oom_score_adj is not None:
        process["oomScoreAdj"] = request.oom_score_adj
    if request.umask is not None:
        process["user"]["umask"] = request.umask
    if request.init:
        spec["annotations"][INIT_ANNOTATION] = "true"
    if request.domainname:
        spec["domainname"] = request.domainname
    for key, _ in request.sysctls:
        check_sysctl(key, request)
    if request.sysctls:
        linux["sysctl"] = dict(request.sysctls)
    for mount in spec["mounts"]:
        if mount["destination"] == "/dev/shm" and request.shm_bytes:
            mount["options"] = [*mount["options"][:-1], f"size={request.shm_bytes}"]
    linux["resources"]["devices"] += [
        device_rule(row["type"], row["major"], row["minor"], row["access"]) for row in devices if "access" in row
    ]


def check_sysctl(key: str, request: Request) -> None:
    """Refuse what a container would change for the whole machine; a VM has a kernel of its own.

    Raises:
        InvalidRequest: it is not the workload's.
    """
    if request.isolation == "vm":
        return
    kind = namespace_of(key)
    if kind == "network" and request.network == "host":
        raise InvalidRequest(f"--sysctl {key}: with --network host it is the host's", hint="leave one of them out")
    if not kind or (kind == "user" and not request.user_namespace):
        raise InvalidRequest(
            f"--sysctl {key}: this setting is the whole kernel's, which a container shares with the host",
            hint="--vm has a kernel of its own",
        )


def tmpfs(target: str, options: str) -> dict[str, Any]:
    """The mount of one --tmpfs: as Docker's, nothing in it is executed, set-uid or a device unless the options say so.

    Raises:
        InvalidRequest: an option that a file system in memory does not have.
    """
    words = [word for word in options.split(",") if word]
    for word in words:
        name, equals, value = word.partition("=")
        if not (word in TMPFS_FLAGS or (name in TMPFS_VALUES and equals and value)):
            raise InvalidRequest(f"--tmpfs {target}: unknown option {word!r}", hint="size=64m,mode=1777,exec")
    mode = () if any(word.startswith("mode=") for word in words) else (TMPFS_MODE,)
    return {"destination": target, "type": "tmpfs", "source": "tmpfs", "options": [*TMPFS_DEFAULT, *mode, *words]}
