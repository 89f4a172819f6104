"""The command line that makes a request: `run` reads it back to the same value. Pure."""

from __future__ import annotations

from shlex import join

from twinhull.model import Health, Port, Request, Volume
from twinhull.plan.seccomp import UNCONFINED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from twinhull.model import IsolationChoice


# Fields whose flags have another name.
FLAGS = {"cpuset": "cpuset-cpus", "mac": "mac-address"}


def command_line(request: Request, *, isolation: IsolationChoice, extra: tuple[str, ...] = ()) -> str:
    """Return `twinhull run …`, quoted for a shell.

    Args:
        isolation: written even where it is the default, for the configuration may have another.
        extra: flags that are no part of a request, written first.
    """
    return join(["twinhull", "run", *extra, *flags(request, isolation), request.image, *words(request)])


def flags(request: Request, isolation: IsolationChoice) -> Iterator[str]:
    """Every flag that is not at its default. Long ones with "=": a value may begin with a dash."""
    yield f"--isolation={isolation}"
    for name in ("untrusted", "accept_weak_wall", "tty", "interactive", "privileged", "init"):
        if getattr(request, name):
            yield f"--{name.replace('_', '-')}"
    if request.remove:
        yield "--rm"
    if request.readonly:
        yield "--read-only"
    for name in (
        "name",
        "workdir",
        "user",
        "hostname",
        "platform",
        "stop_signal",
        "cpuset",
        "domainname",
        "mac",
        "runtime",
    ):
        if value := getattr(request, name):
            yield f"--{FLAGS.get(name, name).replace('_', '-')}={value}"
    if request.entrypoint is not None:
        yield f"--entrypoint={''.join(request.entrypoint[:1])}"
    yield from networks(request)
    if request.user_namespace:
        yield "--userns=private"
    if request.boots and isolation != "container":  # which has no kernel to boot
        yield "--no-template"
    yield from limits(request)
    yield from (f"--cap-add={name}" for name in request.cap_add)
    yield from (f"--cap-drop={name}" for name in request.cap_drop)
    yield from security_options(request)
    yield from rarer(request)
    yield from (f"--volume={volume_text(volume)}" for volume in request.volumes if not volume.anonymous)
    yield from (f"--volumes-from={name}" for name in request.volumes_from)
    yield from (f"--publish={port_text(port)}" for port in request.ports)
    yield from (f"--expose={port}" for port in request.expose)
    if request.publish_all:
        yield "--publish-all"
    yield from (f"--env={variable}" for variable in request.environment)
    yield from (f"--label={key}={value}" for key, value in request.labels)


def networks(request: Request) -> Iterator[str]:
    """Each network, with what was asked for on it."""
    for place in request.attachments:
        asked = (("ip", place.address), *(("alias", alias) for alias in place.aliases), ("ip6", place.address6))
        words = "".join(f",{key}={value}" for key, value in asked if value)
        yield f"--network={'name=' if words else ''}{place.network}{words}"
    if not request.attachments and request.network != "bridge":
        yield f"--network={request.network}"


def security_options(request: Request) -> Iterator[str]:
    """Each --security-opt but a profile, whose file the request has left behind."""
    if request.seccomp == UNCONFINED:
        yield f"--security-opt=seccomp={UNCONFINED}"
    if request.no_new_privileges:
        yield "--security-opt=no-new-privileges"
    if request.unmasked:
        yield "--security-opt=systempaths=unconfined"


def limits(request: Request) -> Iterator[str]:
    """The limits, in bytes and processors."""
    if request.memory_bytes:
        yield f"--memory={request.memory_bytes}"
    if request.cpus:
        yield f"--cpus={request.cpus:.10g}"
    if request.pids_limit:
        yield f"--pids-limit={request.pids_limit}"
    if request.swap_bytes:
        yield f"--memory-swap={request.swap_bytes}"
    if request.cpu_shares:
        yield f"--cpu-shares={request.cpu_shares}"


def rarer(request: Request) -> Iterator[str]:
    """What twinhull.cli.options reads, but for limits."""
    yield from (f"--ulimit={name}={soft}:{hard}" for name, soft, hard in request.ulimits)
    yield from (f"--sysctl={key}={value}" for key, value in request.sysctls)
    yield from (f"--tmpfs={target}{':' if options else ''}{options}" for target, options in request.tmpfs)
    yield from (f"--device={':'.join(device)}" for device in request.devices)
    yield from (f"--add-host={name}:{address}" for name, address in request.hosts)
    if request.shm_bytes:
        yield f"--shm-size={request.shm_bytes}"
    if request.umask is not None:
        yield f"--umask={request.umask:o}"
    if request.restart:
        yield f"--restart={request.restart}"
    yield from health(request.health)
    for flag, value in (("oom-score-adj", request.oom_score_adj), ("stop-timeout", request.stop_timeout)):
        if value is not None:
            yield f"--{flag}={value}"
    lists = (
        ("group-add", request.groups),
        ("dns", request.dns),
        ("dns-search", request.dns_search),
        ("dns-option", request.dns_options),
    )
    yield from (f"--{flag}={value}" for flag, values in lists for value in values)


def health(check: Health) -> Iterator[str]:
    """The check and its times."""
    if check.test:
        yield "--no-healthcheck" if check.test == ("NONE",) else f"--health-cmd={check.test[1]}"
    for flag in ("interval", "timeout", "start_period", "start_interval"):
        if value := getattr(check, f"{flag}_ms"):
            yield f"--health-{flag.replace('_', '-')}={value}ms"
    if check.retries:
        yield f"--health-retries={check.retries}"


def words(request: Request) -> tuple[str, ...]:
    """What follows the image: of an entrypoint of several words all but the first, and the command."""
    return (*(request.entrypoint or ())[1:], *request.command)


def volume_text(volume: Volume) -> str:
    """SRC:DST, with :ro and :nocopy; DST alone for a volume without a name."""
    words = [word for word, wanted in (("ro", volume.readonly), ("nocopy", volume.nocopy)) if wanted]
    if not volume.source:
        return volume.target
    return ":".join((volume.source, volume.target, *([",".join(words)] if words else [])))


def port_text(port: Port) -> str:
    """[IP:][HOST:]PORT[/udp]."""
    address = f"[{port.address}]" if ":" in port.address else port.address
    offered = f"{port.host_port or ''}:" if address or port.host_port else ""
    protocol = "" if port.protocol == "tcp" else f"/{port.protocol}"
    return f"{address}{':' if address else ''}{offered}{port.port}{protocol}"
