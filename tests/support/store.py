"""A store of its own for a test: configuration, database, directories."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from sqlite3 import Connection
from typing import NamedTuple

import pytest

from twinhull.config import Config
from twinhull.model import Image
from twinhull.store import content, db, images, instances, snapshot, snapshots


class Store(NamedTuple):
    """What the functions of `store` want, and short ways to look at what they did."""

    config: Config
    db: Connection

    def layers(self, image: Image) -> list[Path]:
        """The unpacked layers, top first."""
        base, lower = snapshot.lower(self.config, self.db, image)
        return [Path(base) / name for name in lower.split(":")]

    def leftovers(self) -> list[str]:
        """What a killed command would leave: every file that no row speaks of."""
        return content.rubbish(self.config, self.db)


class Recorder:
    """Progress that remembers what it was told."""

    def __init__(self) -> None:
        self.notices: list[str] = []
        self.seen: dict[str, str] = {}
        self.bytes: dict[str, int] = {}

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def present(self, digest: str) -> None:
        self.seen[digest] = "present"

    def started(self, digest: str, size_bytes: int) -> None:
        self.seen[digest] = "started"

    def advanced(self, digest: str, count_bytes: int) -> None:
        self.bytes[digest] = self.bytes.get(digest, 0) + count_bytes

    def finished(self, digest: str) -> None:
        self.seen[digest] = "finished"


def make_store(root: Path) -> Store:
    """A store below a directory."""
    config = Config(state=f"{root}/state", run=f"{root}/run")
    os.makedirs(config.state, mode=0o700, exist_ok=True)
    os.makedirs(config.run, mode=0o700, exist_ok=True)
    content.make_directories(config)
    schema = f"{images.SCHEMA};\n{instances.SCHEMA};\n{snapshots.SCHEMA}"
    return Store(config, db.connect(config.database, lambda _: schema))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store of the test's own."""
    made = make_store(tmp_path)
    yield made
    made.db.close()
