"""The file in which a comparison leaves its medians for whoever asks for advice later."""

from __future__ import annotations

from twinhull.advice import measurements
from twinhull.advice.measurements import Row
from twinhull.config import Config
from twinhull.host import files, locks


def path_of(config: Config) -> str:
    """Where it is."""
    return f"{config.state}/measurements.json"


def read(config: Config) -> tuple[Row, ...]:
    """Every row, the newest last; none before the first comparison."""
    try:
        return measurements.parse(files.read(path_of(config)))
    except (FileNotFoundError, PermissionError):
        return ()


def remember(config: Config, row: Row) -> None:
    """Add a row; two comparisons that end at once lose neither."""
    with locks.locked(f"{path_of(config)}.lock"):
        files.publish(path_of(config), measurements.text_with(read(config), row).encode())
