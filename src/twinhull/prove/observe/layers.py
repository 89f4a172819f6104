"""Stacks: the layers under a running instance, which of them carry it, and who manages it.

Promise: that a layer carries the one above is tried: it is stopped for half a second, and the program
above it either goes on or does not.
"""

from __future__ import annotations

import json
import os
import signal
import time

from twinhull.host import memory, stack
from twinhull.prove.evidence import Evidence, Ran
from twinhull.prove.observe.services import answer
from twinhull.prove.session import LIFE_S, Session, Unobserved, isolation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinhull.prove.evidence import Side

FROZEN_S = 0.5
BUSY = ("sh", "-c", "i=0; while [ $i -lt 30000000 ]; do i=$((i+1)); done")  # a minute: it ends without us


def container_layers(session: Session) -> Evidence:
    """The layers under a container."""
    return layers(session, "container")


def vm_layers(session: Session) -> Evidence:
    """The layers under a virtual machine."""
    return layers(session, "vm")


def layers(session: Session, side: Side) -> Evidence:
    """Read them off what runs, the lowest first."""
    kept = session.instance(side)
    done = session.must("stack", kept.name, "--format", "json")
    found = json.loads(done.stdout)
    named = [f"{layer['level']}: {layer['name']}" for layer in found]
    facts = {f"{side}.levels": "|".join(layer["level"] for layer in found)}
    return Evidence((kept.ran, done.ran(" → ".join(named))), facts, {})


def frozen_engine(session: Session) -> Evidence:
    """What a container does while the engine's process is stopped."""
    kept = session.start("container", *BUSY)
    try:
        below = [kept.supervisor]
        program = memory.tree(kept.supervisor)[-1]
        return frozen(kept.ran, "container", below, program)
    finally:
        session.end([kept.name])


def frozen_hypervisor(session: Session) -> Evidence:
    """What a virtual machine does while the hypervisor's process is stopped."""
    kept = session.start("vm", *BUSY)
    try:
        pid = stack.monitor_pid(kept.supervisor)
        if not pid:
            raise Unobserved(f"{kept.name}: no monitor among its processes")
        return frozen(kept.ran, "vm", [pid], pid)
    finally:
        session.end([kept.name])


def frozen(started: Ran, side: Side, below: Sequence[int], program: int) -> Evidence:
    """Stop the processes `below` for a while; did `program` go on in it?

    Raises:
        Unobserved: this kernel does not say.
    """
    running = progress(program)
    for pid in below:
        os.kill(pid, signal.SIGSTOP)
    try:
        wait_until_stopped(below)
        stopped = progress(program)
    finally:
        for pid in below:
            os.kill(pid, signal.SIGCONT)
    pids = " ".join(map(str, below))
    said = f"it ran or was ready to for {running:.0%} of the time before, {stopped:.0%} of the {FROZEN_S} s in between"
    ran = Ran(f"kill -STOP {pids}; sleep {FROZEN_S}; kill -CONT {pids}", said)
    return Evidence((started, ran), {}, {f"{side}.running": (running,), f"{side}.stopped": (stopped,)})


def wait_until_stopped(pids: Sequence[int]) -> None:
    """A thread that waits for a processor takes the signal when it gets one, which may take a while on a busy host."""
    until = time.monotonic() + FROZEN_S
    while any(memory.states(pid) - {"T"} for pid in pids) and time.monotonic() < until:
        time.sleep(0.005)


def progress(pid: int) -> float:
    """The share of the next moments that a process is on a processor or waits for one, which a busy host lets it.

    Raises:
        Unobserved: this kernel does not say.
    """
    before, began = memory.runnable_time(pid), time.monotonic()
    time.sleep(FROZEN_S)
    after, took_s = memory.runnable_time(pid), time.monotonic() - began
    if before is None or after is None:
        raise Unobserved("this kernel keeps no schedstat, or the program ended")
    return (after - before) / took_s


def managed(session: Session) -> Evidence:
    """What the engine does for a container: start, limit, list, enter, stop."""
    name = session.new_name()
    flags = ("--rm", *isolation("container"), "--memory", "64m", "--name", name)
    done = {"start": session.run("run", "-d", *flags, "twinhull/busybox", "sleep", str(LIFE_S))}
    done["list"] = session.run("ps", "--format", "json")
    done["enter"] = session.run("exec", name, "echo", "here")
    done["stop"] = session.run("stop", "-t", "0", name)
    done["gone"] = session.run("ps", "--all", "--format", "json")
    session.end([name])
    worked = {
        "start": done["start"].exit_code == 0,
        "list": name in names(done["list"].stdout),
        "enter": done["enter"].stdout == "here\n",
        "stop": done["stop"].exit_code == 0 and name not in names(done["gone"].stdout),
    }
    ran = [step.ran("" if key not in ("list", "gone") else listed(step.stdout, name)) for key, step in done.items()]
    facts = {f"managed.{key}": answer(yes) for key, yes in worked.items()}
    return Evidence(tuple(ran), facts, {})


def names(text: str) -> list[str]:
    """The names in a list of workloads; none where it is no list."""
    try:
        return [row["name"] for row in json.loads(text)]
    except (ValueError, KeyError, TypeError):
        return []


def listed(text: str, name: str) -> str:
    """Whether a list has a name."""
    return f"{name} is {'in' if name in names(text) else 'not in'} the list"
