"""Random archives of hostile entries, unpacked for real: nothing beside the layer ever changes."""

from __future__ import annotations

import contextlib
import os
import tarfile
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.layers import entry, tar
from twinhull.errors import RegistryError
from twinhull.store.unpack import unpack

PARTS = st.sampled_from(["a", "b", "c", "..", ".", "", ".wh.a", ".wh..wh..opq", ".wh.b", "victim", "file"])
NAMES = st.lists(PARTS, min_size=1, max_size=4).map("/".join).filter(bool)
KINDS = [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
LINKS = st.sampled_from(["..", "../victim", "../victim/file", "a", "b/c", "/", ".", "a/../../victim", "x"])
ENTRIES = st.lists(st.tuples(NAMES, st.sampled_from(KINDS), LINKS), min_size=1, max_size=12)


def look(path: Path) -> list[tuple[str, int, int, int, int]]:
    """Everything that could change below a directory."""
    found = [path, *sorted(path.rglob("*"))]
    return [(str(one), (s := one.lstat()).st_mode, s.st_nlink, s.st_size, s.st_mtime_ns) for one in found]


@settings(max_examples=400)
@given(ENTRIES)
def test_no_archive_reaches_outside_its_directory(entries: list[tuple[str, bytes, str]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "victim").mkdir()
        (root / "victim/file").write_text("precious")
        (root / "layer").mkdir()
        before = [*look(root / "victim"), sorted(os.listdir(root))]
        content = tar(
            [
                entry(path, b"x" if kind == tarfile.REGTYPE else b"", type=kind, linkname=link, mode=0o777)
                for path, kind, link in entries
            ]
        )
        with contextlib.suppress(RegistryError):
            unpack(iter([content]), str(root / "layer"))
        assert [*look(root / "victim"), sorted(os.listdir(root))] == before
        assert not any(
            part.is_symlink() and part.parent != root / "layer" and part.parent.is_symlink()
            for part in (root / "layer").rglob("*")
        )
