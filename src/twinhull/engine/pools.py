"""The pool of guests in waiting as a user sees it: set, listed, drained."""

from __future__ import annotations

from twinhull.config import Config
from twinhull.engine import spares, templates
from twinhull.engine.state import Home
from twinhull.errors import InvalidRequest
from twinhull.host import memory
from twinhull.model import Request
from twinhull.runtime import holder, pool, spare
from twinhull.runtime.pool import Pool
from twinhull.tuples import NamedTuple


class Row(NamedTuple):
    """The guests that wait for starts from one template. `memory_bytes` is of each of them.

    Attributes:
        making: one more is being made.
    """

    template: str
    kernel: str
    memory_bytes: int
    waiting: int
    wanted: int
    making: bool


def set_size(home: Home, size: int, budget_bytes: int = 0, *, memory_bytes: int = 0) -> None:
    """Have so many guests wait from now on; they are made behind the caller's back.

    Args:
        memory_bytes: of the workloads that they are for.

    Raises:
        InvalidRequest: too many, or the configuration wants no templates.
        HostUnfit, GuestError: no virtual machine runs here.
    """
    if not 0 <= size <= pool.MAX_SIZE:
        raise InvalidRequest(f"a pool of {size}: 0 to {pool.MAX_SIZE} guests can wait")
    if size:
        templates.warm(home, memory_bytes=memory_bytes)
    pool.write(home.config, Pool(size, budget_bytes))
    for key in holder.keys(home.config):
        holder.want(home.config, key, wanted_of(home.config, key))
    wanted = spares.machine_of(home.config, Request("", memory_bytes=memory_bytes), home.notice) if size else None
    if wanted:
        spares.have_made(home, *wanted)


def drain(home: Home) -> None:
    """Undo every guest that waits, and want none."""
    pool.write(home.config, Pool())
    spares.await_one(home.config)
    for key in holder.keys(home.config):
        holder.want(home.config, key, 0)
    spares.await_none(home.config)


def everything(config: Config) -> list[Row]:
    """Each template that has a holder, and that guests can wait for."""
    rows = []
    for row in templates.everything(config):
        if row.holder and templates.can_wait(config, row.key):
            waiting, wanted = holder.waiting(config, row.key), wanted_of(config, row.key)
            rows.append(Row(row.key, row.kernel, row.memory_bytes, waiting, wanted, spare.is_made(config, row.key)))
    return rows


def wanted_of(config: Config, key: str) -> int:
    """How many guests shall wait for starts from a template."""
    return pool.wanted_of(config, templates.directory_of(config, key))


def allowed(config: Config, least: int) -> int:
    """How many may wait for each template, by number and by budget; without a pool so many."""
    wanted = pool.read(config)
    if not wanted.budget_bytes:
        return pool.allowed(wanted, least, 0, 0)
    waiting = sum(holder.waiting(config, key) for key in holder.keys(config))
    return pool.allowed(wanted, least, waiting, used_bytes(config))


def used_bytes(config: Config) -> int:
    """What all guests in waiting take of the host's memory, with their supervisors (PSS)."""
    root = f"{config.state}/spares"
    found = [memory.holder(f"{root}/{name}/alive") for name in memory.listing(root)]
    return sum(cost.pss_bytes for pid in found if pid for cost in memory.costs(memory.tree(pid)))
