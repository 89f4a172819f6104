"""Moving the image: saved, loaded into a fresh state directory, started there, and given to other engines.

Promise: every step was done in this run and its time taken, or the reason is given; what was made for it is
removed, and nothing is written to a state directory or an engine that was there before.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import urllib.error
import urllib.request
from contextlib import ExitStack

from twinhull.compare import abandoned, figures, processors
from twinhull.compare.run import last_line
from twinhull.compare.session import Session
from twinhull.compare.subject import MeasurementFailed, flags_of, own_command
from twinhull.config import Config
from twinhull.engine import Engine
from twinhull.host import memory, spawn
from twinhull.runtime import holder
from twinhull.store import snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from twinhull.compare.session import Instances

REGISTRY = "127.0.0.1:5000"  # where a registry on one's own machine customarily listens
ANSWER_S = 2.0
TIMEOUT_S = "240"
CRUN_S = "20"
PRIVATE = ("unshare", "--mount", "--propagation", "private")
OVERLAY = 'mount -t overlay overlay -o "$1" "$2" && shift 2 && exec "$@"'


def measure_portability(session: Session, image: str, registry: str = REGISTRY) -> None:
    """Save, move, load and start; then offer it to a registry and to other engines."""
    found: dict[str, Any] = {
        "platforms": list(session.findings.image.platforms),
        "image_bytes": session.findings.image.transfer_bytes,
        "guest_kernel_bytes": session.findings.guest_kernel_bytes,
        "needs": session.findings.portability.get("needs", {}),
    }
    session.findings.portability = found
    with ExitStack() as stack:
        place = stack.enter_context(abandoned.scratch("move"))
        archive, root = f"{place}/image.tar", f"{place}/root"
        session.tell("portability: saving, loading and starting elsewhere")
        try:
            found["save_s"] = timed((*own_command(), "save", "-o", archive, image))
            found["archive_bytes"] = os.stat(archive).st_size
            stack.callback(holder.end_all, Config(state=f"{root}/state", run=f"{root}/run"))
            found["load_s"] = timed((*elsewhere(root), "load", "-i", archive))
        except MeasurementFailed as error:
            session.findings.gap("portability", error.message)
            return
        found["first_start_s"] = first_starts(session, root, image)
        session.tell("portability: an image for another processor")
        found["processors"] = processors.try_others(session.config, place)
        session.tell("portability: other engines and a registry")
        found["engines"] = [
            docker(archive),
            podman(archive, place),
            crun(session, image, place),
        ]
        found["registry"] = round_trip(image, registry, place)


def elsewhere(root: str) -> tuple[str, ...]:
    """Our command with another state directory: what a second machine would start from."""
    return ("env", f"TWINHULL_ROOT={root}", *own_command())


def timed(argv: Sequence[str]) -> float:
    """Seconds that a command takes.

    Raises:
        MeasurementFailed: it failed.
    """
    began = time.perf_counter()
    done = spawn.run_tool(("timeout", TIMEOUT_S, *argv))
    if done.returncode:
        raise MeasurementFailed(last_line(done.stderr) or f"exit status {done.returncode}")
    return time.perf_counter() - began


def first_starts(session: Session, root: str, image: str) -> dict[str, Any]:
    """Seconds of the first start there on each side, once; a VM's has the move of its kernel and its template in it."""
    found: dict[str, Any] = {}
    for subject in session.living("container", "vm"):
        side, name = subject.name, f"moved-{subject.name}"
        try:
            began = time.perf_counter()
            if side == "vm":
                shutil.copytree(f"{session.config.state}/kernels", f"{root}/state/kernels", dirs_exist_ok=True)
            words = ("--name", name, "--network", "none", image, *session.findings.image.command)
            timed((*elsewhere(root), "run", "-d", *flags_of(subject), *words))
            found[side] = time.perf_counter() - began
        except (MeasurementFailed, OSError) as error:
            session.findings.gap(f"{side}.first_start_s", str(error))
        finally:
            spawn.run_tool((*elsewhere(root), "rm", "-f", name))
    return found


def observe_needs(session: Session, groups: Mapping[str, Instances]) -> None:
    """What a host must provide for one running instance of each side."""
    own = set(session.findings.idle_command[:1])  # the workload's program is in the image
    found = {name: sorted(needs(group.idle[0].supervisor) - own) for name, group in groups.items() if group.idle}
    session.findings.portability["needs"] = found


def needs(supervisor: int) -> set[str]:
    """The names of the processes of one instance, as the host's kernel has them."""
    return {cost.name for cost in memory.costs(memory.tree(supervisor))}


def tried(name: str, works: bool, why: str) -> dict[str, Any]:
    """One engine: whether it takes the image and runs it, and what it said."""
    return {"name": name, "works": works, "why": why}


def docker(archive: str) -> dict[str, Any]:
    """`docker image load`, where a daemon answers; the image is removed again if it was not there before."""
    if not shutil.which("docker"):
        return tried("docker", False, "not installed")
    if spawn.run_tool(("timeout", "10", "docker", "info")).returncode:
        return tried("docker", False, "no daemon answers")
    before = spawn.run_tool(("docker", "image", "ls", "-q", "--no-trunc")).stdout.split()
    done = spawn.run_tool(("timeout", TIMEOUT_S, "docker", "image", "load", "-i", archive))
    new = set(spawn.run_tool(("docker", "image", "ls", "-q", "--no-trunc")).stdout.split()) - set(before)
    for identity in new:
        spawn.run_tool(("docker", "image", "rm", identity))
    return tried("docker", done.returncode == 0, last_line(done.stdout if done.returncode == 0 else done.stderr))


def podman(archive: str, place: str) -> dict[str, Any]:
    """`podman load` into storage of its own, which is removed with `place`."""
    if not shutil.which("podman"):
        return tried("podman", False, "not installed")
    storage = ("--root", f"{place}/podman", "--runroot", f"{place}/podman-run", "--storage-driver", "vfs")
    done = spawn.run_tool(("timeout", TIMEOUT_S, "podman", *storage, "load", "-q", "-i", archive))
    return tried("podman", done.returncode == 0, last_line(done.stdout if done.returncode == 0 else done.stderr))


def crun(session: Session, image: str, place: str) -> dict[str, Any]:
    """`crun run` of an OCI bundle: the image's unpacked layers under an overlay, and crun's own default spec.

    The overlay is mounted in a mount namespace of its own, and goes with it.
    """
    if not shutil.which("crun"):
        return tried("crun", False, "not installed")
    bundle, name = f"{place}/bundle", f"twinhull-{os.getpid()}"
    for directory in ("rootfs", "upper", "work"):
        os.makedirs(f"{bundle}/{directory}")
    spawn.run_tool(("env", f"--chdir={bundle}", "crun", "spec"))
    try:
        with open(f"{bundle}/config.json", encoding="utf-8") as file:
            spec = json.load(file)
    except (OSError, ValueError) as error:
        return tried("crun", False, f"no bundle: {error}")
    command = list(session.findings.image.command) or ["true"]
    spec["process"] |= {"terminal": False, "args": command, "rlimits": []}
    with open(f"{bundle}/config.json", "w", encoding="utf-8") as file:
        json.dump(spec, file)
    crun_command = ("crun", "--root", f"{place}/crun", "--cgroup-manager", "disabled")
    mounted = (overlay(session, image, bundle), f"{bundle}/rootfs", *crun_command, "run", "--bundle", bundle, name)
    done = spawn.run_tool(("timeout", CRUN_S, *PRIVATE, "sh", "-c", OVERLAY, "sh", *mounted))
    spawn.run_tool((*crun_command, "delete", "--force", name))
    goes_on = done.returncode == 124  # of timeout: it was still running
    return tried("crun", goes_on or done.returncode == 0, last_line(done.stderr) or last_line(done.stdout))


def overlay(session: Session, image: str, bundle: str) -> str:
    """The options of an overlay of an image's layers, which were checked when they were unpacked."""
    with Engine(session.config) as engine:
        base, lower = snapshot.lower(session.config, engine.home.db, engine.image(image))
    directories = ":".join(f"{base}/{name}" for name in lower.split(":"))
    return f"lowerdir={directories},upperdir={bundle}/upper,workdir={bundle}/work"


def round_trip(image: str, registry: str, place: str) -> dict[str, Any]:
    """Push to a registry on this machine, pull into a fresh state directory, and compare what came back."""
    try:
        urllib.request.urlopen(f"http://{registry}/v2/", timeout=ANSWER_S).close()
    except (OSError, urllib.error.URLError) as error:
        return {"name": registry, "works": False, "why": f"none answers: {getattr(error, 'reason', error)}"}
    name, fresh = f"{registry}/twinhull-compare:{os.getpid()}", elsewhere(f"{place}/pulled")
    try:
        push_s = timed((*own_command(), "push", image, f"docker://{name}"))
        pull_s = timed((*fresh, "pull", name))
    except MeasurementFailed as error:
        return {"name": registry, "works": False, "why": error.message}
    before, after = (layers(command, which) for command, which in ((own_command(), image), (fresh, name)))
    same = bool(before) and before == after
    why = "the same layers came back" if same else f"{before} became {after}"
    return {"name": registry, "works": same, "why": why, "push_s": push_s, "pull_s": pull_s}


def layers(command: Sequence[str], image: str) -> list[str]:
    """The digests of an image's unpacked layers."""
    done = spawn.run_tool((*command, "inspect", image))
    return (
        [str(one) for one in json.loads(done.stdout)[0]["config"]["rootfs"]["diff_ids"]] if done.returncode == 0 else []
    )


def told(portability: Mapping[str, Any], side: str) -> str:
    """One phrase: the time from here to a first start elsewhere; "" if that was not measured."""
    start = portability.get("first_start_s", {}).get(side)
    if start is None:
        return ""
    moved = figures.quantity(portability["save_s"] + portability["load_s"], "s")
    return f"saved and loaded in {moved}, then a first start in {figures.quantity(start, 's')}"
