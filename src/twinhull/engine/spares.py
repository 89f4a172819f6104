"""Guests in waiting: one start takes what an earlier one left, and has the next one made behind its back.

Promise: a start without one is a start from a template. One that was taken and not used is undone; one
whose holder or maker is gone is cleared away by the next command.
"""

from __future__ import annotations

import os
import time

from twinhull import jsontext
from twinhull.config import Config, restored
from twinhull.engine.state import Home
from twinhull.errors import Conflict, HostUnfit, TwinhullError
from twinhull.host import files, locks
from twinhull.model import Endpoint, Image, Request
from twinhull.scopes import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twinhull.plan.ops import Plan
    from twinhull.plan.qemu import Machine
    from twinhull.runtime.rehearsal import Rehearsal
    from twinhull.runtime.spare import Spare
    from twinhull.runtime.template import Template
    from twinhull.runtime.vm import Prerequisites

# The start that asked for a spare goes first: the maker has the processor to itself a little later.
PATIENCE_S = 0.2
MAKING_S, POLL_S = 30.0, 0.05
UNFINISHED_S = 60.0  # far longer than it takes to make three directories
MAKER = "import sys; sys.path.insert(0, sys.argv[1]); from twinhull.engine.spares import main; main(sys.argv[2])"
LOCK_FD = 3
SEED_BYTES = 48
HOST_NAME = "rehearsal"
# Addresses that are nobody's (RFC 5737).
ENDPOINT = Endpoint(
    network="", bridge="", bridge_index=0, address="192.0.2.2", prefix=24, gateway="192.0.2.1", mac="", host_link=""
)
IMAGE_CONFIG = {"config": {"Env": ["PATH=/bin"], "Cmd": ["sh", "-c", "echo rehearsed"]}}


def is_eligible(config: Config, request: Request) -> bool:
    """True if a guest that knew nothing of the request can serve it.

    Volumes, processors, network cards and ports are made with the machine or by its shim; memory is the machine's size.
    """
    made_before = request.volumes or request.cpus or request.ports or request.cpu_shares or request.cpuset
    several = len(request.networks) > 1
    wanted = config.vm_template and not request.boots and request.isolation == "vm"
    return wanted and not made_before and not several and (config.vm_spare or has_pool(config)) and is_ordinary()


def has_pool(config: Config) -> bool:
    """True if a user wants guests to wait."""
    from twinhull.runtime import pool

    return pool.read(config).size > 0


@contextmanager
def taken(home: Home, request: Request, *, native: bool = True) -> Iterator[Spare | None]:
    """Give the guest in waiting that serves a request, or None.

    If the block raises, the guest is let go of; if not, the next one is made behind the caller's back.

    Args:
        native: the image is for this machine's processor, which is that of every guest in waiting.
    """
    eligible = native and is_eligible(home.config, request)
    wanted = machine_of(home.config, request, home.notice) if eligible else None
    if wanted is None:
        yield None
        return
    from twinhull.runtime import spare

    machine, key = wanted
    found = spare.take(home.config, key)
    try:
        yield found
    except BaseException as error:
        if found:
            found.conversation.close()
        if isinstance(error, TwinhullError):  # it has used up a guest all the same
            have_made(home, machine, key)
        raise
    finally:
        if found:
            spare.release(found)
    have_made(home, machine, key)


def have_made(home: Home, machine: Machine, key: str) -> None:
    """Have made what the next start wants, unless that is there, or being made; this one has what it wanted already."""
    from twinhull.runtime import spare

    if not is_lacking(home.config, key):
        return
    try:
        with locks.locked(spare.lock_path(home.config, key), wait=False) as lock:
            home.children.extend(spawn_maker(home.config, machine, lock))
    except (Conflict, OSError):
        pass


def is_lacking(config: Config, key: str) -> bool:
    """True if a template's holder has no imprint, or fewer guests in waiting than are wanted."""
    from twinhull.runtime import holder, pool

    waiting, imprinted = holder.stock(config, key)
    if not imprinted and not os.path.exists(refusal_path(config, key)):
        return True
    return waiting < max(pool.read(config).size, least(imprinted=imprinted))


def least(*, imprinted: bool) -> int:
    """How many guests wait where no pool is wanted: one, unless starts go on from an imprint."""
    return 0 if imprinted else 1


def refusal_path(config: Config, key: str) -> str:
    """Where it is written down why no imprint can be made of a template's guests, until its directory is gone."""
    from twinhull.runtime import holder

    return f"{holder.directory_of(config, key)}/no-imprint"


def is_ordinary() -> bool:
    """True if this process runs as any other does: a guest that it has made is the next command's, whoever calls that.

    A lower priority, fewer processors or a limit on files would be those of somebody else's workload.
    """
    from resource import RLIM_INFINITY, RLIMIT_AS, RLIMIT_FSIZE, getrlimit

    plain = os.sched_getscheduler(0) == os.SCHED_OTHER and os.getpriority(os.PRIO_PROCESS, 0) == 0
    limited = any(getrlimit(limit)[0] != RLIM_INFINITY for limit in (RLIMIT_AS, RLIMIT_FSIZE))
    return plain and not limited and os.sched_getaffinity(0) == os.sched_getaffinity(1)


def machine_of(config: Config, request: Request, progress: Callable[[str], None]) -> tuple[Machine, str] | None:
    """Return the machine that a request wants and its template's name.

    None under KVM, which translates nothing, unless a pool is wanted.
    """
    from twinhull.runtime import template, vm

    ready = vm.prepare(config, progress)
    if ready.accelerator.accelerator != "tcg" and not has_pool(config):
        return None
    machine = vm.machine_for(config, ready, memory_bytes=request.memory_bytes)
    return machine, template.template_key(ready.guest, machine)


def spawn_maker(config: Config, machine: Machine, lock: int) -> tuple[int, ...]:
    """Start a process that makes the next guest and holds the lock meanwhile; return its number.

    Without effect where Python does not know its own program.
    """
    import sys

    from twinhull.host.spawn import spawn

    if not sys.executable:
        return ()
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    argv = [
        "twinhull-spare",
        "-IS",
        "-c",
        MAKER,
        package,
        jsontext.dumps([config._replace(trace="")._asdict(), list(machine)]),
    ]
    environment = {"PATH": os.environ.get("PATH", os.defpath)}  # nothing of ours reaches the next workload's shim
    return (spawn(sys.executable, argv, {LOCK_FD: lock}, environment),)


def sweep(home: Home) -> None:
    """Clear away what has neither shim nor maker."""
    root = f"{home.config.state}/spares"
    try:
        names = os.listdir(root)
    except FileNotFoundError:
        return
    for name in names:
        if not locks.is_held(f"{root}/{name}/alive"):
            clear(home, f"{root}/{name}", young=name[0] == ".")


def clear(home: Home, directory: str, *, young: bool) -> None:
    """Undo and remove a guest without a shim, unless its maker or another command is at work on it.

    Args:
        young: its maker has not locked it yet, unless that is long ago.
    """
    from twinhull.runtime import jailed

    try:
        if young and time.time() - os.stat(directory).st_mtime < UNFINISHED_S:
            return
        with locks.locked(f"{directory}/lock", wait=False):
            jailed.clear(home.config.launcher, directory)
    except (Conflict, FileNotFoundError):
        pass


def await_one(config: Config) -> bool:
    """Return once nothing is being made: True if a guest waits, or a start goes on from an imprint."""
    from twinhull.runtime import holder, spare

    deadline = time.monotonic() + MAKING_S
    while spare.is_being_made(config) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    root = f"{config.state}/spares"
    names = os.listdir(root) if os.path.isdir(root) else []
    imprinted = any(holder.stock(config, key)[1] for key in holder.keys(config))
    return imprinted or any(locks.is_held(f"{root}/{name}/alive") for name in names)


def await_made(config: Config) -> None:
    """Return once as many wait as are wanted, or as can be made."""
    from twinhull.runtime import spare

    while spare.is_being_made(config):
        time.sleep(POLL_S)


def await_none(config: Config) -> None:
    """Return once what waited is undone, or after a while."""
    deadline = time.monotonic() + MAKING_S
    root = f"{config.state}/spares"
    while time.monotonic() < deadline:
        names = os.listdir(root) if os.path.isdir(root) else []
        if not any(locks.is_held(f"{root}/{name}/alive") for name in names):
            return
        time.sleep(POLL_S)


def let_go(config: Config) -> None:
    """Undo every guest that waits."""
    from twinhull.runtime import holder, spare

    await_one(config)
    for key in holder.keys(config):
        while found := spare.take(config, key):
            spare.release(found)
            dismiss(config, found)


# --- the maker, a process of its own


def main(text: str) -> None:
    """Make a guest in waiting and leave it to the holder; without one nobody is worse off.

    Our maker left a lock open, which is held until we end.
    """
    from twinhull.plan.qemu import Machine

    os.setsid()
    os.chdir("/")
    os.set_inheritable(LOCK_FD, False)
    os.closerange(LOCK_FD + 1, os.sysconf("SC_OPEN_MAX"))  # what the command's caller left open is waited for by others
    time.sleep(PATIENCE_S)
    values, shape = jsontext.loads(text)
    try:
        make(restored(values), Machine(*shape))
    except (TwinhullError, OSError):
        pass  # the next start asks again


def make(config: Config, machine: Machine) -> None:
    """Make as many as are wanted for a machine whose template and holder are there."""
    from twinhull.runtime import holder, template, vm

    ready = vm.prepare(config)
    saved = template.find_template(config, ready.guest, machine)
    if saved and machine.accelerator == "tcg" and not holder.stock(config, saved.key)[1]:
        make_imprint(config, ready, machine, saved)
    while saved and is_wanted(config, saved.key):
        if not make_one(config, ready, machine, saved):
            return  # a holder that has ended had its reasons


def is_wanted(config: Config, key: str) -> bool:
    """True if one more guest shall wait for a start from this template; those beyond the budget are let go of."""
    from twinhull.engine import pools
    from twinhull.runtime import holder

    waiting, imprinted = holder.stock(config, key)
    most = pools.allowed(config, least(imprinted=imprinted))
    if waiting > most:
        holder.want(config, key, most)
    return waiting < most


def make_imprint(config: Config, ready: Prerequisites, machine: Machine, saved: Template) -> None:
    """Have a guest rehearse, and give its process to the holder; where that cannot be, write down why."""
    from twinhull.runtime import holder, rehearsal

    memory = holder.lent_memory(config, saved.key)
    if not memory or os.path.exists(refusal_path(config, saved.key)):
        return
    try:
        with new_place(config) as place:
            imprint = rehearsal.make_imprint(config, ready, machine, (saved, memory), place, play(config))
        holder.keep_imprint(config, saved.key, imprint)
        os.close(imprint)
        files.remove_tree(place[1])
    except HostUnfit as error:
        files.publish(refusal_path(config, saved.key), f"{error.message}\n".encode())


def make_one(config: Config, ready: Prerequisites, machine: Machine, saved: Template) -> bool:
    """Make a guest that waits, and give it to the template's holder; False if that did not take it."""
    from twinhull.runtime import holder, rehearsal, spare

    lent = holder.lent_imprint(config, saved.key)
    memory = lent[0] if lent else holder.lent_memory(config, saved.key)
    if not memory:
        return False
    with new_place(config) as place:
        if lent:
            made = rehearsal.copy_imprint(config, ready, machine, lent, place)
        else:
            made = rehearsal.make_spare(config, ready, machine, (saved, memory), place, play(config))
    for fd in lent or (memory,):
        os.close(fd)
    kept = spare.give(config, saved.key, made)
    if not kept:
        dismiss(config, made)
    return kept


@contextmanager
def new_place(config: Config) -> Iterator[tuple[str, str]]:
    """Give an identity, and a directory made for it, which is gone again if the block raises."""
    from twinhull.runtime import spare

    identity = os.urandom(32).hex()
    directory, early = (spare.directory_of(config, name) for name in (identity, f".{identity}"))
    for path in (early, f"{early}/upper", f"{early}/work"):
        files.make_directory(path, 0o755 if path.endswith("/upper") else 0o700)
    with locks.locked(f"{early}/lock"):
        os.rename(early, directory)
        try:
            yield identity, directory
        except BaseException:
            files.remove_tree(directory)
            raise


def dismiss(config: Config, spare: Spare) -> None:
    """Undo a guest that nobody keeps."""
    from twinhull.runtime import jailed
    from twinhull.runtime.container import launcher_path

    jailed.end(jailed.Started(spare.conversation, 0, spare.directory, launcher_path(config.launcher)))
    files.remove_tree(spare.directory)


def play(config: Config) -> Rehearsal:
    """What is rehearsed: the plan of a workload as most are, and its disk."""
    from twinhull.plan.guest import rehearsal
    from twinhull.runtime.rehearsal import Rehearsal, image_disk

    return Rehearsal(image_disk(config), rehearsal(rehearsed_plan(config), os.urandom(SEED_BYTES), time.time_ns()))


def rehearsed_plan(config: Config) -> Plan:
    """The plan of a workload on a network of its own, whose address is taken back before it runs."""
    from twinhull.host.facts import read_facts
    from twinhull.host.seccomp import default_filter
    from twinhull.network.endpoint import guest_messages
    from twinhull.oci.spec import Identity, make_spec
    from twinhull.plan.compile import STDIN_NONE, Network, Root, compile_plan
    from twinhull.plan.netlink import GUEST_INDEX, remove_address
    from twinhull.plan.ops import Op
    from twinhull.plan.qemu import GUEST_MAC

    facts, request = read_facts(), Request("", isolation="vm")
    image = Image("", "", "", jsontext.dumps(IMAGE_CONFIG), (), 0)
    endpoint = ENDPOINT._replace(mac=GUEST_MAC)
    forget = remove_address(GUEST_INDEX, endpoint.address, endpoint.prefix)
    return compile_plan(
        make_spec(image, request, Identity("0", HOST_NAME), cpu_count=facts.cpu_count),
        facts,
        Root("", "image", "tmpfs", "", volatile=True),
        Network(inside=(Op("network", guest_messages(endpoint)), Op("network", (forget, 1)))),
        place="guest",
        seccomp=default_filter(config.state),
        stdin=STDIN_NONE,
        files=tuple((f"/etc/{name}", b"\n") for name in ("hostname", "hosts", "resolv.conf")),
    )
