"""`twinhull stack NAME`: the layers under one running workload."""

from __future__ import annotations

from twinhull import __version__
from twinhull.cli.arguments import add_format
from twinhull.cli.progress import prepared
from twinhull.cli.render import document
from twinhull.engine import Engine
from twinhull.errors import Conflict, TwinhullError
from twinhull.host import machine, memory, stack
from twinhull.model import Instance

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config
    from twinhull.plan.qemu import Architecture

MAX_ANSWER = 4096


def configure_stack(parser: Parser) -> None:
    """Flags of stack."""
    add_format(parser)
    parser.add_argument("name", metavar="NAME", help="a workload that runs: its name, id or beginning of it")


def run_stack(arguments: Arguments, config: Config) -> int:
    """Print the layers, the program on top; as JSON, the lowest first."""
    engine = prepared(config)
    instance = engine.find(arguments.name)
    state = engine.status(instance)
    if state not in ("running", "paused"):
        raise Conflict(f"{instance.name} does not run: it is {state}", hint=f"{instance.program} start {instance.name}")
    found = look(engine, instance)
    if arguments.format == "json":
        print(document([layer._asdict() for layer in found]))
    else:
        print(stack.render(found))
    return 0


def look(engine: Engine, instance: Instance) -> tuple[stack.Layer, ...]:
    """Read every layer from what runs."""
    supervisor = memory.holder(f"{engine.home.directory(instance.id)}/alive")
    names = [cost.name for cost in memory.costs(memory.tree(supervisor))] if supervisor else []
    if instance.isolation == "machine":
        monitor = stack.Hypervisor(*build_and_accelerator(engine, supervisor), guest_origin="")
        return stack.system_layers(machine.read_machine(), monitor, system(engine, instance), processes=names)
    above = stack.Above(
        image=instance.image,
        command=instance.command,
        kernel=ask(engine, instance, "cat", "/proc/sys/kernel/osrelease").strip(),
        os_release=ask(engine, instance, "cat", "/etc/os-release"),
    )
    return stack.layers(
        machine.read_machine(),
        instance.isolation,
        above,
        engine=f"twinhull {__version__}",
        processes=names,
        hypervisor=hypervisor(engine, instance, supervisor, above.kernel) if instance.isolation == "vm" else None,
    )


def system(engine: Engine, instance: Instance) -> stack.System:
    """What a machine's agent tells of its system; nothing but the disk's name where none answers."""
    from twinhull.machine.inside import COMING

    try:
        inside = engine.inside(instance.name)
    except TwinhullError:
        return stack.System(instance.image)
    found = inside.system
    services, coming = tuple(sorted(inside.services)), inside.state in COMING
    return stack.System(instance.image, found.name, found.kernel, inside.init, inside.processes, services, coming)


def ask(engine: Engine, instance: Instance, *command: str) -> str:
    """What a program of the image answers; "" if it has no such program or does not answer."""
    try:
        result = engine.exec(instance.name, command)
    except TwinhullError:
        return ""
    text = result.stdout[:MAX_ANSWER].decode(errors="replace") if result.exit_code == 0 else ""
    return "".join(letter for letter in text if letter.isprintable() or letter == "\n")


def hypervisor(engine: Engine, instance: Instance, supervisor: int, release: str) -> stack.Hypervisor:
    """The QEMU that runs, and where its guest's kernel came from.

    Args:
        release: of the kernel that is seen inside, "" where nothing could be seen.
    """
    from twinhull.engine import images
    from twinhull.engine.bundle import guest_architecture
    from twinhull.runtime.kernel import kept

    architecture = guest_architecture(images.of_instance(engine.home, instance))
    kernel = kept(engine.config, release, architecture)
    return stack.Hypervisor(
        *build_and_accelerator(engine, supervisor, architecture), kernel.origin if kernel else "", architecture or ""
    )


def build_and_accelerator(engine: Engine, supervisor: int, architecture: Architecture | None = None) -> tuple[str, str]:
    """The version of QEMU here for such guests, and what the one that runs below a supervisor was told to use."""
    from twinhull.runtime.hypervisor import find_hypervisor, version

    found = find_hypervisor(engine.config, architecture)
    return version(found), stack.accelerator_of(stack.monitor_pid(supervisor))
