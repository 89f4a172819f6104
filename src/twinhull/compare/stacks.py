"""The layers under a running instance of each side, beside each other.

Promise: every layer was read from an instance that ran in this comparison; `shared` marks the layers that
all of its sides have in common.
"""

from __future__ import annotations

from twinhull import __version__
from twinhull.compare.subject import Idle, own_command
from twinhull.errors import TwinhullError
from twinhull.host import machine, memory, spawn, stack
from twinhull.runtime.hypervisor import find_hypervisor, version
from twinhull.runtime.kernel import find_kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from twinhull.compare.session import Instances, Session
    from twinhull.config import Config

MAX_TEXT = 4096


def observe(session: Session, groups: Mapping[str, Instances]) -> None:
    """Look at the first instance of each side while it runs."""
    seen = {name: look(session, name, group.idle[0]) for name, group in groups.items() if group.idle}
    session.findings.stacks = marked({**seen, **session.layers})


def look(session: Session, name: str, idle: Idle) -> tuple[stack.Layer, ...]:
    """Read every layer of one instance."""
    image = session.findings.image
    above = stack.Above(
        image=image.reference,
        command=image.command or ("the image's command",),
        kernel=session.findings.inside.get(name, {}).get("release", ""),
        os_release=os_release(idle),
    )
    return stack.layers(
        machine.read_machine(),
        "vm" if name == "vm" else "container",
        above,
        engine=f"twinhull {__version__}",
        processes=[cost.name for cost in memory.costs(memory.tree(idle.supervisor))],
        hypervisor=hypervisor(session.config, idle) if name == "vm" else None,
    )


def os_release(idle: Idle) -> str:
    """The os-release(5) that a program inside reads; "" for an image without it or without `cat`."""
    done = spawn.run_tool((*own_command(), "exec", idle.name, "cat", "/etc/os-release"))
    text = done.stdout[:MAX_TEXT] if done.returncode == 0 else ""
    return "".join(letter for letter in text if letter.isprintable() or letter == "\n")


def hypervisor(config: Config, idle: Idle) -> stack.Hypervisor:
    """The QEMU that runs it, and where its guest's kernel came from."""
    accelerator = stack.accelerator_of(stack.monitor_pid(idle.supervisor))
    try:
        return stack.Hypervisor(version(find_hypervisor(config)), accelerator, find_kernel(config).origin)
    except TwinhullError:
        return stack.Hypervisor("unknown", accelerator, "")


def marked(stacks: Mapping[str, Sequence[stack.Layer]]) -> dict[str, list[dict[str, Any]]]:
    """The stacks as the document has them; a layer is shared if each stack has one of its level and name."""
    kinds = [{(layer.level, layer.name) for layer in layers} for layers in stacks.values()]
    common = set.intersection(*kinds) if len(kinds) > 1 else set()
    return {name: [described(layer, common) for layer in layers] for name, layers in stacks.items()}


def described(layer: stack.Layer, common: set[tuple[stack.Level, str]]) -> dict[str, Any]:
    """One layer: what it is, in which version (its first detail), and whether all stacks have it."""
    version, *details = (*layer.details, "")[: len(layer.details) or 1]
    shared = (layer.level, layer.name) in common
    return {"layer": layer.level, "name": layer.name, "version": version, "details": details, "shared": shared}
