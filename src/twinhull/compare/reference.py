"""What runs the image without us: another engine, a runtime alone, or no engine at all.

Promise: each runs the image that it was made with, whatever the image is called here.
"""

from __future__ import annotations

import shutil
import socket

from twinhull.compare import abandoned, clients
from twinhull.compare.clients import Client
from twinhull.compare.run import Run, Service, Timing, last_line
from twinhull.compare.subject import TERM_S, Idle, MeasurementFailed, ended_on_term, timed
from twinhull.host import spawn
from twinhull.model import Request
from twinhull.oci.spec import Identity, make_spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from twinhull.compare.subject import Kind
    from twinhull.model import Image

MEMORY_BYTES = 192 << 20  # the limit of every subject
LOOPBACK = "127.0.0.1"


class Reference:
    """What all references have in common: they run the image they were given, whatever it is called."""

    kind: Kind = "reference"

    def __init__(self, name: str, title: str) -> None:
        self.name, self.title = name, title
        self.prefix, self.count = abandoned.container_prefix(name), 0

    def next_name(self) -> str:
        """A name that no other container of this comparison has."""
        self.count += 1
        return f"{self.prefix}-{self.count}"

    def begin(self, image: str, command: Sequence[str]) -> Run:
        """See Subject."""
        raise NotImplementedError

    def run(self, image: str, command: Sequence[str], service: Service, *, timeout_s: float) -> Timing:
        """See Subject."""
        return self.begin(image, command).wait(timeout_s, without_port(service))

    def start(self, image: str, command: Sequence[str], *, kept: bool = False) -> Idle:
        """See Subject."""
        raise MeasurementFailed(f"{self.title} has no instance to keep")

    def started(self, name: str, argv: Sequence[str]) -> Idle:
        """Start an instance in the background.

        Raises:
            MeasurementFailed: it did not start.
        """
        try:
            done = spawn.run_tool(argv)
        except BaseException:  # nobody else knows its name yet
            self.stop([name])
            raise
        if done.returncode != 0:
            raise MeasurementFailed(last_line(done.stderr) or f"exit status {done.returncode}")
        return Idle(name, "", 0)

    def exec_s(self, idle: Idle, command: Sequence[str]) -> float:
        """See Subject."""
        raise MeasurementFailed(f"{self.title} has no exec")

    def stop_s(self, idle: Idle) -> float:
        """See Subject."""
        raise MeasurementFailed(f"{self.title} has no stop that waits")

    def stop(self, names: Sequence[str]) -> None:
        """See Subject."""


def without_port(service: Service) -> Service:
    """What a subject waits for that cannot be asked."""
    return service._replace(port=0, both=False)


class Engined(Reference):
    """Docker or Podman."""

    def __init__(self, client: Client, image: str, title: str) -> None:
        super().__init__(client.name, title)
        self.client, self.image = client, image

    def begin(self, image: str, command: Sequence[str], *more: str) -> Run:
        """See Subject."""
        name = self.next_name()
        argv = self.client.run(self.image, command, "--rm", "--name", name, *more)
        return Run(argv, lambda: self.stop([name]))

    def run(self, image: str, command: Sequence[str], service: Service, *, timeout_s: float) -> Timing:
        """See Subject. Docker is asked on a published port, as its bridge need not be ours to reach."""
        if not service.port or self.name != "docker":
            return super().run(image, command, service, timeout_s=timeout_s)
        port = free_port()
        run = self.begin(image, command, "--publish", f"{LOOPBACK}:{port}:{service.port}")
        run.ask(lambda: (LOOPBACK, port))
        return run.wait(timeout_s, service)

    def start(self, image: str, command: Sequence[str], *, kept: bool = False) -> Idle:
        """See Subject."""
        name = self.next_name()
        flags = ("--detach",) if kept else ("--detach", "--rm")
        return self.started(name, self.client.run(self.image, command, *flags, "--name", name))

    def exec_s(self, idle: Idle, command: Sequence[str]) -> float:
        """See Subject."""
        return timed(self.client.call("exec", idle.name, *command))

    def stop_s(self, idle: Idle) -> float:
        """See Subject."""
        return ended_on_term(timed(self.client.call("stop", "--time", str(TERM_S), idle.name)))

    def stop(self, names: Sequence[str]) -> None:
        """See Subject."""
        if names:
            spawn.run_tool(self.client.call("rm", "--force", *names))


class Runtime(Reference):
    """crun on an OCI bundle: new namespaces and a memory limit, no network and no daemon."""

    def __init__(self, tool: str, root: str, process: Callable[[Sequence[str]], dict[str, Any]], place: str) -> None:
        super().__init__(tool, f"{tool}, without a network")
        self.tool, self.root, self.process, self.place = tool, root, process, place
        self.words = (tool, "--root", f"{place}/state")
        self.bundles: dict[tuple[str, ...], str] = {}

    def bundle(self, command: Sequence[str]) -> str:
        """The bundle of a command, written once."""
        key = tuple(command)
        if key not in self.bundles:
            folder = f"{self.place}/{len(self.bundles)}"
            clients.bundle(self.tool, folder, self.root, self.process(command), memory_bytes=MEMORY_BYTES)
            self.bundles[key] = folder
        return self.bundles[key]

    def begin(self, image: str, command: Sequence[str]) -> Run:
        """See Subject."""
        name = self.next_name()
        argv = (*self.words, "run", "--bundle", self.bundle(command), name)
        return Run(argv, lambda: self.stop([name]))

    def start(self, image: str, command: Sequence[str], *, kept: bool = False) -> Idle:
        """See Subject."""
        name = self.next_name()
        return self.started(name, (*self.words, "run", "--detach", "--bundle", self.bundle(command), name))

    def exec_s(self, idle: Idle, command: Sequence[str]) -> float:
        """See Subject."""
        return timed((*self.words, "exec", idle.name, *command))

    def stop(self, names: Sequence[str]) -> None:
        """See Subject."""
        for name in names:
            spawn.run_tool((*self.words, "delete", "--force", name))


class Plain(Reference):
    """The same program as a process of this host: `chroot` into the unpacked image, and nothing else around it."""

    def __init__(self, root: str, process: Callable[[Sequence[str]], dict[str, Any]]) -> None:
        super().__init__("plain", "plain process (chroot into the unpacked image)")
        self.root, self.process = root, process

    def begin(self, image: str, command: Sequence[str]) -> Run:
        """See Subject."""
        process = self.process(command)
        user = f"--userspec={process['user']['uid']}:{process['user']['gid']}"
        variables = dict(entry.partition("=")[::2] for entry in process["env"])
        chroot = shutil.which("chroot") or "/usr/sbin/chroot"
        return Run((chroot, user, self.root, *process["args"]), lambda: None, environment=variables)


def free_port() -> int:
    """A port of the loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def process_of(image: Image, command: Sequence[str]) -> dict[str, Any]:
    """Arguments, variables, user and directory of the image's process, as an OCI spec has them."""
    process = make_spec(image, Request("", command=tuple(command)), Identity("0", "localhost"))["process"]
    return {key: process[key] for key in ("args", "env", "cwd", "user")}
