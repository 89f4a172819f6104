"""The pages of a guest that are its own: what it has written since the template that it maps privately.

    file = count u64, count × (first u64, end u64), the pages of each range; in bytes of the guest's memory

Promise: of a guest that stands still, template and own pages together are its whole memory.

Source: Documentation/admin-guide/mm/pagemap.rst; a page that is there and not the file's is a copy of it.
"""

from __future__ import annotations

import os
from struct import Struct

from twinhull.errors import GuestError, HostUnfit
from twinhull.host import facts, files
from twinhull.scopes import contextmanager
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from twinhull.plan.ops import Op
    from twinhull.plan.qemu import Machine

    Range = tuple[int, int]

ENTRY_BYTES = 8
# The last byte of an entry: bit 63 present, 62 swapped out, 61 the file's.
PRESENT, SWAPPED, FILES = 0x80, 0x40, 0x20
IS_OWN = bytes(bool(byte & (PRESENT | SWAPPED)) and not byte & FILES for byte in range(256))
BACKING, IMPRINT = "/memfd:template", "/memfd:imprint"
# What the holder gives a template's memory (memfd_create(2)): it is what it was for ever.
F_GET_SEALS, SEALS = 1034, 0x1 | 0x2 | 0x4 | 0x8
COUNT, RANGE = Struct("<Q"), Struct("<QQ")
MAX_RANGES = 1 << 20
CHUNK_BYTES = 1 << 20
# Files of a saved machine.
PAGES, STATE, DISK = "pages", "state", "scratch"


class Saved(NamedTuple):
    """A machine as it was at one moment.

    Attributes:
        directory: with its files; there is a disk only if the workload has one.
        memory: descriptor of the template that it began as, which the files' pages go over.
        identity: of a copy, what makes it another machine: the ops of a tool.
    """

    directory: str
    memory: int
    machine: Machine
    identity: tuple[Op, ...] = ()

    def file(self, name: str) -> str:
        """The path of one of its files."""
        return f"{self.directory}/{name}"


class Mapping(NamedTuple):
    """A part of the guest's memory in QEMU: addresses there, and where it lies in the guest's.

    Attributes:
        own: all of it is: it began as the imprint of another guest of the same template.
    """

    start: int
    end: int
    offset: int
    own: bool = False


def own_ranges(pagemap: bytes) -> list[Range]:
    """Return the ranges of pages, (first, end), that are a process's own, by its pagemap's entries."""
    marks = pagemap[ENTRY_BYTES - 1 :: ENTRY_BYTES].translate(IS_OWN)
    found, at = [], marks.find(1)
    while at >= 0:
        end = marks.find(0, at)
        end = len(marks) if end < 0 else end
        found.append((at, end))
        at = marks.find(1, end)
    return found


def parse_maps(text: str, size: int) -> list[Mapping]:
    """Return the mappings of the guest's memory, of this size, in /proc/PID/maps, in the memory's order.

    Those of an imprint lie between the template's, at the addresses that the guest's memory has there.
    """
    found: list[Mapping] = []
    imprint: list[tuple[int, int]] = []
    for line in text.splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) != 6 or not fields[1].endswith("p"):
            continue
        start, end = (int(address, 16) for address in fields[0].split("-"))
        if fields[5].startswith(BACKING):
            found.append(Mapping(start, end, int(fields[2], 16)))
        elif fields[5].startswith(IMPRINT):
            imprint.append((start, end))
    bases = {mapping.start - mapping.offset for mapping in found}
    if imprint and len(bases) == 1:
        base = bases.pop()
        inside = [(start, end) for start, end in imprint if base <= start and end <= base + size]
        found += [Mapping(start, end, start - base, own=True) for start, end in inside]
    return sorted(found, key=lambda mapping: mapping.offset)


def covers(mappings: Iterable[Mapping], size: int) -> bool:
    """True if the mappings are the whole of a memory of this size, each part once."""
    at = 0
    for mapping in mappings:
        if mapping.offset != at:
            return False
        at += mapping.end - mapping.start
    return at == size


class Process:
    """A QEMU, held by its directory in /proc: another process of its number is not taken for it."""

    def __init__(self, pid: int) -> None:
        self.fd = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of it."""
        os.close(self.fd)

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Open one of its files.

        Raises:
            HostUnfit: the kernel lets nobody look into processes (kernel.yama.ptrace_scope=3).
            GuestError: it has ended.
        """
        try:
            return os.open(name, flags | os.O_CLOEXEC, dir_fd=self.fd)
        except PermissionError:
            hint = "kernel.yama.ptrace_scope=3 forbids it until the next boot of the host"
            raise HostUnfit("the memory of a virtual machine cannot be opened", hint=hint) from None
        except (ProcessLookupError, FileNotFoundError):
            raise GuestError("the virtual machine has ended") from None

    def read(self, name: str) -> bytes:
        """Return the content of one of its files."""
        fd = self.open(name)
        try:
            parts = []
            while part := os.read(fd, CHUNK_BYTES):
                parts.append(part)
            return b"".join(parts)
        finally:
            os.close(fd)

    def program(self, path: str) -> int:
        """Return a descriptor (O_PATH) of the file that it runs: its memory shows that, after an imprint too.

        Raises:
            GuestError: it runs nothing of this path.
        """
        for line in self.read("maps").decode("utf-8", "replace").splitlines():
            fields = line.split(maxsplit=5)
            if len(fields) == 6 and fields[5] == path and "x" in fields[1]:
                start, end = (int(address, 16) for address in fields[0].split("-"))
                return self.open(f"map_files/{start:x}-{end:x}", os.O_PATH)
        raise GuestError("the virtual machine runs another program than it was started with")

    def mappings(self, size: int) -> list[Mapping]:
        """Return where its guest's memory is.

        Raises:
            GuestError: it has none that began as a template.
        """
        found = parse_maps(self.read("maps").decode("utf-8", "replace"), size)
        if not covers(found, size):
            raise GuestError("its memory is no template's")
        return found


@contextmanager
def qemu_of(identity: str) -> Iterator[Process]:
    """Give the QEMU of a workload: the only process of its cgroup.

    Raises:
        HostUnfit: no cgroup v2.
        GuestError: it is not there.
    """
    mount_point = facts.cgroup_mounts(facts.read("/proc/self/mountinfo"))[0]
    if not mount_point:
        hint = "sudo twinhull …" if facts.is_rootless() else "mount -t cgroup2 none /mnt"
        raise HostUnfit("the process of a virtual machine is found by cgroup v2, and here it has no group", hint=hint)
    numbers = facts.read(f"{mount_point}/twinhull/{identity}/cgroup.procs").split()
    if len(numbers) != 1:
        raise GuestError("the virtual machine has ended")
    try:
        process = Process(int(numbers[0]))
    except FileNotFoundError:
        raise GuestError("the virtual machine has ended") from None
    try:
        yield process
    finally:
        process.close()


def borrow_template(process: Process, mappings: list[Mapping]) -> int:
    """Return a descriptor of the very memory that a guest began as.

    Raises:
        GuestError: it is none that nobody can change.
    """
    from fcntl import fcntl

    first = next(mapping for mapping in mappings if not mapping.own)
    memory = process.open(f"map_files/{first.start:x}-{first.end:x}")
    if fcntl(memory, F_GET_SEALS) & SEALS == SEALS:
        return memory
    os.close(memory)
    raise GuestError("its memory is no template's")


def save(process: Process, mappings: list[Mapping], path: str) -> int:
    """Write the own pages of a guest that stands still; return their size in bytes."""
    page = os.sysconf("SC_PAGE_SIZE")
    pagemap = process.open("pagemap")
    memory = process.open("mem")
    out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        found = []
        for mapping in mappings:
            pages = (mapping.end - mapping.start) // page
            entries = read_exactly(pagemap, pages * ENTRY_BYTES, mapping.start // page * ENTRY_BYTES)
            ranges = [(0, pages)] if mapping.own else own_ranges(entries)
            found += [(mapping, first * page, end * page) for first, end in ranges]
        ranges = [(mapping.offset + first, mapping.offset + end) for mapping, first, end in found]
        files.write_all(out, COUNT.pack(len(ranges)) + b"".join(RANGE.pack(*each) for each in ranges))
        for mapping, first, end in found:
            for start in range(mapping.start + first, mapping.start + end, CHUNK_BYTES):
                files.write_all(out, read_exactly(memory, min(CHUNK_BYTES, mapping.start + end - start), start))
        return sum(end - first for first, end in ranges)
    finally:
        for fd in (pagemap, memory, out):
            os.close(fd)


def read_exactly(fd: int, size: int, offset: int) -> bytes:
    """Return so many bytes from there.

    Raises:
        GuestError: there are fewer.
    """
    parts = []
    while size:
        part = os.pread(fd, size, offset)
        if not part:
            raise GuestError("the memory of the virtual machine cannot be read")
        parts.append(part)
        size, offset = size - len(part), offset + len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read_index(fd: int, size: int) -> list[Range]:
    """Return the ranges of a file of pages; its descriptor is at the first page then.

    Args:
        size: of the guest's memory.

    Raises:
        GuestError: it is no such file, or of another memory.
    """
    page, at = os.sysconf("SC_PAGE_SIZE"), 0
    head = os.read(fd, COUNT.size)
    count = COUNT.unpack(head)[0] if len(head) == COUNT.size else MAX_RANGES + 1
    body = read_exactly(fd, count * RANGE.size, COUNT.size) if count <= MAX_RANGES else b""
    ranges = list(RANGE.iter_unpack(body))
    total = COUNT.size + len(body)
    for first, end in ranges:
        if not at <= first < end <= size or first % page or end % page:
            raise GuestError("the saved memory is damaged")
        at, total = end, total + end - first
    if count > MAX_RANGES or os.fstat(fd).st_size != total:
        raise GuestError("the saved memory is damaged")
    os.lseek(fd, COUNT.size + len(body), os.SEEK_SET)
    return ranges


def load(process: Process, mappings: list[Mapping], path: str, size: int) -> None:
    """Give a guest that does not run yet the pages of a file.

    Raises:
        GuestError: the file is damaged.
    """
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    memory = process.open("mem", os.O_RDWR)
    try:
        at = 0
        for first, end in read_index(source, size):
            while first < end:
                while mappings[at].offset + mappings[at].end - mappings[at].start <= first:
                    at += 1
                mapping = mappings[at]
                part = min(end - first, mapping.offset + mapping.end - mapping.start - first, CHUNK_BYTES)
                content = os.read(source, part)
                written = os.pwrite(memory, content, mapping.start + first - mapping.offset)
                if not content or written != len(content):
                    raise GuestError("the saved memory cannot be written back")
                first += written
    finally:
        os.close(source)
        os.close(memory)
