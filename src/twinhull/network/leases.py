"""Addresses: who has which, in the database's one transaction with the workload's row.

Promise: two workloads never have one address, and a free one is found in the same time whether ten
or a thousand are taken, unless the network is nearly full.
"""

from __future__ import annotations

import os

from twinhull.config import Config
from twinhull.errors import Conflict, NotFound
from twinhull.model import Endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqlite3 import Connection

# `cursor` is the last offset given out: addresses come back into use as late as possible. The kernel's
# handles of a network (link, index, chain) say whether what was built is still there.
SCHEMA = """
CREATE TABLE network (
    name TEXT PRIMARY KEY,
    link TEXT NOT NULL,
    subnet TEXT NOT NULL,
    version INTEGER NOT NULL,
    link_index INTEGER NOT NULL,
    chain_handle INTEGER NOT NULL,
    cursor INTEGER NOT NULL DEFAULT 1
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
    PRIMARY KEY (protocol, host_port, address)
) WITHOUT ROWID;
CREATE INDEX port_instance ON port (instance);
"""

FIRST_OFFSET = 2  # 0 is the network, 1 the gateway
BRIDGE_PORTS = 1023  # BR_MAX_PORTS is 1024 and the kernel never gives out number 0
LINK_NAME_DRAWN = 9  # hex digits: 1,000 starts of one workload meet a used name once in 100,000 times
NEXT = "SELECT 1 FROM lease WHERE network=? AND offset=?"
GAP = """
SELECT candidate FROM (SELECT :first AS candidate UNION SELECT offset + 1 FROM lease WHERE network = :network)
WHERE candidate BETWEEN :first AND :last
AND NOT EXISTS (SELECT 1 FROM lease WHERE network = :network AND offset = candidate)
ORDER BY candidate <= :cursor, candidate LIMIT 1
"""


def allocate(db: Connection, config: Config, network: str, instance_id: str) -> Endpoint:
    """Take the next free address of a network for a workload; inside the caller's transaction.

    Raises:
        NotFound: the network was never made (`bridge.ensure` makes it).
        Conflict: every address is taken, or the bridge has no port left.
    """
    row = db.execute("SELECT link, link_index, subnet, cursor FROM network WHERE name=?", (network,)).fetchone()
    if row is None:
        raise NotFound(f"no such network: {network}")
    link, link_index, subnet, cursor = row
    base, prefix = parse_subnet(subnet)
    last = (1 << 32 - prefix) - 2
    (taken,) = db.execute("SELECT count(*) FROM lease WHERE network=?", (network,)).fetchone()
    if taken >= min(BRIDGE_PORTS, last - FIRST_OFFSET + 1):
        raise full(network, subnet, taken)
    offset = free_offset(db, network, cursor, last)
    db.execute("UPDATE network SET cursor=? WHERE name=?", (offset, network))
    db.execute("INSERT INTO lease (network, offset, instance) VALUES (?, ?, ?)", (network, offset, instance_id))
    return Endpoint(
        network=network,
        bridge=link,
        bridge_index=link_index,
        address=dotted(base + offset),
        prefix=prefix,
        gateway=dotted(base + 1),
        mac=mac_of(base + offset),
        host_link=unused_link_name(instance_id),
    )


def ports_left(db: Connection, network: str) -> int:
    """Return how many more workloads the bridge of a network takes."""
    (taken,) = db.execute("SELECT count(*) FROM lease WHERE network=?", (network,)).fetchone()
    return max(0, BRIDGE_PORTS - int(taken))


def free_offset(db: Connection, network: str, cursor: int, last: int) -> int:
    """Return the next free offset after the cursor, from the beginning again after the last; there is one."""
    if FIRST_OFFSET <= cursor + 1 <= last and db.execute(NEXT, (network, cursor + 1)).fetchone() is None:
        return cursor + 1
    gap = {"network": network, "cursor": cursor, "first": FIRST_OFFSET, "last": last}
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


def addresses(db: Connection) -> dict[str, str]:
    """Return the address of each workload that has one, by instance."""
    rows = db.execute("SELECT subnet, offset, instance FROM lease JOIN network ON network.name = lease.network")
    return {instance: dotted(parse_subnet(subnet)[0] + offset) for subnet, offset, instance in rows}


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


def dotted(number: int) -> str:
    """Return a number as an IPv4 address."""
    return ".".join([str(byte) for byte in number.to_bytes(4, "big")])
