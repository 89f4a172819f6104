"""An engine for the command line: long work shows itself on stderr, bars on a terminal, lines elsewhere."""

from __future__ import annotations

import os
import sys

from twinhull.engine import Engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.config import Config

BAR_WIDTH = 24
REDRAW_S = 0.1
SHORT_DIGEST = 12


def prepared(config: Config, *, quiet: bool = False) -> Engine:
    """Return an engine that tells the user what takes long."""
    return Engine(config, progress=None if quiet else Renderer(os.isatty(2)))


class Renderer:
    """Tells of layers and notices on stderr; its calls come from several threads."""

    def __init__(self, terminal: bool) -> None:
        self.terminal = terminal
        self.sizes: dict[str, int] = {}
        self.done: dict[str, int] = {}
        self.lines = 0
        self.drawn_at = 0.0

    def notice(self, text: str) -> None:
        """A line of its own, above the bars."""
        self.erase()
        print(text, file=sys.stderr, flush=True)
        self.draw()

    def present(self, digest: str) -> None:
        """This layer is here already."""
        self.say(f"{short(digest)}  already here")

    def started(self, digest: str, size_bytes: int) -> None:
        """This layer begins to arrive."""
        self.sizes[digest], self.done[digest] = size_bytes, 0
        if not self.terminal:
            self.say(f"{short(digest)}  fetching {megabytes(size_bytes)}")

    def advanced(self, digest: str, count_bytes: int) -> None:
        """More of it arrived: drawn at most ten times a second."""
        import time

        self.done[digest] = self.done.get(digest, 0) + count_bytes
        if self.terminal and time.monotonic() - self.drawn_at > REDRAW_S:
            self.drawn_at = time.monotonic()
            self.erase()
            self.draw()

    def finished(self, digest: str) -> None:
        """It is unpacked."""
        size = self.sizes.pop(digest, 0)
        self.done.pop(digest, None)
        self.say(f"{short(digest)}  done {megabytes(size)}")

    def say(self, text: str) -> None:
        """A line that stays."""
        self.notice(text)

    def erase(self) -> None:
        """Take the bars away."""
        if self.lines:
            sys.stderr.write(f"\033[{self.lines}A\033[J")
            self.lines = 0

    def draw(self) -> None:
        """Draw a bar for each layer under way."""
        if not self.terminal:
            return
        for digest, size in list(self.sizes.items()):
            sys.stderr.write(bar(digest, self.done.get(digest, 0), size) + "\n")
            self.lines += 1
        sys.stderr.flush()


def short(digest: str) -> str:
    """The digits people compare."""
    return digest.partition(":")[2][:SHORT_DIGEST]


def megabytes(count: int) -> str:
    """Decimal megabytes, as registries count."""
    return f"{count / 1e6:.1f} MB"


def bar(digest: str, done: int, size: int) -> str:
    """One layer: digest, bar, amount."""
    filled = BAR_WIDTH * min(done, size) // size if size > 0 else 0
    return f"{short(digest)}  [{'#' * filled}{' ' * (BAR_WIDTH - filled)}] {megabytes(done)} of {megabytes(size)}"
