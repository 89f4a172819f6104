"""What is compared: something that runs a command in an image, and keeps an idle instance.

Promise: whatever a subject started, it ends.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Protocol

from twinhull.compare import abandoned
from twinhull.compare.run import Run, Service, Timing, Trace, last_line
from twinhull.config import Config
from twinhull.errors import TwinhullError
from twinhull.host import memory, spawn
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    Kind = Literal["container", "vm", "machine", "reference"]

STOP_S = "30"
# Longer than any workload needs that ends on TERM; one that was killed after it did not.
TERM_S = 5
# A program that ends at once on TERM, which process 1 must ask for.
ENDS_ON_TERM = ("sh", "-c", 'trap "exit 0" TERM; sleep 600 & wait')

TITLES = {
    "container": "container",
    "vm": "VM",
    "vm_template": "VM from its template alone",
    "vm_cold": "VM booting",
}


class Idle(NamedTuple):
    """An instance that waits. `supervisor` is the pid of the process above all others of it."""

    name: str
    directory: str
    supervisor: int


class MeasurementFailed(TwinhullError):
    """One measurement could not be made; the message says why."""

    code = "measurement_failed"


class Subject(Protocol):
    """One side of the comparison.

    Attributes:
        name: under which its samples are kept.
        title: for people.
    """

    name: str
    title: str
    kind: Kind

    def run(self, image: str, command: Sequence[str], service: Service, *, timeout_s: float) -> Timing:
        """Run a command in a new instance and time it."""

    def begin(self, image: str, command: Sequence[str]) -> Run:
        """Start a run without waiting for it."""

    def start(self, image: str, command: Sequence[str], *, kept: bool = False) -> Idle:
        """Start an instance in the background.

        Args:
            kept: it is no throw-away one: what it writes goes to the disk, and stays when it ends.

        Raises:
            MeasurementFailed: it did not start.
        """

    def exec_s(self, idle: Idle, command: Sequence[str]) -> float:
        """Seconds until one more process in an instance has ended.

        Raises:
            MeasurementFailed: it could not be started, or its status was not 0.
        """

    def stop_s(self, idle: Idle) -> float:
        """Seconds until an instance that ends on TERM has been stopped.

        Raises:
            MeasurementFailed: it did not end on TERM.
        """

    def stop(self, names: Sequence[str]) -> None:
        """End instances; those that ended by themselves are fine."""


class CommandLine:
    """A subject that is our own command with the flags of one isolation.

    Attributes:
        settings: path of the configuration that it runs with, "" for the user's.
    """

    kind: Kind

    def __init__(
        self, name: str, config: Config, flags: Sequence[str], *, settings: str = "", prefix: str, place: str
    ) -> None:
        self.name, self.config, self.flags, self.prefix = name, config, tuple(flags), prefix
        self.kind = "container" if name == "container" else "vm"
        self.title = TITLES[name]
        self.settings = {"TWINHULL_CONFIG": settings} if settings else {}
        self.trace = Trace(f"{place}/{name}.trace", config)
        self.command = own_command()
        self.count = 0

    def next_name(self) -> str:
        """A name that no other instance of this comparison has."""
        self.count += 1
        return f"{self.prefix}-{self.name.replace('_', '-')}-{self.count}"

    def environment(self) -> dict[str, str]:
        """The variables of our command."""
        return {**os.environ, **self.settings}

    def run_words(self, name: str, image: str, command: Sequence[str], *more: str) -> tuple[str, ...]:
        """The command that starts an instance."""
        label = "=".join(abandoned.label())
        return (*self.command, "run", *more, "--name", name, "--label", label, *self.flags, image, *command)

    def begin(self, image: str, command: Sequence[str]) -> Run:
        """See Subject."""
        name = self.next_name()
        argv = self.run_words(name, image, command, "--rm")
        return Run(argv, lambda: self.stop([name]), environment=self.environment())

    def run(self, image: str, command: Sequence[str], service: Service, *, timeout_s: float) -> Timing:
        """See Subject. The start is traced."""
        name, trace = self.next_name(), self.trace
        trace.forget()
        environment = {**self.environment(), **trace.variables()}
        argv = self.run_words(name, image, command, "--rm")
        run = Run(argv, lambda: self.stop([name]), environment=environment, trace=trace)
        if service.port:
            run.ask(lambda: (address, service.port) if (address := trace.address()) else None)
        return run.wait(timeout_s, service)

    def start(self, image: str, command: Sequence[str], *, kept: bool = False) -> Idle:
        """See Subject."""
        name, flags = self.next_name(), ("-d",) if kept else ("-d", "--rm")
        try:
            done = spawn.run_tool(self.run_words(name, image, command, *flags), environment=self.environment())
        except BaseException:  # nobody else knows its name yet
            self.stop([name])
            raise
        identity = done.stdout.strip()
        if done.returncode != 0 or not identity:
            raise MeasurementFailed(last_line(done.stderr) or f"exit status {done.returncode}")
        directory = self.config.instance(identity)
        supervisor = memory.holder(f"{directory}/alive")
        if not supervisor:
            raise MeasurementFailed(f"{' '.join(command) or 'the default command'} ended at once")
        return Idle(name, directory, supervisor)

    def exec_s(self, idle: Idle, command: Sequence[str]) -> float:
        """See Subject."""
        return timed((*self.command, "exec", idle.name, *command))

    def stop_s(self, idle: Idle) -> float:
        """See Subject."""
        return ended_on_term(timed((*self.command, "stop", "-t", str(TERM_S), idle.name)))

    def stop(self, names: Sequence[str]) -> None:
        """See Subject."""
        if names:
            spawn.run_tool(("timeout", STOP_S, *self.command, "rm", "-f", *names))


def timed(argv: Sequence[str]) -> float:
    """Seconds that a command takes.

    Raises:
        MeasurementFailed: its status was not 0.
    """
    began = time.monotonic()
    done = spawn.run_tool(argv)
    took_s = time.monotonic() - began
    if done.returncode != 0:
        raise MeasurementFailed(last_line(done.stderr) or f"exit status {done.returncode}")
    return took_s


def ended_on_term(took_s: float) -> float:
    """The time of a stop, unless it was one of waiting and killing.

    Raises:
        MeasurementFailed: it was.
    """
    if took_s >= TERM_S:
        raise MeasurementFailed(f"it did not end on TERM within {TERM_S} s")
    return took_s


def flags_of(subject: Subject) -> tuple[str, ...]:
    """The flags of `run` that make an instance like the subject's own: its isolation and its limits."""
    return subject.flags if isinstance(subject, CommandLine) else ()


def own_command() -> tuple[str, ...]:
    """How our command is started from its entry script."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return (sys.executable, "-IS", f"{package}/__main__.py")
