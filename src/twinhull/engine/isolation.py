"""Which isolation a request gets: `auto` decided by the rules, and code that is not trusted behind a wall or nowhere.

Promise: it fails closed. What is returned for an untrusted request is a virtual machine under KVM, or what
the user has accepted by name; anything else is an error before anything is fetched or started.
"""

from __future__ import annotations

import os

from twinhull.advice.advise import advise
from twinhull.advice.facts import needs_of, packed_of, unknown_image
from twinhull.advice.question import Abilities, Question, Wishes
from twinhull.engine import abilities
from twinhull.engine.foreign import guests
from twinhull.engine.state import Home
from twinhull.errors import HostUnfit, InvalidRequest, NoWall
from twinhull.host import facts
from twinhull.model import Image, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.advice.advise import Advice
    from twinhull.advice.question import Needs

S_IFMT, S_IFSOCK = 0o170000, 0o140000  # inode(7); stat would be one more import
ACCEPT = "--accept-weak-wall runs it all the same, and inspect and ps will say so"


def check(request: Request) -> None:
    """Refuse what contradicts itself.

    Raises:
        InvalidRequest: a container for code that is not trusted, or a wall accepted for code that is.
    """
    if request.walled and request.isolation == "container":
        raise InvalidRequest(
            "untrusted code and isolation container contradict each other: a container shares the host's kernel",
            hint="--isolation auto finds a wall or stops",
        )
    if request.accept_weak_wall and not request.untrusted:
        raise InvalidRequest("a weak wall is accepted for nothing: the code is trusted", hint="add --untrusted")


def settle(home: Home, request: Request, image: Image | None, *, prove: bool = True) -> Request:
    """Return the request with an isolation that is none of `auto`, for this image.

    Args:
        image: None while it is not here; whoever decides without asks again with it.
        prove: run a guest under KVM where that is what counts and none has run since the boot.

    Raises:
        InvalidRequest: it contradicts itself.
        NoWall: it is not trusted, and nothing here that the user would accept is a wall for it.
        HostUnfit: nothing here runs it.
    """
    check(request)
    if request.isolation != "auto" and not request.walled:
        return request  # what it cannot do there, the runtime says
    if request.volumes_from:
        from twinhull.engine import volumes

        request = volumes.inherited(home, request)
    advice = advise(ask(home, request, image, prove=prove))
    if advice.choice == "vm" or (advice.choice == "container" and request.isolation == "auto"):
        return request._replace(isolation=advice.choice)
    raise refusal(request, advice)


def warning(request: Request) -> str:
    """One line on what the user lets code that is not trusted reach through its wall; "" if there is nothing."""
    bound = [volume for volume in request.volumes if volume.kind == "bind"]
    if not request.accept_weak_wall or not bound:
        return ""
    shown = ", ".join(f"{volume.source}{' (read-only)' if volume.readonly else ''}" for volume in bound)
    paths = "".join(letter if letter.isprintable() else "?" for letter in shown)
    return f"warning: code that is not trusted reaches these paths of the host: {paths}"


def ask(home: Home, request: Request, image: Image | None, *, prove: bool) -> Question:
    """The question of a start: what is known without measuring anything."""
    packed = packed_of(image, request) if image else unknown_image(request.platform)
    own = facts.architecture()
    foreign = packed.architecture not in ("", own)
    here = Abilities(
        architectures=abilities.executed(own) if foreign else (),
        guest_architectures=guests(home.config) if foreign else (),
    )
    if request.untrusted:
        found = abilities.hypervisor(home, prove=prove)
        here = here._replace(accelerator=found.accelerator, reason=found.reason, no_vm=found.gap)
    wishes = Wishes(untrusted=request.untrusted, accept_weak_wall=request.accept_weak_wall)
    return Question(request.image, wishes, needs(home, request), packed, here)


def needs(home: Home, request: Request) -> Needs:
    """What a request asks of the host, links in its paths resolved."""
    paths = (volume for volume in request.volumes if volume.kind == "bind")
    resolved = tuple(volume._replace(source=os.path.realpath(volume.source)) for volume in paths)
    own = [os.path.realpath(path) for path in (home.config.state, home.config.run)]
    sockets = [volume.source for volume in resolved if is_socket(volume.source)]
    return needs_of(request._replace(volumes=resolved), own, sockets)


def is_socket(path: str) -> bool:
    """True for a socket that is there."""
    try:
        return os.stat(path).st_mode & S_IFMT == S_IFSOCK
    except OSError:
        return False


def refusal(request: Request, advice: Advice) -> HostUnfit:
    """Why it does not run, in one line; the rest is told by `advise`."""
    vetoes = [row for row in advice.fired if row.weight == "veto"]
    if not request.walled and advice.choice == "stop":
        return HostUnfit("; ".join(row.sentence for row in vetoes), hint=f"twinhull advise {request.image}")
    no_vm = next(row.sentence for row in vetoes if "vm" in row.excludes)
    if advice.choice == "machine":
        return HostUnfit(f"{no_vm}: it takes a machine", hint="twinhull machine create NAME --disk FILE.qcow2")
    return NoWall(no_vm, hint=ACCEPT)
