"""Looking at what runs and changing it, each workload by its name."""

from __future__ import annotations

from twinhull.engine.state import Home
from twinhull.model import Instance
from twinhull.store import instances

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.engine.engine import Result
    from twinhull.engine.forking import Fork
    from twinhull.engine.processes import Process
    from twinhull.engine.snapshots import Taken
    from twinhull.engine.switching import Side
    from twinhull.engine.updating import Limits
    from twinhull.engine.usage import Sample
    from twinhull.store.snapshots import Snapshot


class Live:
    """Verbs on workloads of either isolation that are no step of their lives."""

    def __init__(self, home: Home) -> None:
        self.home = home

    def find(self, name: str) -> Instance:
        """The workload with this name, id, or beginning of an id."""
        return instances.find(self.home.db, name)

    def pause(self, name: str) -> None:
        """Freeze it; a signal to its end lets it go on."""
        from twinhull.engine import freeze

        freeze.pause(self.home, self.find(name))

    def unpause(self, name: str) -> None:
        """Let it go on."""
        from twinhull.engine import freeze

        freeze.unpause(self.home, self.find(name))

    def top(self, name: str) -> list[Process]:
        """Its processes."""
        from twinhull.engine import processes

        return processes.top(self.home, self.find(name))

    def stats(self, name: str) -> Sample:
        """What it uses now; usage.between two of them makes shares of the processor."""
        from twinhull.engine import usage

        return usage.sample(self.home, self.find(name))

    def fork(self, name: str, *, count: int = 1, copy_name: str = "") -> Fork:
        """Make copies of a running virtual machine, which go on from where it is as machines of their own."""
        from twinhull.engine import forking, images

        instance = self.find(name)
        return forking.fork(self.home, instance, images.of_instance(self.home, instance), count=count, name=copy_name)

    def check(self, name: str) -> Result:
        """Make its health check now, beside those that are made anyway."""
        from twinhull.engine import health, images

        instance = self.find(name)
        return health.test(self.home, instance, images.of_instance(self.home, instance))

    def snapshot(self, name: str, tag: str) -> Taken:
        """Write a running virtual machine down as NAME:TAG; it goes on."""
        from twinhull.engine import snapshots

        return snapshots.take(self.home, self.find(name), tag)

    def restore(self, reference: str, *, count: int = 1, name: str = "") -> tuple[Instance, ...]:
        """Start machines that go on from a snapshot."""
        from twinhull.engine import snapshots

        return snapshots.restore(self.home, reference, count=count, name=name)

    def snapshots(self) -> list[Snapshot]:
        """Every snapshot, newest first."""
        from twinhull.engine import snapshots

        return snapshots.everything(self.home)

    def remove_snapshot(self, reference: str) -> None:
        """Delete a snapshot; what was restored from it goes on."""
        from twinhull.engine import snapshots

        snapshots.remove(self.home, reference)

    def rename(self, name: str, new: str) -> None:
        """Give it another name."""
        from twinhull.engine import renaming

        renaming.rename(self.home, self.find(name), new)

    def switch(self, name: str, side: Side, *, timeout_s: float | None = None, accept_weak_wall: bool = False) -> bool:
        """Move it to the other isolation with everything but its processes; True if it ran, and was started there."""
        from twinhull.engine import switching

        return switching.switch(
            self.home, self.find(name), side, timeout_s=timeout_s, accept_weak_wall=accept_weak_wall
        )

    def due_at_boot(self) -> list[str]:
        """The names of what has a restart policy that outlives a boot, and does not run; the oldest first."""
        from twinhull.engine import policy
        from twinhull.engine.reconcile import reconcile
        from twinhull.engine.state import status

        reconcile(self.home, everything=True)
        rows = reversed(instances.everything(self.home.db))
        still = (row for row in rows if status(self.home, row) in ("exited", "lost"))
        return [row.name for row in still if policy.is_due_at_boot(self.home.directory(row.id), row.request)]

    def update(self, name: str, limits: Limits) -> None:
        """Change its limits, at once if it runs."""
        from twinhull.engine import updating

        updating.update(self.home, self.find(name), limits)
