"""The files of workloads, each by the name of its workload; it need not run."""

from __future__ import annotations

from twinhull.engine import changes, commit, copy
from twinhull.engine.changes import Change
from twinhull.engine.commit import Wish
from twinhull.engine.state import Home
from twinhull.model import Image, Instance
from twinhull.store import instances

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO


class Files:
    """Verbs on files, for workloads of either isolation."""

    def __init__(self, home: Home) -> None:
        self.home = home

    def find(self, name: str) -> Instance:
        """The workload with this name, id, or beginning of an id."""
        return instances.find(self.home.db, name)

    def copy_in(self, path: str, name: str, target: str, *, archive: bool = False, follow: bool = False) -> None:
        """Copy a path of the host to a path of a workload."""
        copy.copy_in(self.home, self.find(name), path, target, archive=archive, follow=follow)

    def copy_out(self, name: str, path: str, target: str, *, archive: bool = False, follow: bool = False) -> None:
        """Copy a path of a workload to one of the host."""
        copy.copy_out(self.home, self.find(name), path, target, archive=archive, follow=follow)

    def tar_in(self, chunks: Iterator[bytes], name: str, target: str) -> None:
        """Unpack a tar into a directory of a workload."""
        copy.tar_in(self.home, self.find(name), chunks, target)

    def tar_out(self, name: str, path: str, output: BinaryIO, *, follow: bool = False) -> None:
        """Write a path of a workload to a stream, as a tar."""
        copy.tar_out(self.home, self.find(name), path, output, follow=follow)

    def diff(self, name: str) -> list[Change]:
        """How the root of a workload differs from its image."""
        return changes.diff(self.home, self.find(name))

    def export(self, name: str, output: BinaryIO) -> None:
        """Write the whole root to a stream, as a tar."""
        changes.export(self.home, self.find(name), output)

    def commit(self, name: str, wish: Wish) -> Image:
        """Make an image of the root."""
        return commit.commit(self.home, self.find(name), wish)
