"""Networks of a host: a bridge with the gateway's address, and the packet filter around it.

Promise: `ensure` costs a few system calls and no process when everything is there, and repairs what
is not: after a reboot, after `nft flush ruleset`, after another firewall was switched on.
"""

from __future__ import annotations

import errno
import os

from twinhull.config import ROOT_STATE, Config
from twinhull.errors import Conflict, HostUnfit, InvalidRequest
from twinhull.host import files, locks, netlink
from twinhull.network import firewall, leases, ports
from twinhull.plan.netlink import add_address, delete_link, dump_routes, make_bridge, route_of
from twinhull.plan.nftables import NFPROTO_IPV6
from twinhull.scopes import contextmanager
from twinhull.store.db import transaction
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Iterable, Iterator
    from sqlite3 import Connection

DEFAULT_NAME = "twinhull"
DEFAULT_NETWORK = "bridge"
DEFAULT_SUBNET = Config().subnet
MIN_PREFIX, MAX_PREFIX = 8, 29
SYSCTL = "/proc/sys/net"


class Row(NamedTuple):
    """What making a network takes, of its row in the table."""

    name: str
    link: str
    subnet: str
    version: int = 0
    link_index: int = 0
    chain_handle: int = 0
    gateway: str = ""
    internal: int = 0
    subnet6: str = ""

    @property
    def is_default(self) -> bool:
        """True for the network that is there without having been created."""
        return self.name == DEFAULT_NETWORK

    @property
    def member(self) -> firewall.Member:
        """What the packet filter knows of it."""
        return firewall.Member(self.link, self.subnet, bool(self.internal), self.subnet6)


def table_name(config: Config) -> str:
    """Return the name of this installation's nft table: its own for each state directory."""
    if config.state == ROOT_STATE:
        return DEFAULT_NAME
    return f"{DEFAULT_NAME}_{tag(config):08x}"


def link_name(config: Config, number: int = 0) -> str:
    """Return the name of a network's bridge, 15 characters at most; the default network's has the number 0."""
    return f"{DEFAULT_NAME}{number}" if config.state == ROOT_STATE else f"tw{tag(config):08x}_{number:x}"


def tag(config: Config) -> int:
    """Return a number of 32 bits that tells installations of one host apart."""
    from zlib import crc32

    return crc32(os.path.realpath(config.state).encode())


def ensure(config: Config, db: Connection, network: str = DEFAULT_NETWORK) -> None:
    """Make the network, or find that it is there.

    Raises:
        NotFound: it was never created.
        HostUnfit: a tool is missing, or the kernel refuses.
        Conflict: the configured subnet belongs to another network of the host.
    """
    row = find(db, network)
    if row is not None and not is_moved(config, row) and is_whole(config, row):
        return
    with changing(config):
        row = find(db, network)
        if row is None and network != DEFAULT_NETWORK:
            raise leases.no_such(network)
        if row is None or is_moved(config, row) or not is_whole(config, row):
            build(config, db, row or Row(network, link_name(config), ""))


@contextmanager
def changing(config: Config) -> Iterator[None]:
    """Let nobody else make or take away a network meanwhile: they share the packet filter's table."""
    directory = f"{config.run}/network"
    files.make_directory(directory)
    with locks.locked(f"{directory}/lock"):
        yield


def find(db: Connection, network: str) -> Row | None:
    """Return the network's row."""
    row = db.execute(f"SELECT {','.join(Row._fields)} FROM network WHERE name=?", (network,)).fetchone()
    return Row(*row) if row else None


def is_moved(config: Config, row: Row) -> bool:
    """True if the configuration has another subnet for the network than the one it was made with."""
    return row.is_default and config.subnet not in (DEFAULT_SUBNET, row.subnet)


def is_whole(config: Config, row: Row) -> bool:
    """True if link and table are the ones we made, and no foreign chain shuts our link out."""
    if row.version != firewall.VERSION or index_of(row.link) != row.link_index:
        return False
    with netlink.opened(netlink.NETFILTER) as sock:
        found = firewall.chains(sock, ipv6=bool(row.subnet6))
        if firewall.handle_of(found, table_name(config)) != row.chain_handle:
            return False
        if row.subnet6 and not firewall.handle_of(found, table_name(config), NFPROTO_IPV6):
            return False
        return not firewall.closed(sock, found, row.link)


def index_of(link: str) -> int:
    """Return a link's index, 0 if there is none."""
    from _socket import if_nametoindex

    try:
        return if_nametoindex(link)
    except OSError:
        return 0


def build(config: Config, db: Connection, row: Row) -> None:
    """Make or repair everything; each step finds its work done without harm. No other network changes meanwhile.

    Raises:
        Conflict: its subnet is to be another, and workloads have addresses of it.
    """
    from twinhull.host.sysctl import write_sysctl

    wanted = row._replace(subnet=subnet_for(config, db, row))
    write_sysctl("ipv4/ip_forward", "1")
    table = table_name(config)
    with netlink.opened(netlink.NETFILTER) as sock:
        handle = firewall.handle_of(firewall.chains(sock), table)
        if not handle or handle != row.chain_handle or row.version != firewall.VERSION or wanted.subnet != row.subnet:
            fill(sock, config, db, wanted, is_current=handle != 0 and is_loaded(db, handle))
        if row.subnet6:
            firewall.load6(table, [other.member for other in every(db)])
        make_link(wanted)
        found = firewall.chains(sock, ipv6=bool(row.subnet6))
        if row.version not in (0, firewall.VERSION):  # its accepts are of an older list
            firewall.close_for(row.link, found)
            found = firewall.chains(sock, ipv6=bool(row.subnet6))
        firewall.open_for(row.link, firewall.closed(sock, found, row.link))
        handle = firewall.handle_of(found, table)
    write(db, wanted._replace(version=firewall.VERSION, link_index=index_of(row.link), chain_handle=handle))


def subnet_for(config: Config, db: Connection, row: Row) -> str:
    """Return the subnet that a network is to have; that of a created one was decided then.

    Raises:
        Conflict: it is to be another, and workloads have addresses of it.
    """
    subnet = row.subnet
    if subnet and is_moved(config, row):
        check_subnet(config.subnet)
        if has_leases(db, row.name):
            raise Conflict(
                f"network {row.name!r} is {subnet} and has workloads; the configuration wants {config.subnet}",
                hint=f"stop them first, or set subnet = {subnet!r}",
            )
        subnet = ""
    if not subnet:
        delete(row.link)  # of a state directory that is no more, or of another subnet
    if not subnet or (row.is_default and index_of(row.link) == 0 and not has_leases(db, row.name)):
        subnet = choose_subnet(config, db)
    return subnet


def is_loaded(db: Connection, handle: int) -> bool:
    """True if the table that is loaded is the one that another network was put into, by today's rules."""
    query = "SELECT 1 FROM network WHERE chain_handle=? AND version=? LIMIT 1"
    return db.execute(query, (handle, firewall.VERSION)).fetchone() is not None


def fill(sock: socket, config: Config, db: Connection, row: Row, *, is_current: bool) -> None:
    """Put a network into the packet filter's table; one that is not current is loaded anew, with every network."""
    from twinhull.network import resolver

    table = table_name(config)
    if is_current and not row.chain_handle:
        firewall.admit(table, row.member)
        return
    members = [other.member for other in every(db) if other.name != row.name and other.subnet]
    firewall.load(table, [*members, row.member])
    ports.restore(sock, db, table, leases.addresses(db))
    resolver.restore(sock, config, db)
    handle = firewall.handle_of(firewall.chains(sock), table)
    db.execute("UPDATE network SET chain_handle=? WHERE name<>?", (handle, row.name))


def write(db: Connection, row: Row) -> None:
    """Write a network down, or what became of it."""
    columns = ",".join(Row._fields)
    updates = ",".join(f"{column}=excluded.{column}" for column in Row._fields[1:])
    values = ",".join("?" * len(row)) + ",lower(hex(randomblob(32))),strftime('%s','now')"
    statement = f"INSERT INTO network ({columns},id,created) VALUES ({values}) ON CONFLICT (name) DO UPDATE SET"
    db.execute(f"{statement} {updates}", row)


def every(db: Connection) -> list[Row]:
    """Return every network that was made."""
    return [Row(*row) for row in db.execute(f"SELECT {','.join(Row._fields)} FROM network ORDER BY name")]


def has_leases(db: Connection, network: str) -> bool:
    """True if a workload has an address of the network."""
    return db.execute("SELECT 1 FROM lease WHERE network=? LIMIT 1", (network,)).fetchone() is not None


def make_link(row: Row) -> None:
    """Make the bridge with the gateway's address, up, and tell the kernel how to treat it.

    The filter is loaded before: route_localnet without its guard would open 127/8 (CVE-2020-8558).
    IPv6 is off on the host's side but for a network that has it, so that no workload's router advertisement is
    believed (CVE-2020-13401).
    """
    from twinhull.host.sysctl import write_sysctl
    from twinhull.network import ipv6

    base, prefix = leases.parse_subnet(row.subnet)
    gateway = row.gateway or leases.dotted(base + 1)
    try:
        with netlink.opened(netlink.ROUTE) as sock:
            ignore(errno.EEXIST, sock, make_bridge(row.link, mac=leases.mac_of(leases.number_of(gateway))))
            if row.subnet6:
                ipv6.equip(sock, row)
            elif os.path.exists(f"{SYSCTL}/ipv6/conf/{row.link}"):
                write_sysctl(f"ipv6/conf/{row.link}/disable_ipv6", "1")
            ignore(errno.EEXIST, sock, add_address(index_of(row.link), gateway, prefix, ack=True))
    except OSError as error:
        raise HostUnfit(f"the bridge {row.link} cannot be made: {error.strerror}") from error
    write_sysctl(f"ipv4/conf/{row.link}/route_localnet", "1")


def delete(link: str) -> None:
    """Remove a link; absent is fine."""
    with netlink.opened(netlink.ROUTE) as sock:
        ignore(errno.ENODEV, sock, delete_link(link))


def ignore(expected: int, sock: socket, message: bytes) -> None:
    """Send one message; one certain refusal is fine."""
    try:
        netlink.exchange(sock, message, 1)
    except OSError as error:
        if error.errno != expected:
            raise


def choose_subnet(config: Config, db: Connection) -> str:
    """Return the configured subnet, or the first of our own that neither a route nor another network overlaps.

    Raises:
        InvalidRequest: the configured one is not a subnet of IPv4.
        Conflict: the configured one overlaps, or everything does.
    """
    used = taken(db, but=DEFAULT_NETWORK)
    if config.subnet != DEFAULT_SUBNET:
        if other := overlapping(check_subnet(config.subnet), used):
            raise Conflict(
                f"the configured subnet {config.subnet} overlaps {other}, which the host routes elsewhere",
                hint="choose another `subnet` in the configuration",
            )
        return config.subnet
    return first_free(candidates(config), used)


def first_free(subnets: Iterable[str], used: list[tuple[int, int]]) -> str:
    """Return the first that overlaps nothing.

    Raises:
        Conflict: each does.
    """
    for subnet in subnets:
        if not overlapping(leases.parse_subnet(subnet), used):
            return subnet
    raise Conflict("no private subnet is free on this host", hint="set `subnet` in the configuration")


def taken(db: Connection, *, but: str = "") -> list[tuple[int, int]]:
    """Return what the host routes, and the subnets of our networks, which may have no route yet, but of one."""
    return routes() + [leases.parse_subnet(row.subnet) for row in every(db) if row.subnet and row.name != but]


def candidates(config: Config) -> list[str]:
    """Return subnets to try: the default and its neighbours, or small ones by the state directory's name."""
    if config.state == ROOT_STATE:
        first = int(DEFAULT_SUBNET.split(".")[1])
        return [f"10.{second}.0.0/16" for second in range(first, 63, -1)]
    return small_candidates(config)


def small_candidates(config: Config) -> list[str]:
    """Return small subnets to try, which begin elsewhere for each state directory."""
    start = tag(config) % 2048
    return [f"10.{128 + n // 16}.{n % 16 * 16}.0/20" for n in [(start + step) % 2048 for step in range(256)]]


def check_subnet(subnet: str) -> tuple[int, int]:
    """Return a subnet as numbers.

    Raises:
        InvalidRequest: it is not one, or too small or large to be useful.
    """
    try:
        base, prefix = leases.parse_subnet(subnet)
    except ValueError:
        base, prefix = 1, 32
    if not MIN_PREFIX <= prefix <= MAX_PREFIX or base & ((1 << 32 - prefix) - 1):
        raise InvalidRequest(
            f"subnet {subnet!r} is not an IPv4 network of /{MIN_PREFIX} to /{MAX_PREFIX}", hint='like "10.87.0.0/16"'
        )
    return base, prefix


def routes() -> list[tuple[int, int]]:
    """Return what the host routes, and its name servers, as (address, prefix length)."""
    from twinhull.network.etc import name_servers

    with netlink.opened(netlink.ROUTE) as sock:
        found = [route_of(body) for body in netlink.dump(sock, dump_routes())]
    used = [(leases.number_of(network), prefix) for prefix, network, table in filter(None, found)]
    return used + [(leases.number_of(server), 32) for server in name_servers() if ":" not in server]


def overlapping(subnet: tuple[int, int], used: list[tuple[int, int]]) -> str:
    """Return the first of `used` that shares an address with `subnet`, "" without one."""
    for base, prefix in used:
        shift = 32 - min(prefix, subnet[1])
        if base >> shift == subnet[0] >> shift:
            return f"{leases.dotted(base)}/{prefix}"
    return ""


def remove(config: Config, db: Connection, network: str = DEFAULT_NETWORK) -> None:
    """Take the network away: link, foreign accepts, its elements, and the table with the last network.

    Its row goes last: whatever ends this in the middle, the next `ensure` or `remove` finds what is left.

    Raises:
        Conflict: a workload is on it.
    """
    from twinhull.network import dhcp, dns

    with changing(config):
        if row := find(db, network):
            with transaction(db):
                if has_leases(db, network):
                    raise Conflict(f"network {network!r} has workloads", hint="stop or disconnect them first")
                db.execute("UPDATE network SET link_index=0 WHERE name=?", (network,))  # nobody gets an address now
            dhcp.forget(config, network)
            dns.forget(config, network)
            take_away(config, db, row)


def take_away(config: Config, db: Connection, row: Row) -> None:
    """Remove what the host has of a network that nobody is on, then its row."""
    delete(row.link)
    table = table_name(config)
    with netlink.opened(netlink.NETFILTER) as sock:
        found = firewall.chains(sock, ipv6=bool(row.subnet6))
        firewall.close_for(row.link, found)
    if row.subnet6:
        firewall.load6(table, [other.member for other in every(db) if other.name != row.name])
    if len(every(db)) == 1:
        firewall.unload(table)
    elif firewall.handle_of(found, table) and row.subnet:
        firewall.dismiss(table, row.member)
    db.execute("DELETE FROM network WHERE name=?", (row.name,))
