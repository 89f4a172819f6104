"""Files into a workload and out of it, whether it runs or not.

Promise: no name is followed out of the workload's root or out of the directory that is written to, whoever changes it
meanwhile; no program of the image runs. What a workload sends is hostile: devices are refused, and only --archive keeps
owners, set-id bits and capabilities.

Source: docker cp's reference, for what goes where.
"""

from __future__ import annotations

import os
import stat
from errno import ENOENT, ENOTDIR

from twinhull.engine import tools
from twinhull.engine.state import Home
from twinhull.errors import GuestError, InvalidRequest, NotFound, RegistryError, TwinhullError
from twinhull.model import Instance
from twinhull.oci import records
from twinhull.oci.layer import Limits, clean
from twinhull.oci.records import Record
from twinhull.oci.tar import Archive, Stream
from twinhull.runtime.tool import Tool
from twinhull.store.unpack import Unpacker
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from twinhull.oci.tar import Header
    from twinhull.runtime.sandbox import Sandbox

    Body = Callable[[], Iterator[memoryview]]

CHUNK_BYTES = 1 << 16
SET_ID = 0o6000


class Target(NamedTuple):
    """Where a copy goes: into this directory, under this name; without a name its content goes there."""

    directory: str
    name: bytes


def kind_at(conversation: Sandbox, path: str, *, follow: bool = True) -> str | None:
    """What lies at a path of the workload, as a tar calls it; None: nothing.

    Raises:
        TwinhullError: it cannot be looked at.
    """
    tool = Tool(conversation, "read", path, tools.FOLLOW if follow else 0)
    first: Record | None = None
    for record in records.decoded(Stream(tool.chunks())):
        first = first or record
    drain(tool)
    if first is None or (first.tag == records.ERROR and first.mode in (ENOENT, ENOTDIR)):
        return None
    if first.tag == records.ERROR:
        raise tools.failed(f"cp {path}", first.mode, "")
    return first.kind or "socket"


def drain(tool: Tool) -> None:
    """Take what is left: the conversation is the next tool's."""
    for _ in tool.chunks():
        pass


def target_of(kind: str | None, path: str, name: bytes, *, source_is_directory: bool, contents: bool) -> Target:
    """Docker's rules: what is copied to `path`, where there is something of this kind.

    Args:
        name: of the source.
        contents: the source ends with "/.": what is in it, not itself.

    Raises:
        InvalidRequest: a directory onto a file, or into a directory that is not there.
    """
    bare = path.rstrip("/") or "/"
    if kind == "directory":
        return Target(bare, b"" if contents else name)
    if kind is not None and (source_is_directory or path.endswith("/")):
        raise InvalidRequest(f"{path} is not a directory", hint="a directory can only be copied into one")
    if kind is None and path.endswith("/") and not source_is_directory:
        raise NotFound(f"no such directory: {path}", hint="leave the / out to copy to a file of this name")
    parent, last = os.path.split(bare)
    if last in ("", ".", ".."):
        raise InvalidRequest(f"{path} names no file", hint="end with the name that the copy shall have")
    return Target(parent or ".", os.fsencode(last))


def is_contents(path: str) -> bool:
    """True for DIR/. , whose content is meant."""
    return path.endswith("/.") or path == "."


# --- out of a workload


def outgoing(
    conversation: Sandbox, name: str, path: str, *, follow: bool, one_mount: bool = False
) -> Iterator[tuple[Record, Body]]:
    """Give each file at a path of the workload, the top one first, with its content.

    Args:
        one_mount: not what is mounted below.

    Raises:
        NotFound: there is none.
        GuestError: what comes is no stream of files.
    """
    flags = tools.RECURSE | tools.CONTENT | (tools.FOLLOW if follow else 0) | (tools.ONE_MOUNT * one_mount)
    stream = Stream(Tool(conversation, "read", path, flags).chunks())
    limits = Limits()
    try:
        for record in records.decoded(stream):
            if record.tag == records.ERROR and record.mode in (ENOENT, ENOTDIR):
                raise NotFound(f"{name} has no file {path}")
            if record.tag not in (records.ENTRY, records.HARDLINK):
                raise tools.failed(f"cp {name}:{path}", record.mode, os.fsdecode(record.name))
            left = Content(stream, record)
            if record.kind is not None:
                limits.count(records.header_of(record, record.name))
                yield record, left.pieces
            left.skip()
    except RegistryError as error:
        raise GuestError(f"what {name} sends cannot be taken: {error.message}") from None


class Content:
    """What follows a record, read once or passed over."""

    def __init__(self, stream: Stream, record: Record) -> None:
        self.stream = stream
        self.left = record.size_bytes

    def pieces(self) -> Iterator[memoryview]:
        """Give it."""
        for piece in self.stream.pieces(self.left):
            self.left -= len(piece)
            yield piece

    def skip(self) -> None:
        """Pass over what was not taken."""
        for _ in self.pieces():
            pass


def renamed(top: bytes, name: bytes) -> bytes:
    """A name below the path that was asked for, below a name of ours."""
    return b"/".join(filter(None, (top, name)))


def below(top: bytes, record: Record) -> Record:
    """The record under a name of ours, and with it the file that it is one more name of."""
    link = renamed(top, record.link) if record.tag == records.HARDLINK else record.link
    return record._replace(name=renamed(top, record.name), link=link)


def tar_out(home: Home, instance: Instance, path: str, output: BinaryIO, *, follow: bool = False) -> None:
    """Write a path of the workload to a stream, as a tar."""
    top = b"" if is_contents(path) else os.fsencode(os.path.basename(path.rstrip("/")))
    with tools.conversation_with(home, instance) as conversation:
        rows = outgoing(conversation, instance.name, path, follow=follow)
        entries = ((checked(below(top, record)), body) for record, body in rows)
        output.writelines(records.tar_of(entries))
    output.flush()


def checked(record: Record) -> Header:
    """The header of a record whose names lead nowhere else."""
    if record.tag == records.HARDLINK:
        record = record._replace(link=b"/".join(clean(record.link)))
    header = records.header_of(record, b"/".join(clean(record.name)) or b".")
    return header._replace(name=header.name + b"/") if record.kind == "directory" else header


def copy_out(
    home: Home, instance: Instance, path: str, target: str, *, archive: bool = False, follow: bool = False
) -> None:
    """Copy a path of the workload to one of the host.

    Raises:
        NotFound: it is not there, or the directory to copy to is not.
        InvalidRequest: a directory onto a file, or a device.
    """
    with tools.conversation_with(home, instance) as conversation:
        kind = kind_at(conversation, path, follow=follow or path.endswith(("/", "/.")))
        if kind is None:
            raise NotFound(f"{instance.name} has no file {path}")
        there = kind_of(target)
        name = os.fsencode(os.path.basename(path.rstrip("/")))
        directory = kind == "directory"
        place = target_of(there, target, name, source_is_directory=directory, contents=is_contents(path))
        if not os.path.isdir(place.directory):
            raise NotFound(f"no such directory: {place.directory}")
        unpacker, made = Unpacker(os.path.realpath(place.directory)), set[bytes]()
        try:
            for record, body in outgoing(conversation, instance.name, path, follow=follow or path.endswith("/")):
                take_out(unpacker, below(place.name, record), body, made, archive=archive)
            unpacker.times.pop(b"", None)
            unpacker.set_times()
        except RegistryError as error:
            raise TwinhullError(f"cp {instance.name}:{path}: {error.message}") from None
        finally:
            unpacker.close()


def take_out(unpacker: Unpacker, record: Record, body: Body, made: set[bytes], *, archive: bool) -> None:
    """Make one file of a workload on the host.

    Args:
        made: the files that were made so far, to which this one is added: only they can get another name.
    """
    parts = clean(record.name)
    if record.kind in ("character", "block"):
        raise InvalidRequest(f"{os.fsdecode(record.name)!r} is a device: a workload gives the host none")
    if not parts:
        return  # the directory that is copied into
    if record.tag == records.HARDLINK and record.link not in made:
        raise GuestError(f"{os.fsdecode(record.name)!r} is sent as a name of a file that was not sent")
    if record.kind == "file":
        made.add(record.name)
    header = records.header_of(record, record.name)
    if not archive:
        header = header._replace(uid=os.geteuid(), gid=os.getegid(), mode=header.mode & ~SET_ID, xattrs=())
    refuse_replacing(unpacker, parts, directory=header.kind == "directory")
    unpacker.add(header, parts, body)


def refuse_replacing(unpacker: Unpacker, parts: tuple[bytes, ...], *, directory: bool) -> None:
    """A directory is not replaced by a file, nor the reverse."""
    try:
        there = stat.S_ISDIR(os.lstat(parts[-1], dir_fd=unpacker.directory(parts[:-1])).st_mode)
    except FileNotFoundError:
        return
    if there != directory:
        what = "a directory" if there else "no directory"
        raise InvalidRequest(f"{os.fsdecode(b'/'.join(parts))!r} is there and is {what}")


def kind_of(path: str) -> str | None:
    """What lies at a path of the host."""
    try:
        return records.KINDS.get(os.stat(path).st_mode & records.S_IFMT, "socket")
    except (FileNotFoundError, NotADirectoryError):
        return None


# --- into a workload


def incoming(path: str, top: bytes, *, archive: bool, follow: bool) -> Iterator[tuple[Record, Body]]:
    """Give the files at a path of the host under the name `top`; directories once more at their end, for the time."""
    status = os.stat(path) if follow or path.endswith("/") else os.lstat(path)
    record = record_at(path, status, top, archive=archive)
    if record is None:
        return
    if record.kind != "directory":
        yield record, lambda: content(path, record.size_bytes)
        return
    if top:
        yield record, nothing
    for name in sorted(os.listdir(os.fsencode(path))):
        inner = os.fsdecode(os.path.join(os.fsencode(path), name))
        yield from incoming(inner, renamed(top, name), archive=archive, follow=False)
    if top:
        yield record, nothing


def record_at(path: str, status: os.stat_result, name: bytes, *, archive: bool) -> Record | None:
    """A file of the host; None for a socket, as in a tar."""
    kind = records.KINDS.get(status.st_mode & records.S_IFMT)
    if kind is None:
        return None
    return Record(
        records.ENTRY,
        status.st_mode,
        status.st_uid if archive else 0,
        status.st_gid if archive else 0,
        os.major(status.st_rdev) if kind in ("character", "block") else 0,
        os.minor(status.st_rdev) if kind in ("character", "block") else 0,
        status.st_mtime_ns,
        name,
        os.fsencode(os.readlink(path)) if kind == "symlink" else b"",
        b"",
        status.st_size if kind == "file" else 0,
    )


def nothing() -> Iterator[memoryview]:
    """No content."""
    yield from ()


def content(path: str, size_bytes: int) -> Iterator[memoryview]:
    """Exactly so many bytes of a file, whatever becomes of it meanwhile."""
    with open(path, "rb") as file:
        while size_bytes:
            part = file.read(min(CHUNK_BYTES, size_bytes)) or bytes(min(CHUNK_BYTES, size_bytes))
            size_bytes -= len(part)
            yield memoryview(part)


def copy_in(
    home: Home, instance: Instance, path: str, target: str, *, archive: bool = False, follow: bool = False
) -> None:
    """Copy a path of the host into the workload.

    Raises:
        NotFound: it is not there, or the directory to copy to is not.
        InvalidRequest: a directory onto a file.
    """
    if kind_of(path) is None and not os.path.islink(path):
        raise NotFound(f"no such file: {path}")
    with tools.conversation_with(home, instance) as conversation:
        kind = kind_at(conversation, target)
        name = os.fsencode(os.path.basename(os.path.abspath(path)))
        directory = os.path.isdir(path) and (follow or path.endswith(("/", "/.")) or not os.path.islink(path))
        place = target_of(kind, target, name, source_is_directory=directory, contents=is_contents(path))
        send(conversation, instance, place.directory, incoming(path, place.name, archive=archive, follow=follow))


def tar_in(home: Home, instance: Instance, chunks: Iterator[bytes], target: str) -> None:
    """Unpack a tar, packed or not, into a directory of the workload.

    Raises:
        InvalidRequest: it is none, or there is no such directory.
    """
    from twinhull.store.decompress import decompressed

    with tools.conversation_with(home, instance) as conversation:
        if kind_at(conversation, target) != "directory":
            raise NotFound(f"{instance.name} has no directory {target}")
        try:
            send(conversation, instance, target, unpacked(Archive(decompressed(chunks))))
        except RegistryError as error:
            raise InvalidRequest(error.message) from None


def unpacked(archive: Archive) -> Iterator[tuple[Record, Body]]:
    """The entries of an archive; directories that have none of their own come before what lies in them."""
    known: set[tuple[bytes, ...]] = {()}
    for header in archive:
        parts = clean(header.name)
        for depth in range(1, len(parts)):
            if parts[:depth] not in known:
                known.add(parts[:depth])
                implied = Record(records.IMPLIED, records.TYPES["directory"] | 0o755, name=b"/".join(parts[:depth]))
                yield implied, nothing
        if not parts:
            continue
        if header.kind == "directory":
            known.add(parts)
        link = b"/".join(clean(header.link)) if header.kind == "hardlink" else b""
        yield records.record_of(header, b"/".join(parts), link), archive.body


def send(conversation: Sandbox, instance: Instance, directory: str, rows: Iterator[tuple[Record, Body]]) -> None:
    """Have files made in a directory of the workload."""
    # A guest that was made for this is cut off right after it; on the host the kernel keeps what was written.
    flags = tools.SYNCS if instance.isolation == "vm" else 0
    tool = Tool(conversation, "write", directory, flags, fed=True)
    alive = True
    for record, body in rows:
        alive = alive and tool.write(records.encode(record))
        for piece in body() if alive and record.size_bytes else ():
            alive = alive and tool.write(bytes(piece))
        if not alive:
            break
    if alive:
        tool.write(records.encode(Record(records.END)))
    tool.end_input()
    for record in records.decoded(Stream(tool.chunks())):
        if record.tag == records.ERROR:
            where = f"cp to {instance.name}:{directory}"
            if record.mode == ENOENT and not record.name:
                raise NotFound(f"{instance.name} has no directory {directory}")
            raise tools.failed(where, record.mode, os.fsdecode(record.name))
    drain(tool)
