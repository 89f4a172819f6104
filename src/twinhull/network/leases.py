"""Addresses: who has which, in the database's one transaction with the workload's row.

Promise: two workloads never have one address, and a free one is found in the same time whether ten
or a thousand are taken, unless the network is nearly full.
"""

from __future__ import annotations

import os

from twinhull.errors import Conflict, InvalidRequest, NotFound
from twinhull.model import Endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from sqlite3 import Connection

    from twinhull.model import Attachment

# `cursor` is the last offset given out: addresses come back into use as late as possible. The kernel's
# handles of a network (link, index, chain) say whether what was built is still there; index 0 is a network that is
# being taken away, or was not built yet. `gateway` "" is the first address.
SCHEMA = """
CREATE TABLE network (
    name TEXT PRIMARY KEY,
    link TEXT NOT NULL,
    subnet TEXT NOT NULL,
    version INTEGER NOT NULL,
    link_index INTEGER NOT NULL,
    chain_handle INTEGER NOT NULL,
    cursor INTEGER NOT NULL DEFAULT 1,
    id TEXT NOT NULL DEFAULT '',
    created REAL NOT NULL DEFAULT 0,
    gateway TEXT NOT NULL DEFAULT '',
    internal INTEGER NOT NULL DEFAULT 0,
    labels TEXT NOT NULL DEFAULT '[]',
    subnet6 TEXT NOT NULL DEFAULT ''
);
CREATE TABLE lease (
    network TEXT NOT NULL,
    offset INTEGER NOT NULL,
    instance TEXT NOT NULL,
    PRIMARY KEY (network, offset)
) WITHOUT ROWID;
CREATE INDEX lease_instance ON lease (instance);
CREATE TABLE port (
    protocol TEXT NOT NULL,
    host_port INTEGER NOT NULL,
    address TEXT NOT NULL,
    port INTEGER NOT NULL,
    instance TEXT NOT NULL,
    network TEXT NOT NULL DEFAULT 'bridge',
    PRIMARY KEY (protocol, host_port, address)
) WITHOUT ROWID;
CREATE INDEX port_instance ON port (instance);
"""

CHANGES = {
    2: """
ALTER TABLE network ADD COLUMN id TEXT NOT NULL DEFAULT '';
ALTER TABLE network ADD COLUMN created REAL NOT NULL DEFAULT 0;
UPDATE network SET id = lower(hex(randomblob(32))), created = strftime('%s', 'now');
ALTER TABLE network ADD COLUMN gateway TEXT NOT NULL DEFAULT '';
ALTER TABLE network ADD COLUMN internal INTEGER NOT NULL DEFAULT 0;
ALTER TABLE network ADD COLUMN labels TEXT NOT NULL DEFAULT '[]';
ALTER TABLE port ADD COLUMN network TEXT NOT NULL DEFAULT 'bridge'
""",
    3: "ALTER TABLE network ADD COLUMN subnet6 TEXT NOT NULL DEFAULT ''",
}

FIRST_OFFSET = 1  # 0 is the network; the gateway has 1 unless it was given another
BRIDGE_PORTS = 1023  # BR_MAX_PORTS is 1024 and the kernel never gives out number 0
LINK_NAME_DRAWN = 9  # hex digits: 1,000 starts of one workload meet a used name once in 100,000 times
NEXT = "SELECT 1 FROM lease WHERE network=? AND offset=?"
GAP = """
SELECT candidate FROM (
    SELECT :first AS candidate UNION SELECT :gateway + 1
    UNION SELECT offset + 1 FROM lease WHERE network = :network
)
WHERE candidate BETWEEN :first AND :last AND candidate <> :gateway
AND NOT EXISTS (SELECT 1 FROM lease WHERE network = :network AND offset = candidate)
ORDER BY candidate <= :cursor, candidate LIMIT 1
"""
HOLDER = "SELECT name FROM lease LEFT JOIN instance ON instance.id = lease.instance WHERE network=? AND offset=?"
NETWORK = "SELECT link, link_index, subnet, cursor, gateway, internal, subnet6 FROM network WHERE name=?"


def allocate(db: Connection, network: str, instance_id: str, *, wanted: str = "", wanted6: str = "") -> Endpoint:
    """Take the next free address of a network for a workload, or the one it wants; inside the caller's transaction.

    Raises:
        NotFound: the network was never made (`bridge.ensure` makes it), or is being taken away.
        Conflict: every address is taken, or the wanted one, or the bridge has no port left.
        InvalidRequest: the wanted one is none of the network's.
    """
    row = db.execute(NETWORK, (network,)).fetchone()
    if row is None or not row[1]:
        raise no_such(network)
    link, link_index, subnet, cursor, given, internal, subnet6 = row
    base, prefix = parse_subnet(subnet)
    gateway = number_of(given) if given else base + 1
    last = (1 << 32 - prefix) - 2
    (taken,) = db.execute("SELECT count(*) FROM lease WHERE network=?", (network,)).fetchone()
    if taken >= min(BRIDGE_PORTS, capacity(prefix)):
        raise full(network, subnet, taken)
    if wanted:
        offset = wanted_offset(db, network, subnet, wanted, gateway)
    else:
        offset = free_offset(db, network, cursor, last, gateway - base)
        db.execute("UPDATE network SET cursor=? WHERE name=?", (offset, network))
    db.execute("INSERT INTO lease (network, offset, instance) VALUES (?, ?, ?)", (network, offset, instance_id))
    place = Endpoint(
        network=network,
        bridge=link,
        bridge_index=link_index,
        address=dotted(base + offset),
        prefix=prefix,
        gateway=dotted(gateway),
        mac=mac_of(base + offset),
        host_link=unused_link_name(instance_id),
        internal=bool(internal),
        default=not internal,
    )
    return with_ipv6(db, place, subnet6, wanted6, base) if subnet6 or wanted6 else place


def with_ipv6(db: Connection, place: Endpoint, subnet6: str, wanted: str, base: int) -> Endpoint:
    """Return a place with an IPv6 address: the wanted one, or the one whose last 32 bits are the IPv4 address.

    Raises:
        InvalidRequest: the network has no IPv6, or the wanted address is none of its, or of another workload's.
    """
    from twinhull.network import ipv6

    return ipv6.placed(db, place, subnet6, wanted, base)


def allocate_all(db: Connection, wanted: Sequence[Attachment], instance_id: str) -> tuple[Endpoint, ...]:
    """Take an address on each network; the first that leads anywhere is the way to what is on none of them."""
    endpoints: list[Endpoint] = []
    for number, attachment in enumerate(wanted):
        place = allocate(db, attachment.network, instance_id, wanted=attachment.address, wanted6=attachment.address6)
        if number or attachment.aliases:
            default = place.default and not any(other.default for other in endpoints)
            place = place._replace(number=number, default=default, aliases=attachment.aliases)
        endpoints.append(place)
    return tuple(endpoints)


def no_such(network: str) -> NotFound:
    """The error for a network that is not there."""
    return NotFound(
        f"no such network: {network}", hint="twinhull network ls lists them, twinhull network create makes one"
    )


def wanted_offset(db: Connection, network: str, subnet: str, wanted: str, gateway: int) -> int:
    """Return the offset of an address that a workload wants, if it can have it."""
    base, prefix = parse_subnet(subnet)
    offset = number_of(wanted) - base
    if not 0 < offset < (1 << 32 - prefix) - 1 or offset == gateway - base:
        raise InvalidRequest(f"{wanted} is no address for a workload on network {network!r}, which is {subnet}")
    if holder := db.execute(HOLDER, (network, offset)).fetchone():
        name = holder[0] or "another workload"
        raise Conflict(f"address {wanted} is in use by {name}", hint=f"twinhull stop {name}, or choose another address")
    return offset


def ports_left(db: Connection, network: str) -> int:
    """Return how many more workloads the bridge of a network takes."""
    (taken,) = db.execute("SELECT count(*) FROM lease WHERE network=?", (network,)).fetchone()
    return max(0, BRIDGE_PORTS - int(taken))


def capacity(prefix: int) -> int:
    """How many workloads a subnet has addresses for: not its own, its gateway's or that of broadcasts."""
    return (1 << 32 - prefix) - 2 - FIRST_OFFSET


def free_offset(db: Connection, network: str, cursor: int, last: int, gateway: int) -> int:
    """Return the next free offset after the cursor, from the beginning again after the last; there is one."""
    following = cursor + 1
    is_one = FIRST_OFFSET <= following <= last and following != gateway
    if is_one and db.execute(NEXT, (network, following)).fetchone() is None:
        return following
    gap = {"network": network, "cursor": cursor, "first": FIRST_OFFSET, "last": last, "gateway": gateway}
    return int(db.execute(GAP, gap).fetchone()[0])


def full(network: str, subnet: str, taken: int) -> Conflict:
    """Say which of the two limits was reached."""
    hint = "stop or remove a workload, or use --network none or host"
    if taken >= BRIDGE_PORTS:
        return Conflict(f"network {network!r} has {taken} workloads: a bridge of Linux has no more ports", hint=hint)
    return Conflict(f"network {network!r} has no free address: all {taken} of {subnet} are in use", hint=hint)


def release(db: Connection, instance_id: str) -> None:
    """Give back the addresses and ports of a workload; none is fine."""
    db.execute("DELETE FROM lease WHERE instance=?", (instance_id,))
    db.execute("DELETE FROM port WHERE instance=?", (instance_id,))


def release_one(db: Connection, instance_id: str, network: str) -> None:
    """Give back the address of a workload on one network; none is fine."""
    db.execute("DELETE FROM lease WHERE instance=? AND network=?", (instance_id, network))


def addresses(db: Connection) -> dict[tuple[str, str], str]:
    """Return the address of each workload on each of its networks, by (network, instance)."""
    rows = db.execute("SELECT name, subnet, offset, instance FROM lease JOIN network ON network.name = lease.network")
    return {(name, instance): dotted(parse_subnet(subnet)[0] + offset) for name, subnet, offset, instance in rows}


def unused_link_name(instance_id: str) -> str:
    """Return a veth name that no start before had: the kernel takes links away late (EEXIST)."""
    return f"tw{instance_id[:4]}{os.urandom(5).hex()[:LINK_NAME_DRAWN]}"


def mac_of(address: int) -> str:
    """Return the hardware address of an address: whoever has it next, the neighbours' ARP tables hold."""
    return ":".join([f"{byte:02x}" for byte in (0x02, 0x74, *address.to_bytes(4, "big"))])


def parse_subnet(subnet: str) -> tuple[int, int]:
    """Return (first address as a number, prefix length) of "10.0.0.0/16"."""
    address, _, prefix = subnet.partition("/")
    return number_of(address), int(prefix)


def number_of(address: str) -> int:
    """Return an IPv4 address as a number."""
    return int.from_bytes(bytes([int(part) for part in address.split(".")]), "big")


def checked_number(address: str) -> int:
    """Return an IPv4 address that a user wrote as a number.

    Raises:
        InvalidRequest: it is none.
    """
    parts = address.split(".")
    plain = all(part.isascii() and part.isdecimal() and int(part) < 256 for part in parts)
    if len(parts) != 4 or not plain:
        raise InvalidRequest(f"{address!r} is not an IPv4 address", hint="like 10.87.0.2")
    return number_of(address)


def dotted(number: int) -> str:
    """Return a number as an IPv4 address."""
    return ".".join([str(byte) for byte in number.to_bytes(4, "big")])
