"""Machines: whole operating systems from a disk, as their own guest agents tell of them.

Promise: no disk is made for a check; where none is ready, that is a fact with its reason and not a gap: the virtual
machine of an image is judged all the same. A machine is looked at when its system says that it is up; one that does
not come up is a gap, and nothing is judged by it.
"""

from __future__ import annotations

import glob
import json
import re
import time

from twinhull.host import memory, stack
from twinhull.prove.evidence import Evidence, merged
from twinhull.prove.session import Session, Unobserved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DISK = "machines/debian-*.qcow2"  # below the state directory, where `machine create --debian` keeps it
UP_S, POLL_S = 240.0, 0.5
UNKNOWN = "unknown"
TOLD = re.compile(r"process 1 is (\S+), (\d+) processes")


def machines(session: Session) -> Evidence:
    """Two machines at once, each a whole operating system, where a disk is ready."""
    why = "this twinhull makes no machines"
    if session.run("machine", "create", "--help").exit_code == 0:
        why = "no disk is ready: twinhull machine create NAME --debian makes one"
        if glob.glob(f"{glob.escape(session.config.state)}/{DISK}"):
            try:
                return merged([booted(session, subject) for subject in ("machine", "machine2")])
            finally:
                session.end_machines()
    return Evidence((), {"machine.why-not": why}, {})


def booted(session: Session, subject: str) -> Evidence:
    """Boot one machine until its system is up, and leave it running.

    Raises:
        Unobserved: it could not be made, or is not up in time.
    """
    name = session.new_machine()
    created = session.must("machine", "create", name, "--debian")
    began = time.monotonic()
    started = session.must("machine", "start", name)
    while not (system := told(session, name)):
        if time.monotonic() - began > UP_S:
            raise Unobserved(f"{started.command}: its system was not up within {UP_S:.0f} s")
        time.sleep(POLL_S)
    took_s = time.monotonic() - began
    supervisor = memory.holder(f"{session.config.instance(created.stdout.strip())}/alive")
    system["monitor"] = str(stack.monitor_pid(supervisor) if supervisor else 0)
    facts = {f"{subject}.{key}": value for key, value in system.items()}
    layers = session.run("machine", "stack", name, "--format", "json")
    ran = (
        created.ran(),
        started.ran(f"its system was up after {took_s:.1f} s"),
        layers.ran(f"{system['system']}, Linux {system['release']}, {system['init']}, {system['processes']} processes"),
    )
    return Evidence(ran, facts, {f"{subject}.start_s": (took_s,)})


def told(session: Session, name: str) -> dict[str, str]:
    """What the system of a machine tells of itself, by its layers; nothing while it is not up."""
    done = session.run("machine", "stack", name, "--format", "json")
    layers = json.loads(done.stdout) if done.exit_code == 0 else []
    return next((found for layer in layers if layer["level"] == "Guest OS" and (found := system_of(layer))), {})


def system_of(layer: dict[str, Any]) -> dict[str, str]:
    """Read the layer of a guest's system: kernel and first process are among its details."""
    details = [str(text) for text in layer["details"]]
    kernel = next((text.split() for text in details if text.startswith("Linux ")), ["", ""])
    found = next((match for text in details if (match := TOLD.fullmatch(text))), None)
    if not found or found[1] == UNKNOWN:  # it is still starting, or did not answer this question
        return {}
    return {
        "system": str(layer["name"]),
        "kernel": kernel[0],
        "release": kernel[1],
        "init": found[1],
        "processes": found[2],
    }
