"""How many guests shall wait for starts, as a user has set it: beyond the one that a start leaves to the next.

Promise: without a word of the user's, nothing is read but one file that is not there.
"""

from __future__ import annotations

from twinhull import jsontext
from twinhull.config import Config
from twinhull.host import facts, files
from twinhull.plan.qemu import USUAL_NICS
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

MAX_SIZE = 64  # MAX_SPARES of launcher/hold.c


def serves(machine: Mapping[str, Any]) -> bool:
    """True if guests of a machine can wait: volumes, processors and further cards are made with those that start.

    Args:
        machine: as its template says it (plan.qemu.Machine), perhaps not at all.
    """
    ordinary = machine.get("cpus") == 1 and machine.get("nics") == USUAL_NICS and not machine.get("shares")
    return ordinary and machine.get("architecture") == facts.architecture()


class Pool(NamedTuple):
    """So many guests of each template in use, in so many bytes of memory together; 0 is no budget."""

    size: int = 0
    budget_bytes: int = 0


def path_of(config: Config) -> str:
    """Where it is written down."""
    return f"{config.state}/pool"


def read(config: Config) -> Pool:
    """What is wanted; a file that is damaged wants nothing."""
    try:
        values = jsontext.loads(files.read(path_of(config)))
        return Pool(min(int(values["size"]), MAX_SIZE), int(values["budget_bytes"]))
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return Pool()


def wanted_of(config: Config, directory: str) -> int:
    """How many guests shall wait for starts from the template in this directory."""
    from twinhull.runtime.template import META

    size = read(config).size
    try:
        return size if size and serves(jsontext.loads(files.read(f"{directory}/{META}"))["machine"]) else 0
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return 0


def write(config: Config, pool: Pool) -> None:
    """Say what is wanted from now on."""
    files.publish(path_of(config), jsontext.dumps(pool._asdict()).encode())


def allowed(pool: Pool, least: int, waiting: int, used_bytes: int) -> int:
    """How many may wait, where so many use so much: each will use as much as another."""
    most = max(pool.size, least)
    if not pool.budget_bytes or not waiting or not used_bytes:
        return most
    return min(most, pool.budget_bytes * waiting // used_bytes)
