"""The engines that are compared: what each runs for a work, and what it needs to be started.

Promise: daemons run on directories and in namespaces of their own, and nothing of theirs stays.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from bench.measure import Command, Contender, Failed
from twinhull.compare import clients
from twinhull.compare.subject import MeasurementFailed

ENTRY = Path(__file__).parents[1] / ".venv/bin/twinhull"
BUSYBOX = "/bin/busybox"
APPLETS = ("sh", "true", "echo", "sleep")
DAEMON_START_S = 20.0
CGROUPS_OF_OTHERS = ("docker", "libpod_parent")

MANY = 50

Works = dict[str, dict[str, Contender]]  # work -> who -> command


def make_rootfs(path: Path) -> Path:
    """Make the root that every engine runs from: busybox and a few of its names."""
    (path / "bin").mkdir(parents=True)
    for name in ("dev", "proc", "sys", "tmp", "etc"):
        (path / name).mkdir()
    shutil.copy(BUSYBOX, path / "bin/busybox")
    for name in APPLETS:
        (path / "bin" / name).symlink_to("busybox")
    return path


def twinhull(root: Path, *words: str) -> Command:
    """A command of ours on a state of its own."""
    return Command((str(ENTRY), *words), (("TWINHULL_ROOT", str(root)),))


def call(*argv: str) -> str:
    """Run a command that prepares something and return its output.

    Raises:
        Failed: its status was not 0, or it took too long.
    """
    with tempfile.TemporaryFile("w+") as output:  # not a pipe: what the command leaves running would keep that open
        try:
            status = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=60, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            status = 124
        output.seek(0)
        text = output.read()
    if status:
        raise Failed(f"{' '.join(argv)}: {text.strip()[-300:]}")
    return text


def at_once(command: Command, image: str, remove: tuple[str, ...]) -> Command:
    """MANY background containers started at once; one that fails is seen when they are removed."""
    names = [f"bench-many-{number}" for number in range(MANY)]
    start = f'for name in {" ".join(names)}; do "$@" --name $name {image} sleep 1000 & done; wait'
    return Command(("sh", "-c", start, "sh", *command.argv), command.variables, (*remove, *names))


@contextmanager
def without_v2(folder: Path) -> Iterator[tuple[str, ...]]:
    """The words that let a program see only v1 on a hybrid machine, none on others."""
    unified = Path("/sys/fs/cgroup/unified")
    if not os.path.ismount(unified) or not (unified / "cgroup.controllers").read_text().strip():
        yield ()
        return
    place = folder / "namespaces"
    place.mkdir()
    call("mount", "--bind", "--make-private", str(place), str(place))
    try:
        (place / "mnt").touch()
        call("unshare", f"--mount={place}/mnt", "umount", str(unified))
        yield ("nsenter", f"--mount={place}/mnt")
    finally:
        call("umount", "--recursive", str(place))


@contextmanager
def crun(folder: Path, rootfs: Path) -> Iterator[Works]:
    """It refuses to run where v2 has a controller and v1 the others."""
    with without_v2(folder) as enter, oci_runtime("crun", folder, rootfs, enter=enter) as works:
        yield works


@contextmanager
def oci_runtime(
    name: str, folder: Path, rootfs: Path, program: str = "", *, enter: tuple[str, ...] = ()
) -> Iterator[Works]:
    """crun, runc or a program of another name on a bundle: new namespaces, no network, no daemon."""
    program = program or name
    bundle, idle = folder / name, folder / f"{name}-idle"
    runtime = (*enter, program, "--root", f"{folder}/{name}-state")
    clients.bundle(program, str(bundle), str(rootfs), {"args": ["true"]})
    clients.bundle(program, str(idle), str(rootfs), {"args": ["sleep", "1000"]})
    life = '$0 create --bundle "$1" $2; $0 start $2; $0 state $2; $0 kill $2 KILL; $0 delete --force $2'
    steps = ("sh", "-ec", life, " ".join(runtime), str(idle), f"bench-{name}-life")
    call(*runtime, "run", "--detach", "--bundle", str(idle), f"bench-{name}-idle")
    try:
        yield {
            "run-none": {name: Command((*runtime, "run", "--bundle", str(bundle), f"bench-{name}"))},
            "oci-run": {name: Command((*runtime, "run", "--bundle", str(bundle), f"bench-{name}"))},
            "sdk": {name: Command((*runtime, "run", "--bundle", str(bundle), f"bench-{name}"))},
            "oci-life": {name: Command(steps)},
            "exec": {name: Command((*runtime, "exec", f"bench-{name}-idle", "true"))},
        }
    finally:
        call(*runtime, "delete", "--force", f"bench-{name}-idle")


@contextmanager
def docker(folder: Path, rootfs: Path) -> Iterator[Works]:
    """Docker with a daemon started here; its bridge and rules live in a network namespace that ends with it."""
    socket, pid_file = f"unix://{folder}/docker.sock", folder / "docker.pid"
    places = f"--data-root {folder}/data --exec-root {folder}/exec --pidfile {pid_file} --host {socket}"
    script = f"ip link set lo up; exec dockerd {places} --bip 172.30.99.1/24"
    with open(folder / "docker.log", "wb") as log:
        daemon = subprocess.Popen(
            ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    client = clients.docker("--host", socket)
    try:
        wait_for_daemon(client.words, daemon)
        call("sh", "-c", f"tar -C {rootfs} -c . | {' '.join(client.words)} import - bench")
        call(*client.run("bench", ("sleep", "1000"), "--detach", "--name", "bench-idle"))
        greeting = Command(client.run("bench", ("echo", "hi"), "--rm"))
        yield {
            "run-bridge": {"docker": Command(client.run("bench", ("true",), "--rm"))},
            "run-none": {"docker": Command(client.run("bench", ("true",), "--rm", "--network", "none"))},
            "vm-template": {"docker": greeting},
            "vm-pool": {"docker": greeting},
            "vm-built": {"docker": greeting},
            "exec": {"docker": Command(client.call("exec", "bench-idle", "true"))},
            "many": {"docker": at_once(Command(client.call("run", "--detach")), "bench", client.call("rm", "--force"))},
        }
    finally:
        with contextlib.suppress(Failed):
            call(*client.call("rm", "--force", "bench-idle"))
        daemon.terminate()
        daemon.wait(timeout=30)


def wait_for_daemon(client: tuple[str, ...], daemon: subprocess.Popen[bytes]) -> None:
    """Return once the daemon answers.

    Raises:
        Failed: it ended, or does not answer in time.
    """
    deadline = time.monotonic() + DAEMON_START_S
    while time.monotonic() < deadline and daemon.poll() is None:
        with contextlib.suppress(Failed):
            call(*client, "version")
            return
        time.sleep(0.2)
    raise Failed("dockerd does not start here")


@contextmanager
def podman(folder: Path, rootfs: Path) -> Iterator[Works]:
    """Podman on storage of its own, without a network: its bridge would stay on this machine."""
    places = ("--root", f"{folder}/podman", "--runroot", f"{folder}/podman-run", "--tmpdir", f"{folder}/podman-tmp")
    client = clients.podman(*places)
    call("sh", "-c", f"tar -C {rootfs} -c . | {' '.join(client.words)} import - bench")
    call(*client.run("bench", ("sleep", "1000"), "--detach", "--name", "bench-idle"))
    try:
        yield {
            "run-none": {"podman": Command(client.run("bench", ("true",), "--rm"))},
            "exec": {"podman": Command(client.call("exec", "bench-idle", "true"))},
        }
    finally:
        call(*client.call("rm", "--force", "--time", "0", "bench-idle"))
        call(*client.call("rmi", "--force", "bench"))
        if os.path.ismount(f"{folder}/podman/overlay"):
            call("umount", f"{folder}/podman/overlay")


def remove_cgroups() -> None:
    """Remove the empty groups that the others leave at the top of each hierarchy."""
    for top in ("/sys/fs/cgroup", *map(str, Path("/sys/fs/cgroup").iterdir())):
        for name in CGROUPS_OF_OTHERS:
            for path, _, _ in os.walk(f"{top}/{name}", topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(path)


@contextmanager
def others(folder: Path) -> Iterator[tuple[Works, list[str]]]:
    """Every other engine that is installed and starts here: their commands, and why some are not there."""
    rootfs = make_rootfs(folder / "rootfs")
    works: Works = {}
    absent: list[str] = []
    with ExitStack() as stack:
        stack.callback(remove_cgroups)
        starts = {
            "crun": partial(crun, folder, rootfs),
            "runc": partial(oci_runtime, "runc", folder, rootfs),
            "docker": partial(docker, folder, rootfs),
            "podman": partial(podman, folder, rootfs),
        }
        for name, start in starts.items():
            if not shutil.which("dockerd" if name == "docker" else name):
                absent.append(f"{name}: not installed")
                continue
            try:
                found = stack.enter_context(start())
            except (Failed, MeasurementFailed) as error:
                absent.append(f"{name}: {error}")
                continue
            for work, commands in found.items():
                works.setdefault(work, {}).update(commands)
        yield works, absent
