"""What twinhull is measured at: its works, and what it keeps in memory."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench.contenders import ENTRY, Works, at_once, oci_runtime, twinhull
from bench.measure import Command, Failed, Samples, contend_ms, pss_kb, run_ms
from tests.support import leaks
from tests.support.command import REPOSITORY, Twinhull, share_kernels
from twinhull import Engine, Request
from twinhull.config import Config
from twinhull.runtime import spare

IDLE_CONTAINERS = 10
TENTH = 10
POOL, POOLED, MORE_POOLED = 3, "twinhull-pool", 8
OWN_KERNEL = "twinhull-kernel"
BARE = Command((sys.executable, "-IS", "-c", "pass"))


@contextmanager
def twinhull_works(root: Path) -> Iterator[tuple[Works, list[str]]]:
    """Our commands for every work, after one idle container was started; and which works do not run here."""
    works: Works = {
        "run-bridge": {"twinhull": twinhull(root, "run", "--rm", "busybox", "true")},
        "run-none": {"twinhull": twinhull(root, "run", "--rm", "--network", "none", "busybox", "true")},
        "exec": {"twinhull": twinhull(root, "exec", "bench-idle", "true")},
    }
    works["many"] = {"twinhull": at_once(twinhull(root, "run", "--detach"), "busybox", (str(ENTRY), "rm", "--force"))}
    guest = twinhull(root, "run", "--rm", "--vm", "busybox", "echo", "hi")
    works["vm-template"] = {"twinhull": guest}
    for work, setting in (("vm-restored", "vm_spare"), ("vm-cold", "vm_template")):
        config = root / f"{work}.toml"
        config.write_text(f"{setting} = false\n")
        works[work] = {"twinhull": guest._replace(variables=(*guest.variables, ("TWINHULL_CONFIG", str(config))))}
    absent = built_kernel(root, works)
    works["vm-pool"] = {"twinhull": in_a_pool(root)._replace(argv=guest.argv)}
    run_ms(twinhull(root, "run", "--detach", "--name", "bench-idle", "busybox", "sleep", "1000"))
    try:
        for work in list(works):
            try:
                contend_ms(works[work]["twinhull"])
            except Failed as error:
                absent.append(f"twinhull: {error}")
                del works[work]
        program = str(ENTRY.with_name("twinhull-oci"))
        with oci_runtime("twinhull", root.parent, root.parent / "rootfs", program) as found:
            works |= {"oci-run": found["oci-run"], "oci-life": found["oci-life"]}
            with Engine(Config(state=str(root / "state"), run=str(root / "run"))) as engine:
                yield {**works, "sdk": {"twinhull": partial(run_within, engine)}}, absent
    finally:
        run_ms(twinhull(root, "rm", "--force", "bench-idle"))


def run_within(engine: Engine) -> None:
    """Run `true` in a container without a network, by a call in this process.

    Raises:
        Failed: its status was not 0.
    """
    request = Request("", network="none", isolation="container")
    if status := engine.run("twinhull/busybox", ["true"], request=request).exit_code:
        raise Failed(f"Engine.run: status {status}")


class Crowd(NamedTuple):
    """Many workloads, started one after the other.

    Attributes:
        starts: how long the last ten took, and those around the tenth. The unit is a bare interpreter's start beside
            each: what else the machine does is not the same after minutes.
        weight_mb: what each one after the tenth adds to the memory (PSS) of all processes.
    """

    starts: dict[str, Samples]
    weight_mb: float


def crowd(root: Path, size: int, *flags: str) -> Crowd:
    """Start so many idle workloads."""
    names = [f"bench-{number}" for number in range(size)]
    times, first_mb = [], 0.0
    try:
        for name in names:
            words = ("run", "--detach", *flags, "--network", "none", "--name", name, "busybox", "sleep", "1000")
            times.append(run_ms(twinhull(root, *words)) / run_ms(BARE))
            if len(times) == TENTH:
                first_mb = all_processes_mb(root)
        weight_mb = (all_processes_mb(root) - first_mb) / (size - TENTH)
    finally:
        for first in range(0, size, 50):
            run_ms(twinhull(root, "rm", "--force", *names[first : first + 50]))
    return Crowd({"twinhull": Samples(tuple(times[-10:])), "tenth": Samples(tuple(times[5:15]))}, weight_mb)


def all_processes_mb(root: Path) -> float:
    """Memory (PSS) of everything that our commands left running, QEMU too, when nothing is being made any more."""
    settle(root)
    return sum(map(pss_kb, leaks.descendants(os.getpid()))) / 1000


def in_a_pool(root: Path) -> Command:
    """Have several guests wait, in a state directory of their own; return a command there."""
    other = root.with_name(POOLED)
    other.mkdir()
    share_kernels(other)
    command = pool_of(root, POOL)
    run_ms(command)
    return command


def pool_of(root: Path, size: int) -> Command:
    """The command that has so many guests wait, and returns when they do."""
    return twinhull(root.with_name(POOLED), "vm", "pool", "set", "--wait", str(size))


def pool_member_mb(root: Path) -> float:
    """Have more guests wait, and return what each adds to the memory (PSS) of all processes, in MB."""
    before = all_processes_mb(root)
    run_ms(pool_of(root, POOL + MORE_POOLED))
    return (all_processes_mb(root) - before) / MORE_POOLED


def built_kernel(root: Path, works: Works) -> list[str]:
    """Add what the kernel of `make guest-kernel` does, a boot beside the distribution's and a template; return why not.

    It has a state directory of its own: which kernel is used is written down there.
    """
    kernels = REPOSITORY / "build/guest-kernel/state/kernels"
    if not any(kernels.glob("built-*")):
        return ["twinhull: vm-kernel, vm-built: no kernel is built here (make guest-kernel)"]
    other = root.with_name(OWN_KERNEL)
    (other / "state").mkdir(parents=True, mode=0o700)
    (other / "state/kernels").symlink_to(kernels)
    words = ("run", "--rm", "--vm", "busybox", "true")
    cold = ("TWINHULL_CONFIG", str(root / "vm-cold.toml"))
    commands = {"twinhull": twinhull(other, *words), "distribution": twinhull(root, *words)}
    works["vm-kernel"] = {
        name: command._replace(variables=(*command.variables, cold)) for name, command in commands.items()
    }
    works["vm-built"] = {"twinhull": twinhull(other, "run", "--rm", "--vm", "busybox", "echo", "hi")}
    return []


def homes(root: Path) -> tuple[Path, ...]:
    """The state directories in which guests may wait."""
    return root, root.with_name(POOLED), root.with_name(OWN_KERNEL)


def settle(root: Path) -> None:
    """Return when no guest in waiting is being made any more: that would be measured with whatever comes next."""
    for place in homes(root):
        config = Config(state=str(place / "state"), run=str(place / "run"))
        while spare.is_being_made(config):
            time.sleep(0.05)


def supervisor_mb(root: Path) -> float:
    """Start idle containers and return what all processes of ours weigh, for each of them, in MB (PSS)."""
    names = [f"bench-{number}" for number in range(IDLE_CONTAINERS)]
    try:
        for name in names:
            run_ms(twinhull(root, "run", "--detach", "--network", "none", "--name", name, "busybox", "sleep", "1000"))
        return sum(map(pss_kb, processes_of_ours(root))) / IDLE_CONTAINERS / 1000
    finally:
        for name in names:
            run_ms(twinhull(root, "rm", "--force", name))


def processes_of_ours(root: Path) -> list[int]:
    """Pids of our commands' offspring that run the launcher, but for holders of templates and guests in waiting."""
    launcher = os.stat(ENTRY.parents[2] / "src/twinhull/bin/launcher")
    found = []
    leaks.reap()
    for pid in leaks.descendants(os.getpid()):
        try:
            status = os.stat(f"/proc/{pid}/exe")
        except OSError:
            continue
        if (status.st_dev, status.st_ino) == (launcher.st_dev, launcher.st_ino) and not is_kept(root, pid):
            found.append(pid)
    return found


def is_kept(root: Path, pid: int) -> bool:
    """True for what is kept for ten minutes after a template's last use: its holder, and the guests that wait.

    A QEMU of theirs went on from an imprint in the launcher's process, and is its shim's child.
    """
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return False
    if os.path.basename(words[0]).startswith("qemu-system"):
        return is_kept(root, parent)
    names = [os.path.basename(word) for word in words[2:] if word]
    return words[1:2] == ["hold"] or any(
        (place / "state/spares" / name).exists() for place in homes(root) for name in names
    )


def stop_everything(root: Path) -> None:
    """Remove what is left of a state directory: workloads, network, holders of templates."""
    Twinhull(root).remove_all()
