"""From an image's config and a run request to an OCI runtime spec (runtime-spec 1.2). Pure.

Promise: everything that a runtime needs to know is in the returned document; where the root comes
from (layers on this host, a disk in a guest) is the runtime's business.
"""

from __future__ import annotations

from twinhull import jsontext
from twinhull.errors import CommandNotFound, InvalidRequest, RegistryError
from twinhull.model import Image, Request, depth
from twinhull.plan import defaults
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

OCI_VERSION = "1.2.0"
ENOENT = 2  # the import of errno would be one more at each start
# Measured under TCG: with 0.05 a guest of the distribution's kernel is there after 23 s, with 0.03 not after 90.
LEAST_GUEST_CPUS = 0.05
CPU_PERIOD_US = 100_000
SHORT_ID = 12
COMMANDS = ("Cmd", "Entrypoint", "Shell")
SETTINGS: tuple[tuple[type, tuple[str, ...], str], ...] = (
    (list, ("Env", *COMMANDS), "list of texts"),
    (str, ("User", "WorkingDir", "StopSignal"), "text"),
    (dict, ("ExposedPorts", "Volumes", "Labels"), "object"),
)
BUILT_WRONGLY = "the image is broken: build it again"


class User(NamedTuple):
    """Who the process is: numbers, and the home directory that HOME gets."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


class Identity(NamedTuple):
    """What the workload is called, and the files of its instance that it sees under /etc."""

    id: str
    hostname: str
    etc: tuple[tuple[str, str], ...] = ()  # (path on the host, path inside)


def make_spec(
    image: Image,
    request: Request,
    identity: Identity,
    *,
    max_files: int = 0,
    cpu_count: int = 0,
    devices: Sequence[Mapping[str, Any]] = (),
    kernel: str = "",
) -> dict[str, Any]:
    """Return config.json for this request.

    Args:
        max_files: RLIMIT_NOFILE for the process, 0 to leave the caller's.
        cpu_count: how many directories of thermal counters there are to mask.
        devices: nodes beyond those of every workload, as entries of linux.devices with the `access` each is for.
        kernel: the release that it will run on, "" where that is not known.

    Raises:
        InvalidRequest: no command, an unknown user, a malformed variable.
        RegistryError: the image's config is malformed.
        CommandNotFound: the command's first word is empty.
    """
    config = settings(jsontext.loads(image.config), request.image)
    user = resolve_user(request.user or config.get("User") or "", image.passwd, image.group)
    if request.groups:
        user = with_groups(user, request.groups, image.group)
    spec: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": request.tty,
            "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)},
            "args": list(command(config, request)),
            "env": list(environment(config, request, user, identity.hostname)),
            "cwd": request.workdir or config.get("WorkingDir") or "/",
            "capabilities": capability_sets(user.uid),
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": max_files, "hard": max_files}] if max_files else [],
            "noNewPrivileges": request.no_new_privileges,
        },
        "root": {"path": "rootfs", "readonly": request.readonly},
        "hostname": identity.hostname,
        "mounts": mounts(request, identity),
        "annotations": {"dev.twinhull.isolation": request.isolation},
        "linux": linux(request, identity, cpu_count),
    }
    if not spec["process"]["cwd"].startswith("/"):
        raise InvalidRequest(f"the working directory {spec['process']['cwd']!r} is not absolute")
    change(spec, request, devices, kernel)
    return spec


def settings(document: dict[str, Any], name: str) -> dict[str, Any]:
    """What an image's config says of its processes; a command that is a text is one word, as Docker reads it.

    Args:
        name: of the image, for messages.

    Raises:
        RegistryError: a setting has a type that it cannot have.
    """
    found = document.get("config") or {}
    if not isinstance(found, dict):
        raise RegistryError(f"the config of {name}: 'config' is no object", hint=BUILT_WRONGLY)
    commands = {key: [found[key]] for key in COMMANDS if isinstance(found.get(key), str)}
    config = {**found, **commands} if commands else found
    for kind, keys, what in SETTINGS:
        for key in keys:
            value = config.get(key)
            inner = value if kind is list and isinstance(value, list) else ()
            if value is not None and not (isinstance(value, kind) and all(isinstance(one, str) for one in inner)):
                raise RegistryError(f"the config of {name}: {key} is no {what}: {value!r:.80}", hint=BUILT_WRONGLY)
    return config


def change(spec: dict[str, Any], request: Request, devices: Sequence[Mapping[str, Any]], kernel: str) -> None:
    """What few workloads ask for; without any, nothing is imported. The arguments are those of make_spec."""
    if devices:
        spec["linux"]["devices"] = [{key: row[key] for key in row if key != "access"} for row in devices]
    if request.has_options:
        from twinhull.oci import options

        options.apply(spec, request, devices)
    if request.has_privileges:
        from twinhull.oci import privileges

        privileges.apply(spec, request, kernel)


def command(config: dict[str, Any], request: Request) -> tuple[str, ...]:
    """Entrypoint and command: a new entrypoint drops the image's command, as in Docker."""
    if request.entrypoint is not None:
        words = (*request.entrypoint, *request.command)
    else:
        words = (*(config.get("Entrypoint") or ()), *(request.command or config.get("Cmd") or ()))
    if words and not words[0]:
        raise no_program()
    if not words:
        raise InvalidRequest("no command specified", hint="the image names none: write one after the image")
    return words


def no_program() -> CommandNotFound:
    """The error of a command whose first word is empty."""
    return CommandNotFound("exec", '""', ENOENT, hint="the first word of the command is empty")


def environment(config: dict[str, Any], request: Request, user: User, hostname: str) -> tuple[str, ...]:
    """The image's variables, then ours, then the user's; a later one replaces an earlier one."""
    merged = {"PATH": defaults.PATH, "HOSTNAME": f"HOSTNAME={hostname}"}
    if request.tty:
        merged["TERM"] = "TERM=xterm"
    for variable in (*(config.get("Env") or ()), *request.environment):
        name, equals, _ = variable.partition("=")
        if not name:
            raise InvalidRequest(f"invalid environment variable: {variable!r}", hint="write NAME=VALUE")
        if equals:
            merged[name] = variable
        else:
            merged.pop(name, None)
    merged.setdefault("HOME", f"HOME={user.home}")
    return tuple(merged.values())


def resolve_user(text: str, passwd: str, group: str) -> User:
    """Return the identity for "user", "uid", "user:group", "uid:gid" by the image's own files.

    Raises:
        InvalidRequest: a name that the image does not know.
    """
    name, _, group_name = text.partition(":")
    accounts = records(passwd, 7)
    groups = records(group, 4)
    wanted = name or "0"
    account = next((row for row in accounts if wanted == row[0]), None)
    if account is None and wanted.isdecimal():
        account = next((row for row in accounts if wanted == row[2]), None)
    if account is None and not wanted.isdecimal():
        raise InvalidRequest(f"unable to find user {name}: no matching entry in passwd file")
    uid, gid = (int(account[2]), int(account[3])) if account else (int(wanted), 0)
    home = (account[5] if account else "") or "/"
    extra: tuple[int, ...] = ()
    if group_name:
        gid = resolve_group(group_name, groups)
    elif account:
        extra = tuple(int(row[2]) for row in groups if account[0] in row[3].split(",") and int(row[2]) != gid)
    check_range(text, uid, gid, *extra)
    return User(uid, gid, extra, "/root" if uid == 0 and home == "/" and not accounts else home)


def check_range(text: str, *numbers: int) -> None:
    """Refuse numbers of users and groups that no process is given.

    Args:
        text: what a user has asked for, for the message.

    Raises:
        InvalidRequest: one is too high.
    """
    if max(numbers) >= 1 << 31:
        raise InvalidRequest(f"uids and gids must be in range 0-2147483647: {text!r}")


def with_groups(user: User, names: Iterable[str], group: str) -> User:
    """The user in further groups, by name or number.

    Raises:
        InvalidRequest: a name that the image does not know, or a number that is none of a group's.
    """
    rows, added = records(group, 4), []
    for name in names:
        added.append(resolve_group(name, rows))
        check_range(name, added[-1])
    return user._replace(groups=tuple(dict.fromkeys((*user.groups, *added))))


def resolve_group(name: str, groups: list[list[str]]) -> int:
    """Return the number of a group."""
    for row in groups:
        if row[0] == name:
            return int(row[2])
    if not name.isdecimal():
        raise InvalidRequest(f"unable to find group {name}: no matching entry in group file")
    return int(name)


def records(text: str, fields: int) -> list[list[str]]:
    """Rows of a passwd-like file; malformed ones are skipped, as the C library does."""
    rows = [line.split(":") for line in text.splitlines() if line and line[0] != "#"]
    return [row for row in rows if len(row) >= fields and row[2].isdecimal() and (fields < 7 or row[3].isdecimal())]


def capability_sets(uid: int, bounding: Sequence[str] = defaults.CAPABILITIES) -> dict[str, list[str]]:
    """Docker's 14, or those given; a user other than root keeps them in the bounding set only."""
    held = list(bounding) if uid == 0 else []
    return {"bounding": list(bounding), "effective": held, "permitted": held}


def mounts(request: Request, identity: Identity) -> list[dict[str, Any]]:
    """The default mounts, then the instance's files under /etc and the user's: what lies deeper comes later."""
    listed = [
        {"destination": destination, "type": kind, "source": source, "options": list(options)}
        for destination, kind, source, options in defaults.MOUNTS
    ]
    files = [bind(source, target, readonly=request.readonly) for source, target in identity.etc]
    if not (request.volumes or request.tmpfs):
        return listed + files
    own = [bind(*volume[:2], readonly=volume.readonly) for volume in request.volumes]
    if request.tmpfs:
        from twinhull.oci.options import tmpfs

        own += [tmpfs(*row) for row in request.tmpfs]
    taken = {mount["destination"] for mount in own}
    own += [file for file in files if file["destination"] not in taken]
    own.sort(key=lambda mount: depth(mount["destination"]))
    return [mount for mount in listed if mount["destination"] not in taken] + own


def bind(source: str, target: str, *, readonly: bool = False) -> dict[str, Any]:
    """A path of the host's, seen inside."""
    options = ["rbind", "rprivate", "ro" if readonly else "rw"]
    return {"destination": target, "type": "bind", "source": source, "options": options}


def linux(request: Request, identity: Identity, cpu_count: int) -> dict[str, Any]:
    """The Linux section: namespaces, resources, masks."""
    namespaces = [
        {"type": kind}
        for kind in defaults.NAMESPACES
        if not (kind == "network" and (request.network == "host" or request.isolation == "vm"))
    ]
    section: dict[str, Any] = {
        "namespaces": namespaces,
        "resources": resources(request),
        "cgroupsPath": f"/twinhull/{identity.id}",
        "maskedPaths": [
            *defaults.MASKED_PATHS,
            *(f"/sys/devices/system/cpu/cpu{number}/thermal_throttle" for number in range(cpu_count)),
        ],
        "readonlyPaths": list(defaults.READONLY_PATHS),
    }
    if request.user_namespace:
        namespaces.append({"type": "user"})
        section["uidMappings"] = section["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    return section


def resources(request: Request) -> dict[str, Any]:
    """Limits, present only where asked: an absent controller costs nothing."""
    found: dict[str, Any] = {"devices": list(defaults.DEVICE_RULES)}
    if request.memory_bytes:
        found["memory"] = {"limit": request.memory_bytes, "swap": request.swap_bytes or request.memory_bytes * 2}
    if cpu := cpu_limits(request):
        found["cpu"] = cpu
    if request.pids_limit > 0:
        found["pids"] = {"limit": request.pids_limit}
    return found


def cpu_limits(request: Request) -> dict[str, Any]:
    """linux.resources.cpu, {} without a limit.

    Raises:
        InvalidRequest: so little of a processor that no guest comes up in time.
    """
    found: dict[str, Any] = {}
    if request.isolation == "vm" and 0 < request.cpus < LEAST_GUEST_CPUS:
        raise InvalidRequest(
            f"--cpus {request.cpus:g}: a virtual machine comes up in time with {LEAST_GUEST_CPUS} or more",
            hint=f"--cpus {LEAST_GUEST_CPUS}, or a container",
        )
    if request.cpus:
        found |= {"quota": int(request.cpus * CPU_PERIOD_US), "period": CPU_PERIOD_US}
    if request.cpu_shares:
        found["shares"] = request.cpu_shares
    if request.cpuset:
        found["cpus"] = request.cpuset
    return found
