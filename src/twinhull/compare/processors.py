"""An image for another processor, tried on both sides: does it run there, and how long does its first start take.

Promise: what a side says is what it did with a program of ours for that processor; its state is a fresh one.
"""

from __future__ import annotations

import os
import shutil
import time

from twinhull.compare import figures, probe
from twinhull.compare.run import last_line
from twinhull.compare.subject import own_command
from twinhull.errors import TwinhullError
from twinhull.host import facts, files, spawn
from twinhull.oci.platform import ALSO
from twinhull.runtime import container, holder, hypervisor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from twinhull.config import Config
    from twinhull.plan.qemu import Architecture

COUNT = (f"/{probe.PROBE}", "tsc")  # a short answer: the rate of the processor's counter
SIDES = {"container": ("--isolation", "container"), "vm": ("--isolation", "vm")}
TIMEOUT_S = "300"


def try_others(config: Config, place: str) -> list[dict[str, Any]]:
    """Return, by processor, what each side did: [{"platform", "why", "sides": {side: {"works", "why", "start_s"}}}].

    Args:
        place: a directory for the image and the state, which the caller removes.
    """
    own = facts.architecture()
    others = [one for one in hypervisor.EMULATORS if one != own and one not in ALSO.get(own, ())]
    return [try_one(config, architecture, f"{place}/{architecture}") for architecture in others]


def try_one(config: Config, architecture: Architecture, place: str) -> dict[str, Any]:
    """One processor; `why` is not empty where there is no program to try."""
    found: dict[str, Any] = {"platform": f"linux/{architecture}", "why": "", "sides": {}}
    try:
        program = files.read(container.foreign_launcher(config.launcher, architecture))
    except TwinhullError as error:
        return {**found, "why": error.message}
    files.make_directory(f"{place}/state")
    archive = f"{place}/image.tar"
    members = {probe.PROBE: program}
    files.write(archive, probe.archive(members, probe.image_name("other", members), architecture))
    kernels = f"kernels-{architecture}"
    if os.path.isdir(f"{config.state}/{kernels}"):
        shutil.copytree(f"{config.state}/{kernels}", f"{place}/state/{kernels}")
    try:
        for side, flags in SIDES.items():
            found["sides"][side] = start(place, found["platform"], flags, f"docker-archive:{archive}")
    finally:
        holder.end_all(config._replace(state=f"{place}/state", run=f"{place}/run"))
    return found


def start(place: str, platform: str, flags: tuple[str, ...], image: str) -> dict[str, Any]:
    """Start the program once: whether it answered, what was said instead, and the seconds it took."""
    command = ("env", f"TWINHULL_ROOT={place}", *own_command(), "run", "--rm", "--network", "none")
    began = time.perf_counter()
    done = spawn.run_tool(("timeout", TIMEOUT_S, *command, *flags, "--platform", platform, image, *COUNT))
    works = done.returncode == 0 and done.stdout.strip().isdigit()
    why = "" if works else refusal(done.stderr) or f"exit status {done.returncode}"
    return {"works": works, "why": why, "start_s": time.perf_counter() - began if works else None}


def refusal(text: str) -> str:
    """What our command says went wrong, without its hint."""
    said = (line.removeprefix("twinhull: ") for line in text.splitlines() if line.startswith("twinhull: "))
    return next(said, last_line(text))


def told(others: Sequence[Mapping[str, Any]], side: str) -> str:
    """One phrase: the other processors that were tried, and what came out; "" if none was."""
    phrases = []
    for one in others:
        if result := one["sides"].get(side):
            took = f", first start in {figures.quantity(result['start_s'], 's')}" if result["works"] else ""
            phrases.append(f"{one['platform']} {'ran' if result['works'] else 'did not run'}{took}")
    return f"other processors: {'; '.join(phrases)}" if phrases else ""
