"""`twinhull advise`: container, virtual machine or machine, and why.

Exit codes: 0 with an answer, 1 where the answer is to stop, 125 where the question cannot be put.
"""

from __future__ import annotations

import os

from twinhull.advice import report
from twinhull.advice.question import Wishes
from twinhull.cli.arguments import add_format, command_behind_image, size_bytes
from twinhull.cli.parser import REMAINDER
from twinhull.cli.progress import prepared
from twinhull.cli.render import document
from twinhull.cli.run import configure_request, request_of
from twinhull.engine import isolation, names
from twinhull.engine.counsel import counsel, require_runnable
from twinhull.errors import InvalidRequest
from twinhull.plan.seccomp import UNCONFINED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config
    from twinhull.model import Request

STOPPED = 1
UNITS_S = {"ms": 1e-3, "s": 1.0, "m": 60.0}


def configure_advise(parser: Parser) -> None:
    """Flags of advise: what the user says of the workload, what it would ask for, and the flags of run."""
    add = parser.add_argument
    add(
        "--compose",
        default="",
        metavar="FILE",
        help="every service of a compose file, - for standard input",
    )
    add("--instances", type=count, default=1, metavar="N", help="so many of it at once")
    add(
        "--start-within", type=duration_s, default=0.0, metavar="TIME", help="the longest start that will do: 200ms, 2s"
    )
    add("--memory-budget", type=budget_bytes, default=0, metavar="M", help="what all instances may take together: 2g")
    add("--needs-kernel-module", action="append", default=[], metavar="NAME", help="a module its kernel must have")
    add("--own-kernel", action="store_true", help="it needs a kernel of another release or with other settings")
    add(
        "--os",
        type=operating_system,
        default="linux",
        metavar="NAME",
        help="the operating system it is for: windows, freebsd",
    )
    add("--probe", action="store_true", help="run a guest to see whether KVM works, if none has run since the boot")
    add_format(parser, "text")
    configure_request(parser)
    add("image", nargs="?", default="", metavar="IMAGE")
    add("command", nargs=REMAINDER, metavar="CMD")


def run_advise(arguments: Arguments, config: Config) -> int:
    """Answer, and say with the exit code whether the answer is to stop.

    Raises:
        InvalidRequest: neither an image nor a file nor another operating system, a flag behind the image, or what run
            would refuse.
    """
    if arguments.compose:
        from twinhull.cli.compose import advise_compose

        return advise_compose(arguments, config)
    if not arguments.image and arguments.os == "linux":
        raise InvalidRequest("advise: name an image, or a file with --compose", hint="twinhull advise busybox")
    # Variables stay as they were written: what -e NAME passes on does not belong on a screen.
    words = command_behind_image("advise", arguments.command)
    request = request_of(arguments, config)._replace(command=words)
    check_paths(request)
    if request.name and not names.is_valid(request.name):
        raise InvalidRequest(f"invalid name {request.name!r}", hint=names.RULE)
    request = request._replace(environment=tuple(arguments.env))
    isolation.check(request)
    extra = tuple(f"--env-file={path}" for path in arguments.env_file)
    extra += (f"--pull={arguments.pull}",) if arguments.pull != "missing" else ()
    profiles = (f"--security-opt={word}" for word in arguments.security_opt if word.startswith("seccomp"))
    extra += tuple(profiles) if request.seccomp not in ("", UNCONFINED) else ()
    with prepared(config) as engine:
        found = counsel(engine.home, request, wishes_of(arguments), prove=arguments.probe, extra=extra)
        require_runnable(engine.home, request, found.advice)
    show = report.answer if arguments.format == "json" else report.render
    shown = show(found.question, found.advice, found.command, found.not_served)
    print(document(shown) if arguments.format == "json" else shown)
    return STOPPED if found.advice.choice == "stop" else 0


def check_paths(request: Request) -> None:
    """Refuse a device that is not there: a run would.

    Raises:
        InvalidRequest: it is not.
    """
    for device in request.devices:
        if not os.path.exists(device.source):
            raise InvalidRequest(
                f"--device {device.source}: no such file or directory", hint="a node that is there: /dev/kvm"
            )


def module(text: str) -> str:
    """The name of a module of the kernel.

    Raises:
        InvalidRequest: it can be none.
    """
    if not text.replace("-", "").replace("_", "").isalnum():
        raise InvalidRequest(f"--needs-kernel-module {text!r}: no name of a module", hint="wireguard")
    return text


def wishes_of(arguments: Arguments) -> Wishes:
    """What the user says of the workload."""
    return Wishes(
        untrusted=arguments.untrusted,
        accept_weak_wall=arguments.accept_weak_wall,
        instances=arguments.instances,
        start_within_s=arguments.start_within,
        memory_budget_bytes=arguments.memory_budget,
        kernel_modules=tuple(map(module, arguments.needs_kernel_module)),
        own_kernel=arguments.own_kernel,
        system=arguments.os,
        isolation=named(arguments),
    )


def named(arguments: Arguments) -> Literal["container", "vm", ""]:
    """The isolation that the flags name."""
    if arguments.vm or arguments.isolation == "vm":
        return "vm"
    return "container" if arguments.isolation == "container" else ""


def operating_system(text: str) -> str:
    """A name of one word, in small letters.

    Raises:
        InvalidRequest: no such word.
    """
    if not text.isascii() or not text.isalnum():
        raise InvalidRequest(f"--os {text!r}: no name of an operating system", hint="--os windows")
    return text.lower()


def count(text: str) -> int:
    """A number of instances.

    Raises:
        InvalidRequest: none, or less than one.
    """
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) < 1 << 31:
        raise InvalidRequest(f"--instances {text}: a number from 1 on", hint="--instances 20")
    return int(text)


def budget_bytes(text: str) -> int:
    """An amount of memory.

    Raises:
        InvalidRequest: no size, or nothing.
    """
    if not (size := size_bytes(text)):
        raise InvalidRequest(f"--memory-budget {text}: nothing fits into nothing", hint="--memory-budget 2g")
    return size


def duration_s(text: str) -> float:
    """ "200ms", "1.5s" or "2m" in seconds.

    Raises:
        InvalidRequest: not a positive time, or one without a unit.
    """
    number = text.rstrip("ms")
    try:
        value = float(number) * UNITS_S[text[len(number) :]]
    except (KeyError, ValueError):
        value = -1.0
    if not 0 < value < 1e9:
        raise InvalidRequest(f"invalid time {text!r}", hint="a number with ms, s or m: 200ms")
    return value
