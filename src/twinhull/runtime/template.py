"""Templates: guests booted once and saved, from which others start in milliseconds.

Promise: a template is believed only when its directory has its final name and its memory the digest it
was saved with; what is damaged or does not fit is made again, never trusted. Its memory is lent by its
holder, and no guest can change it.
"""

from __future__ import annotations

import os
import time

from twinhull import jsontext as json
from twinhull.config import Config
from twinhull.errors import GuestError
from twinhull.host import files, locks, spawn
from twinhull.host.facts import read_facts
from twinhull.host.stamp import stamp
from twinhull.plan import codec
from twinhull.plan.frames import Kind
from twinhull.plan.guest import ahead_plan
from twinhull.plan.jail import Jail, jail_plan
from twinhull.plan.qemu import MEMORY_FD, Drives, Machine, arguments
from twinhull.runtime import accelerator, holder, jailed, qmp, scratch
from twinhull.runtime.guest import Guest, boot_files, kvm_device
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = 1
MEMORY, STATE, META = "memory", "state", "meta.json"
SAVE_TIMEOUT_S = 30.0
# After its first answer the guest still finishes what the boot began; a quiet guest saves less.
SETTLE_S = 0.5


class Template(NamedTuple):
    """A saved guest. `digest` is of its memory."""

    key: str
    directory: str
    digest: str
    memory_bytes: int

    @property
    def memory(self) -> str:
        """The file with its memory."""
        return f"{self.directory}/{MEMORY}"

    @property
    def state(self) -> str:
        """The file with the state of the devices."""
        return f"{self.directory}/{STATE}"


def template_key(guest: Guest, machine: Machine) -> str:
    """Name what a template depends on: whatever differs here cannot start from it."""
    return stamp(parts_of(guest), accelerator.processor(), codec.encode(ahead_plan()), *saved_arguments(guest, machine))


def parts_of(guest: Guest) -> str:
    """Name the software in a template: one with other parts is of no use to anybody any more."""
    return stamp(VERSION, guest.hypervisor.build, guest.kernel.digest, guest.initrd)


def saved_arguments(guest: Guest, machine: Machine) -> tuple[str, ...]:
    """Return QEMU's argv for the guest that is saved: placeholder disks."""
    return arguments(machine, memory="saved", drives=Drives(False, False), binary=guest.hypervisor.binary)


def find_template(config: Config, guest: Guest, machine: Machine) -> Template | None:
    """Return the template for a machine if there is one that looks whole."""
    key = template_key(guest, machine)
    return load(f"{config.state}/templates/{key}", key)


def load(directory: str, key: str) -> Template | None:
    """Return the template of a directory, or None where a part is missing or has the wrong size."""
    try:
        meta = json.loads(files.read(f"{directory}/{META}"))
        sizes = {name: os.stat(f"{directory}/{name}").st_size for name in (MEMORY, STATE)}
        if sizes != meta["sizes"]:
            return None
        return Template(key, directory, meta["digest"], sizes[MEMORY])
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None


def make_template(config: Config, guest: Guest, machine: Machine, progress: Callable[[str], None]) -> Template:
    """Boot a guest and save it, unless another command just has.

    Raises:
        GuestError: it did not come up, or could not be saved.
    """
    key = template_key(guest, machine)
    directory = f"{config.state}/templates/{key}"
    files.make_directory(f"{config.state}/templates")
    with locks.locked(f"{directory}.lock"):
        if found := load(directory, key):
            return found
        progress("Preparing a template for virtual machines (once)")
        staging = f"{config.state}/templates/.{key}.{os.getpid()}"
        files.remove_tree(staging)
        files.make_directory(staging)
        try:
            save(config, guest, machine, staging, key)
            holder.end(config, key)  # of a template that was damaged or deleted: its memory is another guest's
            remove(directory)
            os.rename(staging, directory)
        finally:
            files.remove_tree(staging)
        files.sync_directory(os.path.dirname(directory))
    forget_outdated(config, guest)
    found = load(directory, key)
    assert found, "a published template can be read"
    return found


def forget_outdated(config: Config, guest: Guest) -> None:
    """Delete a guest's templates of earlier software, 100 MB each, and what builders left that died."""
    parts = parts_of(guest)
    root = f"{config.state}/templates"
    for name in os.listdir(root):
        path = f"{root}/{name}"
        if name.startswith("."):
            alive = os.path.exists(f"/proc/{name.rpartition('.')[2]}")
            if not alive:
                jailed.clear(config.launcher, path)
        elif not name.endswith(".lock") and parts_in(path, guest) != parts:
            holder.end(config, name)
            remove(path)
            files.remove_file(f"{path}.lock")


def remove(path: str) -> None:
    """Remove a template, or what stands in its place: a file or a link."""
    if os.path.islink(path) or os.path.isfile(path):
        files.remove_file(path)
    else:
        files.remove_tree(path)


def parts_in(directory: str, guest: Guest) -> str:
    """Return the name of the parts that a template was made of, "" if it does not say.

    One for another kind of processor has nothing to do with this guest: its parts are said to be the same.
    """
    try:
        meta = json.loads(files.read(f"{directory}/{META}"))
        return str(meta["parts"]) if meta["machine"]["architecture"] == guest.architecture else parts_of(guest)
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def save(config: Config, guest: Guest, machine: Machine, directory: str, key: str) -> None:
    """Boot, wait until the agent answers, stop, and write memory and state."""
    memory = os.memfd_create("template", os.MFD_CLOEXEC)
    state = os.open(f"{directory}/{STATE}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(memory, machine.memory_bytes)
        os.fchmod(memory, 0o666)  # QEMU opens it again, as a user without rights
        started = boot(config, guest, machine, directory, key, {MEMORY_FD: memory})
        try:
            deadline = time.monotonic() + config.vm_boot_timeout_s
            started.sandbox.send(Kind.CONFIG, payload=codec.encode(ahead_plan()))
            started.sandbox.send(Kind.PING, payload=b"up?")
            jailed.expect(started, Kind.PING, 0, deadline)
            time.sleep(SETTLE_S)
            save_state(directory, state)
        finally:
            jailed.end(started)
        write_memory(memory, f"{directory}/{MEMORY}")
        os.fsync(state)
    finally:
        os.close(memory)
        os.close(state)
    publish_meta(guest, machine, directory)


def boot(
    config: Config, guest: Guest, machine: Machine, directory: str, key: str, inherit: dict[int, int]
) -> jailed.Started:
    """Start the guest that becomes the template: placeholder disks, no network."""
    argv = saved_arguments(guest, machine)
    jail = Jail(
        identity=key,
        cgroup=f"/twinhull/template-{key}-{os.getpid()}",
        root=guest.hypervisor.root,
        argv=argv,
        seccomp=guest.hypervisor.seccomp,
        opened=boot_files(guest),
        inherited=tuple(inherit),
        memory_bytes=machine.memory_bytes,
        cpus=machine.cpus,
        kvm=kvm_device(machine),
        nics=machine.nics,
    )
    return jailed.start(guest.launcher, directory, jail_plan(jail, read_facts()), inherit=inherit)


def save_state(directory: str, state: int) -> None:
    """Stop the guest and write the state of its devices; its memory is in the memfd already."""
    monitor = qmp.connect(directory, SAVE_TIMEOUT_S)
    try:
        monitor.execute("stop")
        set_capabilities(monitor)
        monitor.answer("migrate-set-capabilities")
        monitor.execute("migrate-set-parameters", max_bandwidth=1 << 40)
        monitor.give(STATE, state)
        monitor.execute("migrate", uri=f"fd:{STATE}")
        ended = monitor.wait_for("MIGRATION", lambda data: data.get("status") in ("completed", "failed"))
        if ended["status"] != "completed":
            raise GuestError("QEMU could not save the template")
    finally:
        monitor.close()


def set_capabilities(monitor: qmp.Monitor) -> None:
    """Ask for a migration that leaves the memory where it is and tells how it went."""
    names = ("x-ignore-shared", "events")
    monitor.send("migrate-set-capabilities", capabilities=[{"capability": name, "state": True} for name in names])


def write_memory(memory: int, path: str) -> None:
    """Write what the guest touched to a sparse file, and sync it."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(memory).st_size
        os.ftruncate(fd, size)
        for start, end in scratch.extents(memory, size):
            scratch.copy_range(memory, fd, start, end)
        os.fsync(fd)
    finally:
        os.close(fd)


def publish_meta(guest: Guest, machine: Machine, directory: str) -> None:
    """Write what `load` and the holder check, and what is shown of a template."""
    sizes = {name: os.stat(f"{directory}/{name}").st_size for name in (MEMORY, STATE)}
    summary = digest(guest.launcher, f"{directory}/{MEMORY}")
    meta = {"digest": summary, "sizes": sizes, "parts": parts_of(guest), "created": time.time()}
    meta |= {"kernel": guest.kernel.release, "kernel_digest": guest.kernel.digest, "machine": machine._asdict()}
    for name in ("undo", "alive", "lock", "qmp", "sock"):
        files.remove_file(f"{directory}/{name}")
    files.publish(f"{directory}/{META}", json.dumps(meta).encode())


def digest(launcher: str, path: str) -> str:
    """Return the digest of a memory file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    read_end, write_end = os.pipe()
    try:
        pid = spawn.spawn(launcher, ["twinhull-hold", "hold", "--digest"], {1: write_end, 3: fd})
        os.close(write_end)
        text = os.read(read_end, 64).decode().strip()
        if os.waitpid(pid, 0)[1] or len(text) != 16:
            raise GuestError(f"{path} cannot be read")
        return text
    finally:
        os.close(read_end)
        os.close(fd)


def discard(config: Config, template: Template) -> None:
    """Forget a template that is damaged or does not start; whoever needs it makes it again."""
    with locks.locked(f"{template.directory}.lock"):
        files.remove_tree(template.directory)
    holder.end(config, template.key)
