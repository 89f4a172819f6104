"""The code of our modules in one file: a start imports forty, and to find and open each takes longer than to read it.

Promise: never stale. An entry counts only for the interpreter, the directory, and the source's size and time of change
(nanoseconds) that it was made for; any other module is imported as if this were not here, and its entry replaced.
"""

from __future__ import annotations

import os
import sys
from _frozen_importlib_external import MAGIC_NUMBER, SourceFileLoader  # every interpreter has imported it
from marshal import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType

PACKAGE = os.path.dirname(os.path.abspath(__file__))
HEAD_BYTES = 4  # how long the index is, behind the interpreter's mark
Entry = tuple[str, bool, int, int, int, int]  # path, is a package, nanoseconds, size; offset and length of its code
DAMAGED = (OSError, EOFError, ValueError, TypeError)
Spec: type[ModuleSpec] = type(sys.__spec__)


class Loader(SourceFileLoader):
    """Loads a module whose code is at hand; all else, as its source for a traceback, is the usual."""

    code: CodeType

    def get_code(self, fullname: str) -> CodeType:
        """The module's."""
        return self.code


class Archive:
    """Finds modules in the file."""

    def __init__(self, path: str) -> None:
        """Open it; one that is not there, or was made for others, is empty."""
        self.path, self.mark = path, MAGIC_NUMBER + bytes([sys.flags.optimize]) + os.fsencode(PACKAGE) + b"\0"
        self.index: dict[str, Entry] = {}
        self.fd, self.start = -1, 0
        self.others = set(sys.modules)  # and what is found here: not to be kept again
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            head = os.pread(self.fd, len(self.mark) + HEAD_BYTES, 0)
            if head.startswith(self.mark):
                length = int.from_bytes(head[len(self.mark) :], "little")
                self.start = len(head) + length
                self.index = loads(os.pread(self.fd, length, len(head)))
        except DAMAGED:
            self.index = {}

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return how a module is loaded, None if that is not ours to say."""
        entry = self.index.get(name)
        code = self.read(entry) if entry else None
        if not entry or not code:
            return None
        source = entry[0]
        loader = Loader(name, source)
        loader.code = code
        spec = Spec(name, loader, origin=source, is_package=entry[1])
        spec.has_location = True
        folder, _, file = source.rpartition("/")
        spec.cached = f"{folder}/__pycache__/{file.removesuffix('py')}{sys.implementation.cache_tag}.pyc"
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(folder)
        self.others.add(name)
        return spec

    def read(self, entry: Entry) -> CodeType | None:
        """A module's code, None if its source is not what it was, or the file is damaged."""
        source, _, changed_ns, size, offset, length = entry
        try:
            now = os.stat(source)
            if (now.st_mtime_ns, now.st_size) != (changed_ns, size):
                return None
            code: CodeType = loads(os.pread(self.fd, length, self.start + offset))
        except DAMAGED:
            return None
        return code

    def keep(self) -> None:
        """Write down what was imported from elsewhere, next to what is still true."""
        if sys.dont_write_bytecode or not os.access(os.path.dirname(self.path), os.W_OK):
            return
        added = {name: made for name in set(sys.modules) - self.others if (made := entry_of(sys.modules[name]))}
        if not added:
            return
        kept = {name: (entry[:4], code) for name, entry in self.index.items() if (code := self.read(entry))}
        index, parts, offset = {}, [], 0
        for name, (key, code) in {**kept, **added}.items():
            parts.append(dumps(code))
            index[name] = (*key, offset, len(parts[-1]))
            offset += len(parts[-1])
        listed = dumps(index)
        head = self.mark + len(listed).to_bytes(HEAD_BYTES, "little")
        content = b"".join([head, listed, *parts])
        SourceFileLoader("", self.path).set_data(self.path, content, _mode=0o644)  # atomic; a full disk is no error


def entry_of(module: ModuleType) -> tuple[tuple[str, bool, int, int], CodeType] | None:
    """What is kept of a module of ours, None of another's."""
    spec = getattr(module, "__spec__", None)
    if not spec or type(spec.loader) is not SourceFileLoader or not spec.origin.startswith(f"{PACKAGE}/"):
        return None
    try:
        source = os.stat(spec.origin)  # before it is read: what changes in between makes an entry that never counts
        code = spec.loader.get_code(spec.name)
    except (OSError, SyntaxError):
        return None
    key = (spec.origin, spec.submodule_search_locations is not None, source.st_mtime_ns, source.st_size)
    return (key, code) if code else None


def begin() -> None:
    """Look here first from now on."""
    sys.meta_path.insert(0, Archive(f"{PACKAGE}/__pycache__/modules.{sys.implementation.cache_tag}"))


def keep() -> None:
    """At the end of a command that went well."""
    for finder in sys.meta_path:
        if isinstance(finder, Archive):
            finder.keep()
