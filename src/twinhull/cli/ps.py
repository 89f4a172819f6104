"""ps, inspect: looking at workloads without touching them."""

from __future__ import annotations

import time

from twinhull import jsontext
from twinhull.cli.arguments import add_format
from twinhull.cli.control import show_each
from twinhull.cli.progress import prepared
from twinhull.cli.render import document, duration, table, timestamp
from twinhull.engine import Engine, health, policy
from twinhull.engine.state import Wall, exit_record, wall
from twinhull.errors import NotFound
from twinhull.model import Instance, Port
from twinhull.store.instances import request_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config
    from twinhull.model import Status

SHORT_ID = 12
HEALTH = {"none": "", "starting": " (health: starting)", "healthy": " (healthy)", "unhealthy": " (unhealthy)"}
COMMAND_WIDTH = 24


def configure_ps(parser: Parser) -> None:
    """Flags of ps."""
    parser.add_argument("-a", "--all", action="store_true", help="also those that do not run")
    parser.add_argument("-q", "--quiet", action="store_true", help="only ids")
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="K=V",
        help="ancestor, exited, health, id, isolation, label, name, restart-policy or status",
    )
    parser.add_argument("--no-trunc", action="store_true", help="ids and commands in full")
    add_format(parser)


def run_ps(arguments: Arguments, config: Config) -> int:
    """List workloads."""
    return list_workloads(arguments, config)


def list_workloads(arguments: Arguments, config: Config, isolation: str = "") -> int:
    """Print the workloads of one isolation, or all."""
    engine = prepared(config)
    rows = [row for row in filtered(engine, arguments) if isolation in ("", row[0].isolation)]
    if arguments.format == "json":
        print(document([described(engine, *row) for row in rows]))
        return 0
    width = None if arguments.no_trunc else SHORT_ID
    if arguments.quiet:
        for instance, _ in rows:
            print(instance.id[:width])
        return 0
    header = ("ID", "IMAGE", "COMMAND", "ISOLATION", "WALL", "CREATED", "STATUS", "PORTS", "NAME")
    print(table(header, [cells(engine, instance, state, width) for instance, state in rows]))
    return 0


def filtered(engine: Engine, arguments: Arguments) -> list[tuple[Instance, Status]]:
    """The rows that are asked for; without --filter, nothing is imported."""
    if not arguments.filter:
        return engine.ps(everything=arguments.all)
    from twinhull.cli.filters import choose

    return choose(engine, arguments.filter, everything=arguments.all)


def cells(engine: Engine, instance: Instance, state: Status, width: int | None) -> tuple[str, ...]:
    """One line of ps."""
    command = " ".join(instance.command)
    if width and len(command) > COMMAND_WIDTH:
        command = command[: COMMAND_WIDTH - 1] + "…"
    return (
        instance.id[:width],
        instance.image,
        printable(command),
        instance.isolation,
        wall_of(engine, instance).short,
        duration(time.time() - instance.created) + " ago",
        state_text(engine, instance, state),
        ", ".join(map(port_text, instance.ports)),
        instance.name,
    )


def wall_of(engine: Engine, instance: Instance) -> Wall:
    """What keeps a workload from the host, by what its start has recorded."""
    return wall(instance, request_from(instance.request), accelerator_of(engine, instance))


def accelerator_of(engine: Engine, instance: Instance) -> str:
    """What its QEMU runs or ran under; a start by an earlier version did not record it, but what runs shows it."""
    if instance.accelerator or instance.isolation == "container":
        return instance.accelerator
    from twinhull.host import memory, stack

    supervisor = memory.holder(f"{engine.home.directory(instance.id)}/alive")
    return stack.accelerator_of(stack.monitor_pid(supervisor)) if supervisor else ""


def printable(text: str) -> str:
    """On one line and without terminal escapes: an image wrote it."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def state_text(engine: Engine, instance: Instance, state: Status) -> str:
    """As Docker says it."""
    now = time.time()
    if state in ("running", "paused") and not instance.started:
        return "starting"
    if state in ("running", "paused"):
        remark = " (Paused)" if state == "paused" else HEALTH[health.read(engine.home.directory(instance.id)).status]
        return f"up {duration(now - instance.started)}{remark}"
    record = exit_record(engine.home, instance.id)
    if record is None:
        return state
    word = "restarting" if state == "restarting" else "exited"
    return f"{word} ({record.code}) {duration(now - record.finished)} ago"


def port_text(port: Port) -> str:
    """0.0.0.0:8080->80/tcp."""
    return f"{port.address}:{port.host_port}->{port.port}/{port.protocol}"


def described(engine: Engine, instance: Instance, state: Status) -> dict[str, Any]:
    """A workload for programs."""
    record, kept = exit_record(engine.home, instance.id), wall_of(engine, instance)
    request = jsontext.loads(instance.request)
    return {
        "id": instance.id,
        "name": instance.name,
        "image": instance.image,
        "image_digest": instance.image_digest,
        "command": list(instance.command),
        "isolation": instance.isolation,
        "accelerator": accelerator_of(engine, instance) or None,
        "wall": kept.text,
        "wall_promised_by": kept.promised_by,
        "status": state,
        "created": timestamp(instance.created),
        "started": timestamp(instance.started) if instance.started else None,
        "finished": timestamp(record.finished) if record else None,
        "exit_code": record.code if record else None,
        "oom_killed": record.oom if record else False,
        "health": health_of(engine, instance),
        "restart": policy.described(engine.home.directory(instance.id), request.get("restart", "")),
        "ports": [port._asdict() for port in instance.ports],
        "network": instance.endpoint._asdict() if instance.endpoint else None,
        "networks": [place._asdict() for place in instance.endpoints],
        "request": request,
    }


def health_of(engine: Engine, instance: Instance) -> dict[str, Any] | None:
    """What its health check has found, None without one."""
    found = health.read(engine.home.directory(instance.id))
    if found == health.NONE:
        return None
    checks = [
        {"start": timestamp(check.began), "end": timestamp(check.ended), "code": check.code, "output": check.output}
        for check in found.checks
    ]
    return {"status": found.status, "failing_streak": found.streak, "log": checks}


def configure_inspect(parser: Parser) -> None:
    """Flags of inspect."""
    add_format(parser, "text")
    parser.add_argument("names", nargs="+", metavar="NAME", help="workloads or images")


def run_inspect(arguments: Arguments, config: Config) -> int:
    """Print everything known, as a JSON list of those that there are."""
    engine = prepared(config)
    engine.reconcile(everything=True)
    return show_each(arguments.names, lambda name: inspected(engine, name))


def inspected(engine: Engine, name: str) -> dict[str, Any]:
    """A workload, or else an image.

    Raises:
        NotFound: neither.
    """
    try:
        instance = engine.find(name)
    except NotFound:
        return inspected_image(engine, name)
    found = described(engine, instance, engine.status(instance))
    found["directory"] = engine.home.directory(instance.id)
    return found


def inspected_image(engine: Engine, name: str) -> dict[str, Any]:
    """An image with its config."""
    from twinhull.store import images

    image = images.find(engine.home.db, name)
    if image is None:
        raise NotFound(f"no workload or image named {name}", hint="twinhull ps -a, twinhull images")
    found: dict[str, Any] = image._asdict()
    found["config"] = jsontext.loads(image.config)
    found["layers"] = [layer._asdict() for layer in image.layers]
    return {key: value for key, value in found.items() if key not in ("passwd", "group")}
