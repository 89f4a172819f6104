"""The maker: a process of its own that makes what the next starts from a template want (engine/spares.py).

Promise: what it cannot make leaves nobody worse off; what it leaves when it is killed, the next command
clears away.
"""

from __future__ import annotations

import os
import time

from twinhull import jsontext
from twinhull.config import Config, restored
from twinhull.engine import spares
from twinhull.errors import HostUnfit, TwinhullError
from twinhull.host import files, locks
from twinhull.model import Endpoint, Image, Request
from twinhull.scopes import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from twinhull.plan.ops import Plan
    from twinhull.plan.qemu import Machine
    from twinhull.runtime.rehearsal import Rehearsal
    from twinhull.runtime.template import Template
    from twinhull.runtime.vm import Prerequisites

# The start that asked for it goes first: the maker has the processor to itself a little later.
PATIENCE_S = 0.2
SEED_BYTES = 48
HOST_NAME = "rehearsal"
# Addresses that are nobody's (RFC 5737).
ENDPOINT = Endpoint(
    network="", bridge="", bridge_index=0, address="192.0.2.2", prefix=24, gateway="192.0.2.1", mac="", host_link=""
)
IMAGE_CONFIG = {"config": {"Env": ["PATH=/bin"], "Cmd": ["sh", "-c", "echo rehearsed"]}}


def main(text: str) -> None:
    """Make a guest in waiting and leave it to the holder; without one nobody is worse off.

    Our maker left a lock open, which is held until we end.
    """
    from twinhull.plan.qemu import Machine

    os.setsid()
    os.chdir("/")
    os.set_inheritable(spares.LOCK_FD, False)
    # What the command's caller left open is waited for by others.
    os.closerange(spares.LOCK_FD + 1, os.sysconf("SC_OPEN_MAX"))
    time.sleep(PATIENCE_S)
    values, shape = jsontext.loads(text)
    try:
        make(restored(values), Machine(*shape))
    except (TwinhullError, OSError):
        pass  # the next start asks again


def make(config: Config, machine: Machine) -> None:
    """Make as many as are wanted for a machine whose template and holder are there."""
    from twinhull.runtime import holder, pool, template, vm

    ready = vm.prepare(config)
    saved = template.find_template(config, ready.guest, machine)
    if saved and machine.accelerator == "tcg" and not holder.stock(config, saved.key)[1]:
        make_imprint(config, ready, machine, saved)
    while saved and pool.serves(machine._asdict()) and is_wanted(config, saved.key):
        if not make_one(config, ready, machine, saved):
            return  # a holder that has ended had its reasons


def is_wanted(config: Config, key: str) -> bool:
    """True if one more guest shall wait for a start from this template; those beyond the budget are let go of."""
    from twinhull.engine import pools
    from twinhull.runtime import holder

    waiting, imprinted = holder.stock(config, key)
    most = pools.allowed(config, spares.least(imprinted=imprinted))
    if waiting > most:
        holder.want(config, key, most)
    return waiting < most


def make_imprint(config: Config, ready: Prerequisites, machine: Machine, saved: Template) -> None:
    """Have a guest rehearse, and give its process to the holder; where that cannot be, write down why."""
    from twinhull.runtime import holder, rehearsal

    memory = holder.lent_memory(config, saved.key)
    if not memory or os.path.exists(spares.refusal_path(config, saved.key)):
        return
    played = play(config)
    try:
        with new_place(config) as place:
            imprint = rehearsal.make_imprint(config, ready, machine, (saved, memory), place, played)
            files.remove_tree(place[1])
        with new_place(config) as place:
            spares.dismiss(config, rehearsal.try_imprint(config, ready, machine, (memory, imprint), place))
        holder.keep_imprint(config, saved.key, imprint)
        os.close(imprint)
    except HostUnfit as error:
        files.publish(spares.refusal_path(config, saved.key), f"{error.message}\n".encode())


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
        spares.dismiss(config, made)
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
