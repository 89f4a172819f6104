"""How the root of a workload differs from its image; a new image of that; the root as one archive.

Promise: the same looks decide in both isolations. What the engine itself puts in the way (mount points, files below
/etc for the network) is no change. A file counts as changed by type, mode, owner, size, time and device number.
"""

from __future__ import annotations

from twinhull import jsontext
from twinhull.engine import copy, images, tools
from twinhull.engine.state import Home
from twinhull.host import files
from twinhull.model import Instance
from twinhull.oci import records
from twinhull.oci.layer import Limits, clean
from twinhull.oci.records import Record
from twinhull.oci.tar import Stream
from twinhull.plan.compile import GUEST_IMAGE_DISK
from twinhull.runtime.tool import Tool
from twinhull.store import instances, snapshot
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, BinaryIO

    from twinhull.oci.tar import Header
    from twinhull.runtime.sandbox import Sandbox

    Body = Callable[[], Iterator[memoryview]]

OURS = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev", "/proc", "/sys", "/.dockerenv")
LETTERS = {records.ENTRY: "A", records.CHANGED: "C", records.DELETED: "D"}


class Change(NamedTuple):
    """One line of diff: A added, C changed, D deleted."""

    kind: str
    path: str


def lower_of(home: Home, instance: Instance) -> str:
    """Where the side of the workload finds the image."""
    if instance.isolation == "vm":
        return GUEST_IMAGE_DISK
    base, names = snapshot.lower(home.config, home.db, images.of_instance(home, instance))
    return f"{base}\n{names}"


def hidden(home: Home, instance: Instance) -> frozenset[bytes]:
    """Paths that are the engine's, without the slash at their front."""
    spec: dict[str, Any]
    try:
        spec = jsontext.loads(files.read(f"{home.directory(instance.id)}/config.json"))
    except FileNotFoundError:
        spec = {}
    mounts = [mount["destination"] for mount in spec.get("mounts") or ()]
    return frozenset(path.strip("/").encode("utf-8", "surrogateescape") for path in (*OURS, *mounts))


def different(
    home: Home, instance: Instance, conversation: Sandbox, *, content: bool, freeze: bool = False
) -> Iterator[tuple[Record, Body]]:
    """Give every difference, directories before what is in them.

    Raises:
        GuestError: what comes is no stream of files.
    """
    mapped = instances.request_from(instance.request).user_namespace
    flags = (tools.CONTENT if content else 0) | (tools.FREEZES if freeze else 0) | (tools.ANY_OWNER if mapped else 0)
    stream = Stream(Tool(conversation, "changes", lower_of(home, instance), flags).chunks())
    limits = Limits()
    for record in records.decoded(stream):
        if record.tag == records.ERROR:
            raise tools.failed(f"looking at {instance.name}", record.mode, record.name.decode(errors="replace"))
        clean(record.name)
        left = copy.Content(stream, record if content else record._replace(size_bytes=0))
        if record.tag == records.DELETED or record.kind:
            if record.kind:
                limits.count(records.header_of(record, record.name))
            yield record, left.pieces
        left.skip()


class Waiting:
    """A directory that is told if something below it is, or nothing of ours was why it differs."""

    def __init__(self, row: tuple[Record, Body]) -> None:
        self.row = row
        self.below = row[0].name + b"/"
        self.has_ours = False


def kept(rows: Iterable[tuple[Record, Body]], ours: frozenset[bytes]) -> Iterator[tuple[Record, Body]]:
    """Without what is ours, and without directories that differ by that alone."""
    waiting: list[Waiting] = []
    for row in rows:
        record = row[0]
        yield from left_behind(waiting, record.name)
        if record.name in ours:
            for directory in waiting:
                directory.has_ours = True
        elif record.tag != records.DELETED and record.kind == "directory":
            waiting.append(Waiting(row))
        else:
            yield from told(waiting)
            yield row
    yield from left_behind(waiting, b"")


def left_behind(waiting: list[Waiting], name: bytes) -> Iterator[tuple[Record, Body]]:
    """Decide about those directories that this name is not below any more."""
    while waiting and not name.startswith(waiting[-1].below):
        if waiting[-1].has_ours:
            waiting.pop()
        else:
            yield from told(waiting)


def told(waiting: list[Waiting]) -> Iterator[tuple[Record, Body]]:
    """Give all of them, and wait for none."""
    yield from (directory.row for directory in waiting)
    waiting.clear()


def diff(home: Home, instance: Instance) -> list[Change]:
    """The differences by path."""
    with tools.conversation_with(home, instance) as conversation:
        rows = kept(different(home, instance, conversation, content=False), hidden(home, instance))
        found = [(row.name, LETTERS[row.tag]) for row, _ in rows]
    return [Change(letter, "/" + name.decode("utf-8", "surrogateescape")) for name, letter in sorted(found)]


def export(home: Home, instance: Instance, output: BinaryIO) -> None:
    """Write the whole root as a tar; volumes and the kernel's file systems are empty directories in it."""
    with tools.conversation_with(home, instance) as conversation:
        rows = copy.outgoing(conversation, instance.name, "/", follow=False, one_mount=True)
        entries = ((copy.checked(record), body) for record, body in rows if record.name)
        output.writelines(records.tar_of(entries))
    output.flush()


def layer_of(rows: Iterator[tuple[Record, Body]]) -> Iterator[bytes]:
    """The differences as the tar of a layer."""

    def entries() -> Iterator[tuple[Header, Body]]:
        for record, body in rows:
            if record.tag == records.DELETED:
                parent, slash, name = record.name.rpartition(b"/")
                gone = Record(records.ENTRY, records.TYPES["file"], name=parent + slash + b".wh." + name)
                yield records.header_of(gone, gone.name), copy.nothing
            else:
                yield copy.checked(record), body

    return records.tar_of(entries())
