"""One layer from the wire to the disk: kept, checked, decompressed and unpacked while it arrives.

Promise: a layer that is returned has both its digests right and is synced; of any other nothing stays.
"""

from __future__ import annotations

import errno
import hashlib
import os
import queue
import threading
from typing import Protocol

from twinhull.config import Config
from twinhull.errors import RegistryError
from twinhull.host import files
from twinhull.model import Layer
from twinhull.scopes import contextmanager
from twinhull.store import content
from twinhull.store.decompress import decompressed
from twinhull.store.unpack import unpack
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from types import TracebackType

CHUNKS_AHEAD = 4
MAX_CHECKED_BYTES = 256 << 20  # are read further for a better word about a layer that failed


class Progress(Protocol):
    """Is told what happens. Calls come from several threads at once; `digest` names a layer's blob."""

    def notice(self, text: str) -> None:
        """Say something once, such as where an image came from."""

    def present(self, digest: str) -> None:
        """This layer is here already."""

    def started(self, digest: str, size_bytes: int) -> None:
        """This layer begins to arrive."""

    def advanced(self, digest: str, count_bytes: int) -> None:
        """So many more bytes of it arrived."""

    def finished(self, digest: str) -> None:
        """It is unpacked."""


class Silent:
    """Progress that nobody looks at."""

    def notice(self, text: str) -> None:
        """Nothing."""

    def present(self, digest: str) -> None:
        """Nothing."""

    def started(self, digest: str, size_bytes: int) -> None:
        """Nothing."""

    def advanced(self, digest: str, count_bytes: int) -> None:
        """Nothing."""

    def finished(self, digest: str) -> None:
        """Nothing."""


class Received(NamedTuple):
    """A layer on the disk, not yet under its number. `path` is "" if it was unpacked before."""

    layer: Layer
    path: str
    size_bytes: int


class Ahead:
    """Runs an iterator in a thread of its own, a few chunks ahead of whoever iterates.

    Hashing, decompression and disk release the interpreter, so this is worth a core. The source is closed
    by the thread that runs it, before the block ends.
    """

    def __init__(self, source: Generator[bytes, None, None]) -> None:
        self.source = source
        self.queue: queue.Queue[bytes | BaseException | None] = queue.Queue(CHUNKS_AHEAD)
        self.stopped = False
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        """Produce, until the end, an error, or nobody wants more."""
        try:
            for chunk in self.source:
                self.queue.put(chunk)
                if self.stopped:
                    return
            self.queue.put(None)
        except BaseException as error:
            self.queue.put(error)
        finally:
            self.source.close()

    def __enter__(self) -> Iterator[bytes]:
        self.thread.start()
        return self.chunks()

    def chunks(self) -> Iterator[bytes]:
        """Give what was produced; raise what was raised."""
        while (item := self.queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stopped = True
        while self.thread.is_alive():  # it may wait for room in the queue
            try:
                self.queue.get(timeout=0.05)
            except queue.Empty:
                continue


def receive(config: Config, layer: Layer, chunks: Iterator[bytes], progress: Progress, *, unpacked: bool) -> Received:
    """Take a layer in.

    Args:
        unpacked: its tar is here already, compressed differently; only the blob is kept.

    Raises:
        RegistryError: not the content that was promised, hostile, or no room for it.
    """
    path = "" if unpacked else content.new_layer_path(config, layer.digest)
    try:
        with writing(layer.digest), content.ingest(config, layer.digest) as incoming:
            difference = hashlib.sha256()
            arriving = counted(chunks, incoming, layer, progress)
            try:
                with Ahead(hashed(decompressed(arriving), difference)) as plain:
                    size_bytes = sum(map(len, plain)) if unpacked else unpack(plain, path)
            except RegistryError:
                check_bytes(incoming, chunks, layer)
                raise
            found = f"sha256:{difference.hexdigest()}"
            if found != layer.diff_id:
                raise content.corrupt(f"layer {layer.digest[:19]}", layer.diff_id, found)
            content.sync_filesystem(f"{config.state}/layers")
            incoming.finish(f"layer {layer.digest[:19]}")
    except BaseException:
        if path:
            files.remove_tree(path)
        raise
    progress.finished(layer.digest)
    return Received(layer, path, size_bytes)


def counted(chunks: Iterator[bytes], incoming: content.Ingest, layer: Layer, progress: Progress) -> Iterator[bytes]:
    """Keep each chunk and pass it on, never more than was announced."""
    progress.started(layer.digest, layer.size_bytes)
    for chunk in chunks:
        incoming.write(chunk)
        if incoming.size_bytes > layer.size_bytes:
            raise RegistryError(f"more than the {layer.size_bytes} bytes that its manifest announced")
        progress.advanced(layer.digest, len(chunk))
        yield chunk


def check_bytes(incoming: content.Ingest, rest: Iterator[bytes], layer: Layer) -> None:
    """A layer that cannot be unpacked: bytes that are not its digest's explain whatever was found in them.

    Raises:
        RegistryError: they are not.
    """
    if layer.size_bytes - incoming.size_bytes > MAX_CHECKED_BYTES:
        return
    for chunk in rest:
        incoming.skim(chunk)
    incoming.check(f"layer {layer.digest[:19]}")


def hashed(chunks: Iterator[bytes], difference: hashlib._Hash) -> Generator[bytes, None, None]:
    """Hash what passes."""
    for chunk in chunks:
        difference.update(chunk)
        yield chunk


@contextmanager
def writing(digest: str) -> Iterator[None]:
    """Let errors say which layer they are about; a full disk is one of the registry's kind."""
    try:
        yield
    except RegistryError as error:
        raise RegistryError(f"layer {digest[7:19]}: {error.message}", hint=error.hint) from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "make room (twinhull rmi) and pull again; nothing of this layer was kept" if full else ""
        raise RegistryError(
            f"layer {digest[7:19]} cannot be written: {os.strerror(error.errno or 0)}", hint=hint
        ) from error
