"""One run of checks: our own command, the instances it keeps running meanwhile, and what was observed so far.

Promise: a command is shown as it was run; an observer runs once; whatever the session started it ends,
also after an interruption.
"""

from __future__ import annotations

import json
import os
import shlex
import time

from twinhull.compare import abandoned
from twinhull.compare.run import last_line
from twinhull.compare.subject import own_command
from twinhull.config import Config
from twinhull.engine import spares
from twinhull.errors import TwinhullError
from twinhull.host import files, memory, spawn
from twinhull.prove.evidence import Evidence, Ran, gap, merged
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from twinhull.prove.evidence import Observer, Side

IMAGE = "twinhull/busybox"
FIRST_START_S = 300.0  # a guest's kernel is fetched and a template made
COMMAND_S = 60.0
LIFE_S = 600  # an instance ends by itself if we are killed
# "" is how most commands run.
KINDS: Mapping[str, Mapping[str, object]] = {
    "": {},
    "cold": {"vm_template": False},
    "elsewhere": {"vm_template": False, "state": Config().state, "run": Config().run},  # left to TWINHULL_ROOT
}
FIRST: Mapping[Side, str] = {
    "container": "The first container",
    "vm": "The first virtual machine: a guest kernel and a template are made once, if they are not here",
}
MAX_SAID = 160
SHORT_ID = 12
TIMED_OUT = 124  # timeout(1)


class Effort(NamedTuple):
    """How often what varies is repeated. `pairs` are starts of both sides, `boots` cold starts among them.

    A rank test tells two sets apart from four values on each side on, or from three and five.
    """

    pairs: int = 10
    boots: int = 3
    instances: int = 5
    works: int = 4
    copies: int = 4


class Unobserved(TwinhullError):
    """Something could not be observed; the message says why."""

    code = "unobserved"


class Done(NamedTuple):
    """How one command of ours ended. `command` is how a user types it."""

    command: str
    exit_code: int
    stdout: str
    complaint: str
    took_s: float

    def ran(self, said: str = "") -> Ran:
        """For the record, with what came out unless the caller says it better."""
        return Ran(self.command, said or shortened(self.stdout) or self.complaint)


class Kept(NamedTuple):
    """An instance that runs. `supervisor` is the pid of the process above all others of it."""

    name: str
    directory: str
    supervisor: int
    ran: Ran


class Session:
    """Runs commands and keeps what observers found; use it as a context manager.

    Args:
        config: of the user; the commands run with it, and with KINDS.
        place: a directory of its own, from which the commands run.
        tell: takes a line about what is being done.
    """

    def __init__(self, config: Config, place: str, tell: Callable[[str], None], effort: Effort | None = None) -> None:
        self.config = config
        self.place = place
        self.tell = tell
        self.effort = effort or Effort()
        self.prefix = f"prove-{os.urandom(2).hex()}"
        self.register = abandoned.Register(config.state, self.prefix)
        self.names: list[str] = []
        self.machines: list[str] = []
        self.count = 0
        self.kept: dict[Side, Kept] = {}
        self.found: dict[Observer, Evidence] = {}
        self.ready: set[Side] = set()
        for kind, settings in KINDS.items():
            files.write(f"{place}/{settings_file(kind)}", toml(config, settings).encode())

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_machines()
        self.end(self.names)
        self.register.close()

    def observe(self, observers: Sequence[Observer]) -> Evidence:
        """What these observers find, or found before."""
        return merged([self.evidence(observer) for observer in observers])

    def evidence(self, observer: Observer) -> Evidence:
        """Run an observer, once in a session; what it could not observe is a gap with its reason."""
        if observer not in self.found:
            self.tell((observer.__doc__ or observer.__name__).splitlines()[0])
            try:
                self.found[observer] = observer(self)
            except Unobserved as error:
                self.found[observer] = gap(error.message)
        return self.found[observer]

    # --- commands

    def argv(self, words: Sequence[str], kind: str = "", variables: Sequence[str] = ()) -> tuple[str, ...]:
        """Our own command with the settings of a kind, in the session's directory."""
        settings = f"TWINHULL_CONFIG={settings_file(kind)}"
        return ("env", "-C", self.place, settings, *variables, *own_command(), *words)

    def shown(self, words: Sequence[str], kind: str = "", variables: Sequence[str] = ()) -> str:
        """The same as a user types it; the settings of most commands are said once for all."""
        settings = (f"TWINHULL_CONFIG={settings_file(kind)}",) if kind else ()
        return shlex.join((*settings, *variables, "twinhull", *words))

    def run(self, *words: str, kind: str = "", variables: Sequence[str] = (), timeout_s: float = COMMAND_S) -> Done:
        """Run one command of ours to its end, whatever that is.

        Raises:
            Unobserved: it did not end in time.
        """
        return self.tool(self.argv(words, kind, variables), self.shown(words, kind, variables), timeout_s)

    def tool(self, argv: Sequence[str], shown: str = "", timeout_s: float = COMMAND_S) -> Done:
        """Run any command to its end.

        Raises:
            Unobserved: it did not end in time.
        """
        command = shown or shlex.join(argv)
        began = time.perf_counter()
        done = spawn.run_tool(("timeout", "--foreground", f"{timeout_s:.0f}", *argv))
        took_s = time.perf_counter() - began
        if done.returncode == TIMED_OUT and took_s >= timeout_s:
            raise Unobserved(f"{command}: no end within {timeout_s:.0f} s")
        return Done(command, done.returncode, done.stdout, last_line(done.stderr), took_s)

    def must(self, *words: str, kind: str = "", variables: Sequence[str] = (), timeout_s: float = COMMAND_S) -> Done:
        """Run one command of ours that has to succeed.

        Raises:
            Unobserved: it did not.
        """
        done = self.run(*words, kind=kind, variables=variables, timeout_s=timeout_s)
        if done.exit_code:
            raise Unobserved(f"{done.command}: {done.complaint or f'exit status {done.exit_code}'}")
        return done

    def prepare(self, side: Side) -> None:
        """Make what is made only once for a machine, so that no check is charged with it.

        Raises:
            Unobserved: this side does not run here.
        """
        if side not in self.ready:
            self.tell(FIRST[side])
            self.must("run", "--rm", *isolation(side), IMAGE, "true", timeout_s=FIRST_START_S)
            spares.await_one(self.config)
            self.ready.add(side)

    # --- instances

    def new_name(self) -> str:
        """A name that no other instance has."""
        self.count += 1
        self.names.append(f"{self.prefix}-{self.count}")
        self.register.add(self.names[-1])
        return self.names[-1]

    def start(
        self, side: Side, *command: str, name: str = "", flags: Sequence[str] = (), thrown_away: bool = True
    ) -> Kept:
        """Start an instance that is kept running until `end`; `thrown_away` is --rm.

        Raises:
            Unobserved: it did not start, or ended at once.
        """
        self.prepare(side)
        name = name or self.new_name()
        flags = ("--rm", *flags) if thrown_away else flags
        done = self.must("run", "-d", *isolation(side), "--name", name, *flags, IMAGE, *command)
        directory = self.config.instance(done.stdout.strip())
        supervisor = memory.holder(f"{directory}/alive")
        if not supervisor:
            raise Unobserved(f"{done.command}: it ended at once")
        return Kept(name, directory, supervisor, done.ran(done.stdout[:SHORT_ID]))

    def instance(self, side: Side) -> Kept:
        """The idle instance of a side that all observers share.

        Raises:
            Unobserved: it did not start.
        """
        if side not in self.kept:
            self.kept[side] = self.start(side, "sleep", str(LIFE_S))
        return self.kept[side]

    def new_machine(self) -> str:
        """The same for a machine."""
        self.machines.append(self.new_name())
        return self.machines[-1]

    def end_machines(self) -> None:
        """Delete the machines."""
        while self.machines:
            self.run("machine", "rm", "-f", self.machines.pop())

    def end(self, names: Sequence[str]) -> None:
        """End instances; those that ended by themselves are fine."""
        ended = set(names)
        if ended:
            spawn.run_tool(("timeout", f"{COMMAND_S:.0f}", *self.argv(("rm", "-f", *sorted(ended)))))
        self.names = [name for name in self.names if name not in ended]
        self.kept = {side: kept for side, kept in self.kept.items() if kept.name not in ended}


def isolation(side: Side) -> tuple[str, ...]:
    """The flag of a side; a configuration may have made VMs the default."""
    return ("--vm",) if side == "vm" else ("--isolation", "container")


def settings_file(kind: str) -> str:
    """The file with the settings of a kind, in the session's directory."""
    return f"{kind or 'prove'}.toml"


def toml(config: Config, settings: Mapping[str, object]) -> str:
    """What differs from the built-in settings, as a file that sets it."""
    built_in, values = Config()._asdict(), {**config._asdict(), **settings}
    changed = {key: value for key, value in values.items() if value != built_in[key]}
    listed = {key: list(value) if isinstance(value, tuple) else value for key, value in changed.items()}
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in listed.items())


def shortened(text: str) -> str:
    """What a command said as one line: its lines side by side, cut where they become many."""
    line = "  ".join(" ".join(part.split()) for part in text.splitlines() if part.strip())
    line = "".join(letter for letter in line if letter.isprintable())
    return line if len(line) <= MAX_SAID else f"{line[: MAX_SAID - 1]}…"
