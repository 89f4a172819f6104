"""Networks as users have them: created, listed, removed. What the host has of one is made by `bridge`.

Promise: a network is what its row says. It is there once the row is, and its bridge is made when it is created or
first used; whatever was interrupted, the next command on it finishes.
"""

from __future__ import annotations

from twinhull import jsontext
from twinhull.config import Config
from twinhull.errors import Conflict, HostUnfit, InvalidRequest, TwinhullError
from twinhull.network import bridge, ipv6, leases
from twinhull.store.db import transaction
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from sqlite3 import Connection

RESERVED = ("bridge", "none", "host", "default")
LINK_NAME_MAX = 15
LINK_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
COLUMNS = "name, id, created, link, subnet, gateway, internal, labels, subnet6"


class Wish(NamedTuple):
    """What `network create` asks for; "" leaves the choice to us.

    Attributes:
        link: the bridge's name.
        internal: it leads nowhere else.
        ipv6: it has IPv6 too, with addresses of `subnet6` or random ones.
    """

    name: str
    subnet: str = ""
    gateway: str = ""
    link: str = ""
    internal: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    ipv6: bool = False
    subnet6: str = ""


class Network(NamedTuple):
    """A network as it was created.

    Attributes:
        subnet: "" if nothing was ever on the default network.
    """

    name: str
    id: str
    created: float
    link: str
    subnet: str
    gateway: str
    internal: bool
    labels: tuple[tuple[str, str], ...]
    subnet6: str


def create(config: Config, db: Connection, wish: Wish) -> Network:
    """Make a network.

    Raises:
        InvalidRequest: the subnet, the gateway or the bridge's name is none.
        Conflict: the name, the subnet or the bridge's name is in use.
        HostUnfit: the kernel refuses.
    """
    check(wish)
    with bridge.changing(config):
        if db.execute("SELECT 1 FROM network WHERE name=?", (wish.name,)).fetchone():
            raise Conflict(f"there is a network {wish.name!r} already", hint=f"twinhull network inspect {wish.name}")
        subnet = free_subnet(config, db, wish)
        gateway, link = gateway_in(subnet, wish), free_link(config, db, wish)
        row = bridge.Row(wish.name, link, subnet, gateway=gateway, internal=int(wish.internal))
        if wish.ipv6 or wish.subnet6:
            row = row._replace(subnet6=ipv6.free_subnet(db, wish.subnet6))
        with transaction(db):
            bridge.write(db, row)
            db.execute("UPDATE network SET labels=? WHERE name=?", (jsontext.dumps(wish.labels), wish.name))
        try:
            bridge.build(config, db, row)
        except TwinhullError:
            undo(config, db, row)
            db.execute("DELETE FROM network WHERE name=?", (wish.name,))
            raise
    return find(db, wish.name)


def undo(config: Config, db: Connection, row: bridge.Row) -> None:
    """Take back what was made of a network that cannot be; why it cannot be is what is told."""
    try:
        bridge.take_away(config, db, row)
    except HostUnfit:
        pass


def check(wish: Wish) -> None:
    """Refuse names that cannot be."""
    if wish.name in RESERVED:
        raise InvalidRequest(f"{wish.name!r} is a network that needs no creating", hint="choose another name")
    allowed = wish.name.isascii() and all(letter.isalnum() or letter in "_.-" for letter in wish.name)
    if not allowed or not wish.name[:1].isalnum() or len(wish.name) > 63:
        raise InvalidRequest(
            f"invalid network name {wish.name!r}", hint="letters, digits, '_', '.', '-'; the first no sign; 63 at most"
        )
    plain = LINK_LETTERS.issuperset(wish.link) and wish.link.strip(".") == wish.link
    if wish.link and (not plain or len(wish.link) > LINK_NAME_MAX):
        raise InvalidRequest(f"invalid bridge name {wish.link!r}", hint=f"{LINK_NAME_MAX} letters and digits at most")


def free_subnet(config: Config, db: Connection, wish: Wish) -> str:
    """Return the wanted subnet, or the first that nobody has."""
    if not wish.subnet:
        if wish.gateway:
            raise InvalidRequest("a gateway needs the subnet that it is in", hint="--subnet")
        return bridge.first_free(bridge.small_candidates(config), bridge.taken(db))
    wanted = bridge.check_subnet(wish.subnet)
    if other := bridge.overlapping(wanted, bridge.taken(db)):
        raise Conflict(
            f"subnet {wish.subnet} overlaps {other}, which another network of this host has",
            hint="choose another --subnet, or leave it out",
        )
    return wish.subnet


def gateway_in(subnet: str, wish: Wish) -> str:
    """Return the wanted gateway, "" for the first address."""
    if not wish.gateway:
        return ""
    base, prefix = leases.parse_subnet(subnet)
    offset = leases.checked_number(wish.gateway) - base
    if not 0 < offset < (1 << 32 - prefix) - 1:
        raise InvalidRequest(f"gateway {wish.gateway} is no address of {subnet}")
    return wish.gateway


def free_link(config: Config, db: Connection, wish: Wish) -> str:
    """Return the wanted name for the bridge, or one that nobody has."""
    if wish.link:
        if bridge.index_of(wish.link):
            raise Conflict(f"the host has a link {wish.link!r} already", hint="choose another name for the bridge")
        return wish.link
    taken = {row.link for row in bridge.every(db)}
    number = 1
    while (name := bridge.link_name(config, number)) in taken:
        number += 1
    bridge.delete(name)  # of a state directory that is no more
    return name


def find(db: Connection, name: str) -> Network:
    """Return a network by its name, or by its id or the beginning of that.

    Raises:
        NotFound: there is none.
        Conflict: the id is ambiguous.
    """
    row = db.execute(f"SELECT {COLUMNS} FROM network WHERE name=?", (name,)).fetchone()
    if row is None and len(name) >= 3 and frozenset("0123456789abcdef").issuperset(name):
        rows = db.execute(f"SELECT {COLUMNS} FROM network WHERE id GLOB ? LIMIT 2", (name + "*",)).fetchall()
        if len(rows) > 1:
            raise Conflict(f"the id {name} is ambiguous", hint="write more of it")
        row = rows[0] if rows else None
    if row is None:
        raise leases.no_such(name)
    return from_row(row)


def named(db: Connection, name: str) -> str:
    """Return the full name of a network; the default one is there without having been made.

    Raises:
        InvalidRequest: it names no network that somebody can join.
        NotFound: there is none.
    """
    if name in ("none", "host"):
        raise InvalidRequest(f"{name!r} is no network that a workload can join or leave")
    return name if name == bridge.DEFAULT_NETWORK else find(db, name).name


def everything(db: Connection) -> list[Network]:
    """Return every network that was made, by name."""
    return [from_row(row) for row in db.execute(f"SELECT {COLUMNS} FROM network ORDER BY name")]


def from_row(row: Sequence[object]) -> Network:
    """Return the values of one row."""
    *plain, subnet, gateway, internal, labels, subnet6 = row
    assert isinstance(subnet, str) and isinstance(labels, str)
    first = leases.dotted(leases.parse_subnet(subnet)[0] + 1) if subnet else ""
    pairs = tuple((key, value) for key, value in jsontext.loads(labels))
    return Network._make((*plain, subnet, gateway or first, bool(internal), pairs, subnet6))


def remove(config: Config, db: Connection, name: str) -> None:
    """Take a network away.

    Raises:
        NotFound: there is none.
        InvalidRequest: it is one that is always there.
        Conflict: a workload is on it.
    """
    if name in RESERVED:
        raise InvalidRequest(f"network {name!r} is always there and cannot be removed")
    bridge.remove(config, db, find(db, name).name)
