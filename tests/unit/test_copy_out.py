"""What a workload sends, made on the host: a name gives it no hold on a file that it did not send."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from twinhull.engine.copy import below, nothing, take_out
from twinhull.errors import GuestError
from twinhull.oci.records import ENTRY, HARDLINK, TYPES, Record
from twinhull.store.unpack import Unpacker

FILE = TYPES["file"] | 0o644


@pytest.mark.parametrize("top", [b"", b"copied"])
def test_only_what_was_sent_gets_another_name(tmp_path: Path, top: bytes) -> None:
    (tmp_path / "secret").write_text("of the host")
    (tmp_path / "secret").chmod(0o600)
    unpacker, made = Unpacker(str(tmp_path)), set[bytes]()
    try:
        for record in (Record(ENTRY, FILE, name=b"one"), Record(HARDLINK, FILE, name=b"two", link=b"one")):
            take_out(unpacker, below(top, record), nothing, made, archive=False)
        for link in (b"secret", b"../secret", b"/secret", b""):
            hostile = Record(HARDLINK, FILE | 0o666, name=b"three", link=link)
            with pytest.raises(GuestError, match="was not sent"):
                take_out(unpacker, below(top, hostile), nothing, made, archive=False)
    finally:
        unpacker.close()
    place = tmp_path / os.fsdecode(top)
    assert os.stat(place / "one").st_nlink == os.stat(place / "two").st_nlink == 2
    assert not (place / "three").exists()
    assert (os.stat(tmp_path / "secret").st_nlink, os.stat(tmp_path / "secret").st_mode & 0o777) == (1, 0o600)
