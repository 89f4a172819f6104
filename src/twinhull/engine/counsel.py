"""Advice on a request: what is known of it, of its image and of this machine, put to the rules.

Promise: nothing is fetched, started or written, and no guest runs unless a proof is asked for.
"""

from __future__ import annotations

import os

from twinhull.advice import advise, measurements
from twinhull.advice.command import command_line
from twinhull.advice.facts import needs_of, packed_of, unknown_image
from twinhull.advice.question import LINUX, Cost, Needs, Packed, Question, Room, Wishes
from twinhull.advice.reading import system
from twinhull.engine import connectivity, isolation, names
from twinhull.engine.abilities import read_abilities
from twinhull.engine.measurements import read
from twinhull.engine.room import Weight, limits, read_room
from twinhull.engine.state import Home
from twinhull.errors import HostUnfit
from twinhull.model import Image, Request
from twinhull.oci import platform
from twinhull.oci.spec import Identity, make_spec
from twinhull.store import embedded, images
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.advice.advise import Advice
    from twinhull.advice.question import Abilities, Limit, Measured

NOTHING = Needs()


class Counsel(NamedTuple):
    """The question, its answer, and what to type.

    Attributes:
        command: complete and quoted; "" where the answer is to stop.
        not_served: what the workload asks for that `run` has no flag for.
    """

    question: Question
    advice: Advice
    command: str
    not_served: tuple[str, ...]


def counsel(
    home: Home,
    request: Request,
    wishes: Wishes,
    *,
    asks: Needs = NOTHING,
    prove: bool = False,
    here: Abilities | None = None,
    extra: tuple[str, ...] = (),
) -> Counsel:
    """Put everything that is known to the rules.

    Args:
        request: as for `run`; its isolation does not count.
        asks: what else the workload asks for, that no request of ours can say.
        prove: run a guest under KVM if none has run since the boot.
        here: what this machine can do, if somebody has looked already.
        extra: flags for the command that are no part of a request.

    Raises:
        InvalidRequest: there is no such platform, or the image's name is none.
        NotFound: it is to have the volumes of a workload that there is not.
    """
    check_platform(request.platform)
    here = here or read_abilities(home, modules=wishes.kernel_modules, prove=prove)
    image = find(home, request) if request.image else None
    packed = packed_of(image, request) if image else unknown_image(request.platform)
    found = measurements.pick(
        read(home.config),
        digest=image.digest if image else "",
        accelerator=here.accelerator,
        kernel=os.uname().release,
    )
    needs = joined(isolation.needs(home, with_inherited(home, request)), asks)
    workload = request.image or wishes.system
    packed = packed if request.image else Packed(known=True)
    question = Question(workload, wishes, needs, packed, here, found, room_of(home, request, found))
    advice = advise.advise(question)
    return Counsel(question, advice, command_for(question, advice, request, extra), not_served(asks))


def with_inherited(home: Home, request: Request) -> Request:
    """The request with the volumes that it takes from other workloads."""
    if not request.volumes_from:
        return request
    from twinhull.engine import volumes

    return volumes.inherited(home, request)


def require_runnable(home: Home, request: Request, advice: Advice) -> None:
    """Refuse a workload that `run` refuses before it starts anything, whatever is advised.

    Raises:
        InvalidRequest: what it asks for contradicts itself, or means nothing in its place.
        NotFound: it names a network that there is not.
    """
    if advice.choice == "machine":
        return
    from twinhull.engine import policy
    from twinhull.oci.options import check_sysctl

    as_chosen = request._replace(isolation="vm" if advice.choice == "vm" else "container")
    connectivity.check(as_chosen)
    connectivity.require(home, as_chosen)
    policy.check(as_chosen)
    if advice.choice == "stop":  # what a container cannot have may be why
        return
    for key, _ in as_chosen.sysctls:
        check_sysctl(key, as_chosen)
    if request.image and (image := find(home, request)):
        make_spec(image, as_chosen, Identity("0", "0"))


def room_of(home: Home, request: Request, found: Measured) -> Room:
    """The limits that instances of each choice draw on; at least a process each where none were counted.

    Memory and the ports of the usual bridge have rules of their own, that need no measurement.
    """
    left = read_room(home, [place.network for place in request.networks])
    if needs_of(request).bridge:
        left = left._replace(ports=None)
    left = left._replace(memory_bytes=None)

    def of(cost: Cost) -> tuple[Limit, ...]:
        weight = Weight(cost.memory_bytes, cost.disk_bytes, cost.idle_percent, cost.tasks or 1.0, cost.files)
        return tuple(limits(weight, left))

    machine = Cost(*(own or of_vm for own, of_vm in zip(found.machine, found.vm, strict=True)))  # at least a VM's
    return Room(of(found.container), of(found.vm), of(machine))


def check_platform(text: str) -> None:
    """Refuse what is no platform; one of another operating system is, for a machine.

    Raises:
        InvalidRequest: it is none.
    """
    if text and platform.named(text).os == LINUX:
        platform.parse(text)


def find(home: Home, request: Request) -> Image | None:
    """The image, if it is here; the embedded one is known before it is made.

    None for another operating system: what is here is for Linux.
    """
    if request.platform and platform.named(request.platform).os != LINUX:
        return None
    found = images.find(
        home.db, request.image, platform=request.platform, default_registry=home.config.default_registry
    )
    if found is None and not request.platform and embedded.is_meant(home.db, request.image):
        try:
            return embedded.describe()
        except HostUnfit:
            return None
    return found


def joined(needs: Needs, asks: Needs) -> Needs:
    """What a request asks for, and what it has no words for."""
    return needs._replace(
        sockets=(*needs.sockets, *asks.sockets),
        doors=(*needs.doors, *asks.doors),
        volumes=needs.volumes + asks.volumes,
        namespaces=(*needs.namespaces, *asks.namespaces),
        privileges=(*needs.privileges, *asks.privileges),
        devices=(*needs.devices, *asks.devices),
    )


def not_served(asks: Needs) -> tuple[str, ...]:
    """What `run` has no flag for."""
    return (*(f"device {name}" for name in asks.devices), *(f"the host's {name}" for name in asks.namespaces))


def command_for(question: Question, advice: Advice, request: Request, extra: tuple[str, ...]) -> str:
    """What to type: run, or what makes a machine."""
    if advice.choice == "machine":
        disk = "--debian" if system(question) == LINUX else "--disk FILE.qcow2"
        return f"twinhull machine create {machine_name(question, request)} {disk}"
    if advice.choice == "stop" or not request.image:
        return ""
    wishes = question.wishes
    asked = request._replace(untrusted=wishes.untrusted, accept_weak_wall=wishes.accept_weak_wall)
    return command_line(asked, isolation=advice.choice, extra=extra)


def machine_name(question: Question, request: Request) -> str:
    """What a machine is called in the command: as the workload, else after its image, else after its system."""
    image = request.image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    return next(filter(names.is_valid, (request.name, image, system(question))), "machine")
