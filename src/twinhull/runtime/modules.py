"""Kernel modules: which files a guest needs, and in which order they are loaded.

Promise: every module comes after those it depends on. Dependencies are read from the modules
themselves, because a package that is unpacked and not installed has no modules.dep.
"""

from __future__ import annotations

import lzma
import os
import struct
import zlib

from twinhull.errors import HostUnfit
from twinhull.host import files, spawn
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SUFFIXES = (".ko", ".ko.xz", ".ko.gz", ".ko.zst")


class Module(NamedTuple):
    """One module, uncompressed."""

    name: str
    content: bytes


class Chosen(NamedTuple):
    """The files to load, in order, and every wanted name that is there, as a file or built in."""

    files: tuple[Module, ...]
    available: frozenset[str]


def choose(tree: str, wanted: Sequence[str], required: frozenset[str]) -> Chosen:
    """Return those of `wanted` that a /lib/modules/RELEASE directory has, with everything they depend on.

    Raises:
        HostUnfit: a required one is neither there nor built in.
    """
    paths = dict(walk(tree))
    builtin = built_in(tree)
    order: dict[str, Module] = {}
    available = set()
    for name in wanted:
        if name in builtin:
            available.add(name)
        elif name in paths:
            visit(name, paths, builtin, order)
            available.add(name)
        elif name in required:
            raise HostUnfit(f"the kernel of {tree} has no module {name}")
    return Chosen(tuple(order.values()), frozenset(available))


def visit(name: str, paths: dict[str, str], builtin: frozenset[str], order: dict[str, Module]) -> None:
    """Append a module to `order`, after what it depends on."""
    if name in order or name in builtin:
        return
    if name not in paths:
        raise HostUnfit(f"the kernel has no module {name}, on which another depends")
    content = uncompressed(paths[name])
    for dependency in dependencies(content):
        visit(dependency, paths, builtin, order)
    order[name] = Module(name, content)


def walk(tree: str) -> Iterator[tuple[str, str]]:
    """Yield (name, path) of each module file; a name is spelled with underscores."""
    for directory, _, names in os.walk(f"{tree}/kernel"):
        for name in names:
            stem, dot, _ = name.partition(".ko")
            if dot and name[len(stem) :] in SUFFIXES:
                yield stem.replace("-", "_"), f"{directory}/{name}"


def built_in(tree: str) -> frozenset[str]:
    """Return the names of what is part of the kernel itself."""
    try:
        lines = files.read(f"{tree}/modules.builtin").decode().split()
    except FileNotFoundError:
        return frozenset()
    return frozenset(os.path.basename(line).partition(".ko")[0].replace("-", "_") for line in lines)


def uncompressed(path: str) -> bytes:
    """Return a module as finit_module takes it."""
    if path.endswith(".zst"):
        return uncompressed_by_zstd(path)
    content = files.read(path)
    if path.endswith(".xz"):
        return lzma.decompress(content)
    if path.endswith(".gz"):
        return zlib.decompress(content, wbits=31)
    return content


def uncompressed_by_zstd(path: str) -> bytes:
    """Return a module that Python's library cannot unpack."""
    import tempfile

    with tempfile.NamedTemporaryFile() as output:
        try:
            result = spawn.run_tool(["zstd", "-d", "-q", "-f", path, "-o", output.name])
        except FileNotFoundError:
            raise HostUnfit("the kernel's modules need zstd to be unpacked", hint="apt-get install zstd") from None
        if result.returncode:
            raise HostUnfit(f"{path} is damaged: {result.stderr.strip()}")
        return output.read()


def dependencies(module: bytes) -> list[str]:
    """Return the names in `depends=` of a module's .modinfo section, spelled with underscores."""
    for field in section(module, b".modinfo").split(b"\0"):
        if field.startswith(b"depends="):
            return [name.replace("-", "_") for name in field[8:].decode().split(",") if name]
    return []


def section(elf: bytes, name: bytes) -> bytes:
    """Return the content of a section of a 64-bit little-endian ELF file, b"" if it has none."""
    try:
        (table,) = struct.unpack_from("<Q", elf, 0x28)
        size, count, names = struct.unpack_from("<HHH", elf, 0x3A)
        headers = [struct.unpack_from("<IIQQQQ", elf, table + index * size) for index in range(count)]
        strings = headers[names][4]
        for header in headers:
            start = strings + header[0]
            if elf[start : elf.index(b"\0", start)] == name:
                return elf[header[4] : header[4] + header[5]]
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise HostUnfit(f"a kernel module is damaged: {error}") from error
    return b""
