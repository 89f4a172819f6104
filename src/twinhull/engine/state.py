"""State is derived, not stored: what a workload is, read from its directory and the kernel's locks."""

from __future__ import annotations

import os

from twinhull import jsontext
from twinhull.config import Config
from twinhull.errors import HostUnfit, InvalidRequest
from twinhull.host import facts, files, locks
from twinhull.model import ExitRecord, Instance, Request
from twinhull.store import db
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqlite3 import Connection
    from typing import NoReturn

    from twinhull.model import Status
    from twinhull.store.transfer import Progress


class Wall(NamedTuple):
    """What keeps a workload from the host: in a few words, in full, and whose word it rests on."""

    short: str
    text: str
    promised_by: str


WALLS = {
    "host": Wall("host kernel", "host kernel (namespaces, seccomp)", "the host's kernel"),
    "user": Wall("user namespace", "host kernel, user namespace", "the host's kernel"),
    "privileged": Wall("none (privileged)", "none (privileged)", "nobody: it may do what root of the host may"),
    "kvm": Wall("KVM", "KVM", "the processor, the host's kernel and QEMU"),
    "tcg": Wall("none (TCG)", "none (TCG)", "nobody: under TCG a guest is not a security boundary"),
    "": Wall("not started", "not known before it starts", "nobody yet"),
}


class Home(NamedTuple):
    """What every verb needs: the configuration, the database, and whom to tell about long work.

    Attributes:
        children: processes of ours that may have ended, to be reaped.
    """

    config: Config
    db: Connection
    progress: Progress | None
    children: list[int]

    def notice(self, text: str) -> None:
        """Tell whoever listens."""
        if self.progress is not None:
            self.progress.notice(text)

    def directory(self, identity: str) -> str:
        """The directory of one workload."""
        return self.config.instance(identity)

    def closed(self) -> Home:
        """Close the database, and return what says so to whoever goes on."""
        self.db.close()
        return Closed()  # type: ignore[return-value]  # it has nothing of a home, and says why


class Closed:
    """What an engine has once it is closed."""

    def __getattr__(self, name: str) -> NoReturn:
        """Nothing.

        Raises:
            InvalidRequest: always.
        """
        raise InvalidRequest("this engine is closed", hint="twinhull.Engine() makes another")


def open_home(config: Config, progress: Progress | None = None) -> Home:
    """Open the state, making what is missing.

    Raises:
        HostUnfit: it is another user's.
    """
    for path in (config.state, f"{config.state}/instances", f"{config.run}/exited"):
        files.make_own_directory(path)
    return Home(config, db.connect(config.database, schema), progress, [])


def schema(version: int) -> str:
    """The statements that make every table, or bring those of an earlier version up to date."""
    from twinhull.network import leases
    from twinhull.store import images, instances, snapshots

    if version:
        changes = (instances.CHANGES, leases.CHANGES, snapshots.CHANGES)
        later = range(version, db.SCHEMA_VERSION)
        return ";\n".join(table[step] for step in later for table in changes if step in table)
    return images.SCHEMA + ";\n" + instances.SCHEMA + ";\n" + leases.SCHEMA + ";\n" + snapshots.SCHEMA


def status(home: Home, instance: Instance) -> Status:
    """Say what a workload is now."""
    directory = home.directory(instance.id)
    if os.path.exists(f"{directory}/exit"):
        return "restarting" if is_to_restart(directory) else "exited"
    if locks.is_held(f"{directory}/alive"):
        return "paused" if is_frozen(instance.id) else "running"
    if instance.started:
        return "restarting" if is_to_restart(directory) else "lost"
    return "created"


def is_to_restart(directory: str) -> bool:
    """True if a workload that has ended will start again; of one without a policy nothing more is read."""
    if not os.path.exists(f"{directory}/restarts"):
        return False
    from twinhull.engine import policy

    return policy.is_waiting(directory)


def wall(instance: Instance, request: Request, accelerator: str) -> Wall:
    """What keeps a workload from the host, since its last start.

    Args:
        accelerator: what its QEMU runs or ran under, "" before it was started.
    """
    if instance.isolation == "container":
        mapped = "user" if request.user_namespace or facts.is_rootless() else "host"
        found = WALLS["privileged" if request.privileged else mapped]
    else:
        found = WALLS.get(accelerator, WALLS[""])
    if holes := opened(request, instance.isolation):
        full = f"{found.text}, opened by {', '.join(holes)}"
        found = Wall(f"{found.short}, opened", full, f"{found.promised_by}, but for what was opened")
    if request.accept_weak_wall:
        return found._replace(short=f"{found.short}, accepted", text=f"{found.text}, accepted")
    return found


def opened(request: Request, isolation: str) -> tuple[str, ...]:
    """What was asked for that leads past a wall, in the words of `run`; what root may do anyway is not repeated."""
    container = isolation == "container" and not request.privileged
    own = container and (request.cap_add or request.seccomp or request.unmasked or request.devices)
    if not (own or request.volumes or (container and request.network == "host")):
        return ()
    from twinhull.advice import facts as asked
    from twinhull.plan.seccomp import UNCONFINED

    binds = [(volume.source, " (read-only)" * volume.readonly) for volume in request.volumes if volume.kind == "bind"]
    doors = [f"-v {path}{how}" for path, how in binds if asked.is_engine(path) or asked.is_door(os.path.realpath(path))]
    if not container:
        return tuple(doors)
    return (
        *[f"--cap-add {name.removeprefix('CAP_')}" for name in asked.beyond_default(request.cap_add)],
        *(["seccomp=unconfined"] if request.seccomp == UNCONFINED else []),
        *(["systempaths=unconfined"] if request.unmasked else []),
        *[f"--device {device.source}" for device in request.devices if device.source not in asked.HARMLESS],
        *(["--network host"] if request.network == "host" else []),
        *doors,
    )


def is_frozen(identity: str) -> bool:
    """True if the workload's v2 leaf is frozen."""
    mount_point = facts.cgroup_mounts(facts.read("/proc/self/mountinfo"))[0]
    return facts.read(f"{mount_point}/twinhull/{identity}/cgroup.freeze").strip() == "1"


def require_group(what: str) -> None:
    """Refuse what looks at the control group of a workload, or changes it, where none has one.

    Raises:
        HostUnfit: there is no v2 hierarchy, or this user may not change it.
    """
    if facts.cgroup_mounts(facts.read("/proc/self/mountinfo"))[0]:
        return
    if facts.is_rootless():
        raise HostUnfit(f"{what} without root needs a control group that is delegated to you", hint="sudo twinhull …")
    raise HostUnfit(f"{what} needs the v2 hierarchy of control groups", hint="mount -t cgroup2 none /mnt")


def exit_record(home: Home, identity: str) -> ExitRecord | None:
    """What the shim wrote at the end, if it did."""
    try:
        record = jsontext.loads(files.read(f"{home.directory(identity)}/exit"))
    except (FileNotFoundError, ValueError):
        return None
    return ExitRecord(record["code"], record["signal"], bool(record["oom"]), record["finished"])


def write_exit(home: Home, identity: str, record: ExitRecord) -> None:
    """Write the record in the place of a shim that was lost."""
    files.publish(f"{home.directory(identity)}/exit", jsontext.dumps(record._asdict()).encode())
