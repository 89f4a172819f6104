"""Layers come plain, gzipped or as zstd; the first bytes say which, whatever the media type claims.

Promise: decompression in our own process (or the zstd tool where Python has no module), in chunks
of bounded size, so that a bomb costs its sender's patience and not our memory.
"""

from __future__ import annotations

import os
import threading
import zlib
from itertools import chain

from twinhull.errors import HostUnfit, RegistryError
from twinhull.host import spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

CHUNK_BYTES = 1 << 20
GZIP_WBITS = 31  # zlib: a gzip header and trailer around the window of 2**15
GZIP, ZSTD, ZSTD_SKIPPABLE = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x2a\x4d\x18"
OTHERS = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x04\x22\x4d\x18": "lz4"}


def decompressed(raw: Iterator[bytes]) -> Iterator[bytes]:
    """Give the plain content of a compressed or plain stream.

    Raises:
        RegistryError: damaged, or in a format that layers do not have.
    """
    head = b""
    while len(head) < 6 and (chunk := next(raw, b"")):
        head += chunk
    whole = chain((head,), raw)
    if head.startswith(GZIP):
        return gunzip(whole)
    if head.startswith(ZSTD) or head[1:4] == ZSTD_SKIPPABLE:
        return unzstd(whole)
    for magic, name in OTHERS.items():
        if head.startswith(magic):
            raise RegistryError(f"the layer is compressed with {name}", hint="layers are plain, gzip or zstd")
    return (chunk for chunk in whole if chunk)


def gunzip(raw: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress all members of a gzip stream; isal, where it is installed, is twice as fast as zlib."""
    try:
        from isal import isal_zlib as library
    except ImportError:
        library = zlib
    decoder: Any = None
    for chunk in raw:
        rest = chunk
        while rest:
            if decoder is None or decoder.eof:
                if decoder is not None and not rest.strip(b"\0"):
                    break  # padding after the last member, as of a tape
                decoder = library.decompressobj(wbits=GZIP_WBITS)
            try:
                plain = decoder.decompress(rest, CHUNK_BYTES)
            except library.error as error:
                raise RegistryError(f"the layer is damaged: {error}") from None
            rest = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
            if plain:
                yield plain
    while decoder is not None and not decoder.eof:
        plain = decoder.decompress(b"", CHUNK_BYTES)
        if not plain:
            raise RegistryError("the layer is damaged: it ends in the middle of its compressed stream")
        yield plain


class Readable:
    """An iterator of chunks as a file, as much as the zstd module wants of one."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.chunks = chunks
        self.rest = b""

    def read(self, count: int) -> bytes:
        """Return at most `count` bytes, b"" at the end."""
        while not self.rest:
            chunk = next(self.chunks, None)
            if chunk is None:
                return b""
            self.rest = chunk
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken


def unzstd(raw: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress zstd by its Python module or, without one, by its command."""
    try:
        import zstandard
    except ImportError:
        return unzstd_by_command(raw)
    return unzstd_by_module(zstandard, raw)


def unzstd_by_module(zstandard: Any, raw: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress all frames with the module `zstandard`."""
    reader = zstandard.ZstdDecompressor().stream_reader(Readable(raw), read_across_frames=True)
    try:
        while plain := reader.read(CHUNK_BYTES):
            yield plain
    except zstandard.ZstdError as error:
        raise RegistryError(f"the layer is damaged: {error}") from None


def unzstd_by_command(raw: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress through `zstd`, which a thread feeds."""
    read_fd, write_fd = os.pipe()
    out_fd, tool_out_fd = os.pipe()
    try:
        child = spawn.popen(["zstd", "-dcq"], stdin=read_fd, stdout=tool_out_fd)
    except FileNotFoundError:
        os.close(write_fd)
        os.close(out_fd)
        hint = "apt-get install zstd"
        raise HostUnfit("this layer is compressed with zstd, which is not installed", hint=hint) from None
    finally:
        os.close(read_fd)
        os.close(tool_out_fd)
    failures: list[BaseException] = []
    feeder = threading.Thread(target=feed, args=(raw, write_fd, failures), daemon=True)
    feeder.start()
    try:
        while plain := os.read(out_fd, CHUNK_BYTES):
            yield plain
        feeder.join()
        if failures:
            raise failures[0]
        if child.wait() != 0:
            said = (child.stderr.read() if child.stderr else b"").decode(errors="replace").strip()
            raise RegistryError(f"the layer is damaged: {said[-200:]}")
    finally:
        os.close(out_fd)
        child.kill()
        child.wait()
        feeder.join()  # it reads from what its caller is about to close
        if child.stderr:
            child.stderr.close()


def feed(raw: Iterator[bytes], fd: int, failures: list[BaseException]) -> None:
    """Write all chunks to a pipe; what goes wrong in the source is the reader's to raise."""
    try:
        for chunk in raw:
            view = memoryview(chunk)
            while view:
                view = view[os.write(fd, view) :]
    except BrokenPipeError:
        pass  # the tool ended: its status says why
    except BaseException as error:
        failures.append(error)
    finally:
        os.close(fd)
