"""What runtime-spec 1.2 says each field of a bundle's config.json is: text, a number of so many bits, a list, … Pure.

Promise: what comes through is of these types, so that nobody after us has to ask.
"""

from __future__ import annotations

from twinhull.errors import InvalidRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# A range is a whole number within it, [x] a list of x, {"*": x} any names with an x each. "!" ends what has to be
# there; names that are not listed are nobody's, and null is nothing.
TEXT, FLAG = "text", "true or false"
UINT16, UINT32, UINT64 = range(1 << 16), range(1 << 32), range(1 << 64)
INT32, INT64 = range(-1 << 31, 1 << 31), range(-1 << 63, 1 << 63)
UMASK = range(0o10000)
ID = range((1 << 32) - 1)  # the last one means "as it is" to the kernel
TEXTS, TEXT_OF = [TEXT], {"*": TEXT}
MAPS = [{"containerID!": UINT32, "hostID!": UINT32, "size!": UINT32}]
NUMBERS = {"major!": INT64, "minor!": INT64}
THROTTLE = [{**NUMBERS, "rate!": UINT64}]

PROCESS = {
    "terminal": FLAG,
    "consoleSize": {"height!": UINT16, "width!": UINT16},
    "user": {"uid": ID, "gid": ID, "umask": UMASK, "additionalGids": [ID]},
    "args": TEXTS,
    "env": TEXTS,
    "cwd": TEXT,
    "capabilities": dict.fromkeys(("bounding", "effective", "permitted", "inheritable", "ambient"), TEXTS),
    "rlimits": [{"type!": TEXT, "soft!": UINT64, "hard!": UINT64}],
    "noNewPrivileges": FLAG,
    "apparmorProfile": TEXT,
    "selinuxLabel": TEXT,
    "oomScoreAdj": INT32,
    "scheduler": {
        "policy!": TEXT,
        "flags": TEXTS,
        "nice": INT32,
        "priority": INT32,
        **dict.fromkeys(("runtime", "deadline", "period"), UINT64),
    },
    "ioPriority": {"class!": TEXT, "priority": INT32},
    "execCPUAffinity": {"initial": TEXT, "final": TEXT},
}
RESOURCES = {
    "devices": [{"allow": FLAG, "type": TEXT, "major": INT64, "minor": INT64, "access": TEXT}],
    "memory": {
        **dict.fromkeys(("limit", "reservation", "swap", "kernel", "kernelTCP"), INT64),
        **dict.fromkeys(("disableOOMKiller", "useHierarchy", "checkBeforeUpdate"), FLAG),
        "swappiness": UINT64,
    },
    "cpu": {
        **dict.fromkeys(("shares", "burst", "period", "realtimePeriod"), UINT64),
        **dict.fromkeys(("quota", "realtimeRuntime", "idle"), INT64),
        "cpus": TEXT,
        "mems": TEXT,
    },
    "pids": {"limit": INT64},
    "blockIO": {
        "weight": UINT16,
        "leafWeight": UINT16,
        "weightDevice": [{**NUMBERS, "weight": UINT16, "leafWeight": UINT16}],
        **{f"throttle{way}{unit}Device": THROTTLE for way in ("Read", "Write") for unit in ("Bps", "IOPS")},
    },
    "hugepageLimits": [{"pageSize!": TEXT, "limit!": UINT64}],
    "network": {"classID": UINT32, "priorities": [{"name!": TEXT, "priority!": UINT32}]},
    "rdma": {"*": {"hcaHandles": UINT32, "hcaObjects": UINT32}},
    "unified": TEXT_OF,
}
SECCOMP = {
    "defaultAction!": TEXT,
    "defaultErrnoRet": UINT32,
    "architectures": TEXTS,
    "flags": TEXTS,
    "listenerPath": TEXT,
    "listenerMetadata": TEXT,
    "syscalls": [
        {
            "names!": TEXTS,
            "action!": TEXT,
            "errnoRet": UINT32,
            "args": [{"index!": UINT32, "value!": UINT64, "valueTwo": UINT64, "op!": TEXT}],
        }
    ],
}
HOOKS = [{"path!": TEXT, "args": TEXTS, "env": TEXTS, "timeout": INT64}]
SPEC = {
    "ociVersion!": TEXT,
    "hostname": TEXT,
    "domainname": TEXT,
    "annotations": TEXT_OF,
    "process": PROCESS,
    "root": {"path!": TEXT, "readonly": FLAG},
    "mounts": [
        {
            "destination!": TEXT,
            "type": TEXT,
            "source": TEXT,
            "options": TEXTS,
            "uidMappings": MAPS,
            "gidMappings": MAPS,
        }
    ],
    "hooks": dict.fromkeys(
        ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"), HOOKS
    ),
    "linux": {
        "uidMappings": MAPS,
        "gidMappings": MAPS,
        "sysctl": TEXT_OF,
        "resources": RESOURCES,
        "seccomp": SECCOMP,
        **dict.fromkeys(("cgroupsPath", "rootfsPropagation", "mountLabel"), TEXT),
        "maskedPaths": TEXTS,
        "readonlyPaths": TEXTS,
        "namespaces": [{"type!": TEXT, "path": TEXT}],
        "devices": [
            {
                "path!": TEXT,
                "type!": TEXT,
                "major": INT64,
                "minor": INT64,
                "fileMode": UINT16,
                **dict.fromkeys(("uid", "gid"), UINT32),
            }
        ],
        "personality": {"domain!": TEXT, "flags": TEXTS},
        "timeOffsets": {"*": {"secs": INT64, "nanosecs": range(1_000_000_000)}},
    },
}


def check_shape(value: Any, shape: Any, field: str = "") -> None:
    """Refuse what is of another type than its place is for.

    Raises:
        InvalidRequest: the message begins with the field.
    """
    if value is None:
        return
    if isinstance(shape, str):
        if type(value) is not (str if shape is TEXT else bool):
            raise wrong(field, value, shape)
        if shape is TEXT and "\0" in str(value):
            raise InvalidRequest(f"{field}: {value!r} has a NUL byte in it")
    elif isinstance(shape, range):
        if type(value) is not int:
            raise wrong(field, value, "a whole number")
        if value not in shape:
            raise InvalidRequest(f"{field}: {value} is not between {shape.start} and {shape.stop - 1}")
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise wrong(field, value, "a list")
        for index, row in enumerate(value):
            if row is None:
                raise InvalidRequest(f"{field}[{index}]: null is nothing")
            check_shape(row, shape[0], f"{field}[{index}]")
    else:
        check_object(value, shape, field)


def check_object(value: Any, shape: dict[str, Any], field: str) -> None:
    """Refuse what is no object, lacks a member, or has one of another type."""
    if not isinstance(value, dict):
        raise wrong(field or "config.json", value, "an object")
    if each := shape.get("*"):
        for name, inner in value.items():
            check_shape(inner, each, f"{field}[{name!r}]")
        return
    for name, inner in shape.items():
        key = name.rstrip("!")
        below = f"{field}.{key}" if field else key
        if name != key and value.get(key) is None:
            raise InvalidRequest(f"{below}: it must be there")
        check_shape(value.get(key), inner, below)


def wrong(field: str, value: Any, wanted: str) -> InvalidRequest:
    """The error for a value of another type."""
    return InvalidRequest(f"{field}: {value!r} is not {wanted}")
