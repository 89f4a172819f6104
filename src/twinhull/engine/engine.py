"""The engine: every verb as a method, without a daemon and without output.

Promise: whatever it acknowledged survives the death of any process; a verb first finishes what
others left behind.
"""

from __future__ import annotations

import os
import time

from twinhull.config import Config, load
from twinhull.engine.reconcile import finish, reconcile
from twinhull.engine.state import Home, exit_record, open_home, status
from twinhull.errors import HostUnfit, InvalidRequest
from twinhull.model import Image, Instance, Request
from twinhull.store import instances
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from twinhull.advice.question import Wishes
    from twinhull.engine import logs
    from twinhull.engine.counsel import Counsel
    from twinhull.engine.execute import ExecRequest
    from twinhull.engine.files import Files
    from twinhull.engine.live import Live
    from twinhull.engine.volumes import Row as VolumeRow
    from twinhull.machine.clock import Clock
    from twinhull.machine.inside import Inside
    from twinhull.model import IsolationChoice, Status
    from twinhull.plan.frames import ExitStatus
    from twinhull.runtime.sandbox import Sandbox
    from twinhull.store.transfer import Progress

ISOLATION_CHOICES: tuple[IsolationChoice, ...] = ("container", "vm", "auto")


class Result(NamedTuple):
    """What a finished run or exec left: the status, and everything it wrote."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class Engine:
    """In-process engine; use it as a context manager.

    >>> with Engine() as engine:
    ...     engine.run("busybox", ["echo", "hi"], isolation="vm").stdout
    b'hi\\n'
    """

    def __init__(self, config: Config | None = None, *, progress: Progress | None = None) -> None:
        self.config = config or load()
        self.home = open_home(self.config, progress)

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database; workloads go on."""
        if isinstance(self.home, Home):
            self.collect_children()
            self.home = self.home.closed()

    def collect_children(self) -> None:
        """Reap those of our children that have ended."""
        for pid in list(self.home.children):
            try:
                if os.waitpid(pid, os.WNOHANG)[0]:
                    self.home.children.remove(pid)
            except ChildProcessError:
                self.home.children.remove(pid)

    def adopt(self, conversation: Sandbox) -> Sandbox:
        """Remember the shim of a conversation, to reap it when it has ended."""
        if conversation.shim_pid:
            self.home.children.append(conversation.shim_pid)
        return conversation

    def reconcile(self, *, everything: bool = False) -> None:
        """Finish what other processes left."""
        self.collect_children()
        reconcile(self.home, everything=everything)

    # --- starting

    def image(self, reference: str, *, platform: str = "", pull: str = "missing") -> Image:
        """Return an image that is here, fetched first if need be (pull: always, missing, never)."""
        from twinhull.engine import images

        return images.resolve(self.home, reference, platform=platform, pull=pull)

    def run(
        self,
        image: str,
        command: list[str] | tuple[str, ...] = (),
        *,
        isolation: IsolationChoice | None = None,
        stdin: bytes = b"",
        request: Request | None = None,
    ) -> Result:
        """Run to the end and return status and output.

        Args:
            request: everything else that can be asked for; `image`, `command` and `isolation` win.
        """
        from twinhull.engine.gather import collect

        wanted = self.request(image, command, isolation=isolation, request=request)
        wanted = wanted._replace(interactive=bool(stdin) or wanted.interactive, remove=True)
        instance, conversation = self.run_attached(wanted)
        result = collect(conversation, 0, stdin)
        conversation.reap()
        finish(self.home, instance.id)
        return result

    def request(
        self,
        image: str,
        command: list[str] | tuple[str, ...],
        *,
        isolation: IsolationChoice | None,
        request: Request | None,
    ) -> Request:
        """The request that these arguments make, with the configured isolation where none is named."""
        from twinhull.engine.gather import require_words

        require_words(command)
        base = request or Request(image, isolation=configured_isolation(self.config))
        return base._replace(image=image, command=tuple(command) or base.command, isolation=isolation or base.isolation)

    def run_attached(
        self, request: Request, *, size: tuple[int, int] = (0, 0), pull: str = "missing"
    ) -> tuple[Instance, Sandbox]:
        """Create and start; the caller holds the first, lossless client's end. NoWall: not trusted, and none here."""
        from twinhull.engine import images, life

        life.require_root(self.home)
        self.reconcile()
        with images.unpruned(self.home):
            image, request = self.settled(request, pull)
            instance, conversation = life.run(self.home, image, request, size=size)
        return instance, self.adopt(conversation)

    def create(self, request: Request, *, pull: str = "missing") -> Instance:
        """Write a workload down without starting it; NoWall as for run_attached."""
        from twinhull.engine import images, life

        life.require_root(self.home)
        self.reconcile()
        with images.unpruned(self.home):
            return life.create(self.home, *self.settled(request, pull))

    def settled(self, request: Request, pull: str) -> tuple[Image, Request]:
        """The image, here from now on, and the request with its isolation decided.

        What is not trusted and has no wall here is refused before anything of it is fetched.
        """
        if request.platform and request.isolation != "auto":
            from twinhull.engine import foreign

            foreign.check(self.config, request.platform, request.isolation)
        if request.isolation != "auto" and not request.untrusted and not request.accept_weak_wall:
            return self.image(request.image, platform=request.platform, pull=pull), request
        from twinhull.engine import isolation

        if request.untrusted:
            isolation.settle(self.home, request, None)
        image = self.image(request.image, platform=request.platform, pull=pull)
        settled = isolation.settle(self.home, request, image)
        if warning := isolation.warning(settled):
            self.home.notice(warning)
        return image, settled

    def create_machine(self, disk: str, request: Request) -> Instance:
        """Write a machine down: an operating system of its own, on top of the qcow2 file `disk`.

        Args:
            disk: "" is a Debian, made of this host's package sources the first time.
            request: name, memory, processors, network and ports; the rest is the disk's affair.
        """
        from twinhull.engine import life, machines

        life.require_root(self.home)
        self.reconcile()
        return machines.create(self.home, disk, request)

    def start_clocked(self, name: str) -> Clock:
        """Switch a machine on and return, once its guest agent answers, when each part of that had happened."""
        from twinhull.machine import clock

        began = time.monotonic()
        conversation = self.start(name)
        try:
            return clock.watch(conversation, self.home.directory(self.find(name).id), began)
        finally:
            conversation.close()

    def inside(self, name: str, *, wait_s: float = 0.0) -> Inside:
        """What runs in a machine, told by its guest agent; its system may have `wait_s` to come up."""
        from twinhull.machine import inside

        return inside.look(self.home.directory(self.find(name).id), wait_s=wait_s)

    def start(self, name: str, *, size: tuple[int, int] = (0, 0), stdin: bool = False) -> Sandbox:
        """Start a workload that does not run; the caller holds the first client's end, and may feed it."""
        from twinhull.engine import images, starting

        self.reconcile()
        instance = self.find(name)
        image = images.of_instance(self.home, instance)
        return self.adopt(starting.start(self.home, instance, image, size=size, stdin=stdin))

    def restart(self, name: str, *, timeout_s: float | None = None) -> None:
        """Stop and start."""
        self.stop(name, timeout_s=timeout_s)
        self.start(name).close()

    # --- looking

    def advise(self, request: Request, wishes: Wishes | None = None, *, prove: bool = False) -> Counsel:
        """Container, virtual machine, machine or stop, with the reasons; nothing is fetched or started.

        Args:
            wishes: what the user says of the workload; without, what the request says.
            prove: run a guest under KVM if none has run since the boot.
        """
        from twinhull.advice.question import Wishes
        from twinhull.engine.counsel import counsel

        wishes = wishes or Wishes(untrusted=request.untrusted, accept_weak_wall=request.accept_weak_wall)
        return counsel(self.home, request, wishes, prove=prove)

    def find(self, name: str) -> Instance:
        """The workload with this name, id, or beginning of an id."""
        return instances.find(self.home.db, name)

    def ps(self, *, everything: bool = False) -> list[tuple[Instance, Status]]:
        """Workloads with their states, newest first; those that ended only with `everything`."""
        try:
            self.reconcile(everything=True)
        except HostUnfit:
            pass  # a full disk: what there is can be told all the same
        rows = [(instance, status(self.home, instance)) for instance in instances.everything(self.home.db)]
        return [row for row in rows if everything or row[1] in ("running", "paused", "restarting")]

    def status(self, instance: Instance) -> Status:
        """What a workload is now."""
        return status(self.home, instance)

    def exit_of(self, instance: Instance) -> ExitStatus | None:
        """How it ended, if it did."""
        from twinhull.plan.frames import ExitStatus

        record = exit_record(self.home, instance.id)
        return ExitStatus(record.code, record.signal, record.oom) if record else None

    def logs(
        self, name: str, *, follow: bool = False, tail: int = -1, since: str = "", until: str = ""
    ) -> Iterator[logs.Line]:
        """What the workload wrote."""
        from twinhull.engine import logs

        return logs.read(self.home.directory(self.find(name).id), follow=follow, tail=tail, since=since, until=until)

    @property
    def files(self) -> Files:
        """The files of workloads: copies in and out, differences, images of them."""
        from twinhull.engine.files import Files

        return Files(self.home)

    @property
    def live(self) -> Live:
        """What is done to workloads beside their lives: pause, top, stats, rename, update."""
        from twinhull.engine.live import Live

        return Live(self.home)

    # --- acting on what runs

    def attach(self, name: str) -> Sandbox:
        """A conversation with a running workload's shim."""
        from twinhull.engine import control
        from twinhull.runtime import sandbox

        instance = self.find(name)
        control.require_running(self.home, instance)
        control.require_unpaused(self.home, instance)
        return sandbox.connect(self.home.directory(instance.id))

    def exec(self, name: str, command: list[str] | tuple[str, ...], *, stdin: bytes = b"") -> Result:
        """Run one more process inside and return status and output."""
        from twinhull.engine.execute import STREAM, ExecRequest
        from twinhull.engine.gather import collect, require_words

        require_words(command)
        request = ExecRequest(tuple(command), interactive=bool(stdin))
        return collect(self.exec_attached(name, request), STREAM, stdin)

    def exec_attached(self, name: str, request: ExecRequest, *, size: tuple[int, int] = (0, 0)) -> Sandbox:
        """Start one more process; its stream is execute.STREAM."""
        from twinhull.engine import execute

        return execute.execute(self.home, self.find(name), request, size=size)

    def exec_detached(self, name: str, request: ExecRequest) -> None:
        """Start one more process and leave it running; nobody sees what it writes."""
        from twinhull.engine.execute import STREAM
        from twinhull.plan.frames import Kind

        conversation = self.exec_attached(name, request)
        try:
            conversation.send(Kind.DETACH, STREAM)
            conversation.settle()
        finally:
            conversation.close()

    def kill(self, name: str, signal: str = "KILL") -> None:
        """Send a signal to the main process."""
        from twinhull.engine import control

        control.kill(self.home, self.find(name), control.signal_number(signal))

    def stop(self, name: str, *, signal: str = "", timeout_s: float | None = None) -> None:
        """Ask to end, and end after the timeout (10 s; a machine 30 s)."""
        from twinhull.engine import control

        control.stop(self.home, self.find(name), signal=signal, timeout_s=timeout_s)

    def wait(self, name: str) -> ExitStatus:
        """Return how it ended, now or when it does."""
        from twinhull.engine import control

        return control.wait(self.home, self.find(name))

    def remove(self, name: str, *, force: bool = False, volumes: bool = False) -> None:
        """Delete a workload with its writable layer and log, and those of its volumes that nobody named."""
        from twinhull.engine import control

        control.remove_named(self.home, name, force=force, volumes=volumes)

    # --- volumes

    def create_volume(self, name: str, *, labels: tuple[tuple[str, str], ...] = (), anonymous: bool = False) -> str:
        """Make a volume and return its name; one that is there already stays as it is."""
        from twinhull.engine import life, volumes

        life.require_root(self.home)
        return volumes.create(self.home, name, labels, anonymous=anonymous)

    def volumes(self) -> list[VolumeRow]:
        """Every volume, by name."""
        from twinhull.engine import volumes

        self.reconcile()
        return volumes.everything(self.home)

    def volume(self, name: str) -> VolumeRow:
        """The volume with this name."""
        from twinhull.engine import volumes

        return volumes.find(self.home, name)

    def remove_volume(self, name: str, *, force: bool = False) -> None:
        """Delete a volume that no workload has asked for; with `force` one that is not there is fine."""
        from twinhull.engine import volumes

        self.reconcile()
        volumes.remove(self.home, name, force=force)

    def prune_volumes(self, *, everything_unused: bool = False) -> list[str]:
        """Delete the anonymous volumes that no workload has asked for, or all such; return their names."""
        from twinhull.engine import volumes

        self.reconcile()
        return volumes.prune(self.home, everything_unused=everything_unused)


def configured_isolation(config: Config) -> IsolationChoice:
    """The default isolation of the configuration.

    Raises:
        InvalidRequest: the configuration says something else.
    """
    for choice in ISOLATION_CHOICES:
        if config.isolation == choice:
            return choice
    raise InvalidRequest(f"isolation = {config.isolation!r} in the configuration", hint="container, vm or auto")
