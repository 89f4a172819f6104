"""Published ports: how they are written, who has them, and what the kernel's maps say of them."""

from __future__ import annotations

from errno import EADDRINUSE, EADDRNOTAVAIL, EXFULL

from twinhull.config import Config
from twinhull.errors import Conflict, InvalidRequest, LaunchError, TwinhullError
from twinhull.host.facts import is_rootless
from twinhull.model import Endpoint, Port
from twinhull.plan import nftables
from twinhull.plan.netlink import pack_address
from twinhull.plan.nftables import Element, component
from twinhull.plan.ops import Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Iterable
    from sqlite3 import Connection
    from typing import Literal

PROTOCOLS = {"tcp": 6, "udp": 17}
MAX_PORT = 65535
MAX_PORTS = 255  # a shim holds one socket for each
WILDCARDS = {"0.0.0.0", "::"}
FREE_PORT_TRIES = 32
INSERT = "INSERT INTO port (protocol, host_port, address, port, instance, network) VALUES (?, ?, ?, ?, ?, ?)"
BATCH_ELEMENTS = 512  # 60 bytes each, well below a socket's send buffer


def parse(text: str) -> tuple[Port, ...]:
    """Return the ports that one -p asks for: [IP:][HOST:]PORT[/tcp|/udp], each side a range if both are.

    A HOST of 0, or none, is any free port.

    Raises:
        InvalidRequest: it is none of these.
    """
    rest, _, protocol = text.partition("/")
    if protocol not in ("", "tcp", "udp"):
        raise malformed(text, f"the protocol is tcp or udp, not {protocol!r}")
    address, rest = split_address(text, rest)
    host, colon, inside = rest.rpartition(":")
    wanted = numbers(text, inside)
    if colon and host not in ("", "0"):
        offered = numbers(text, host)
        if len(offered) != len(wanted):
            raise malformed(text, f"{len(offered)} ports of the host for {len(wanted)} of the workload")
    elif colon and not host and not address:
        raise malformed(text, "the host's port is empty")
    else:
        offered = [0] * len(wanted)
    kind: Literal["tcp", "udp"] = "udp" if protocol == "udp" else "tcp"
    return tuple([Port(address, ours, theirs, kind) for ours, theirs in zip(offered, wanted, strict=True)])


def exposed(texts: Iterable[str]) -> tuple[Port, ...]:
    """Return the ports that --expose or an image's EXPOSE name, PORT[-PORT][/PROTOCOL], for any port of the host.

    Raises:
        InvalidRequest: one is none.
    """
    found = []
    for text in texts:
        part, _, protocol = text.partition("/")
        if protocol.lower() not in ("", "tcp", "udp"):
            raise malformed(text, f"the protocol is tcp or udp, not {protocol!r}")
        kind: Literal["tcp", "udp"] = "udp" if protocol.lower() == "udp" else "tcp"
        found += [Port("", 0, number, kind) for number in numbers(text, part)]
    return tuple(dict.fromkeys(found))


def split_address(text: str, rest: str) -> tuple[str, str]:
    """Take "[::1]:" or "127.0.0.1:" off; what is left is "HOST:PORT", ":PORT" or "PORT"."""
    if rest.startswith("["):
        address, bracket, rest = rest[1:].partition("]:")
        if not bracket or ":" not in address:
            raise malformed(text, "an IPv6 address is written [ADDRESS]:")
        rest = rest if ":" in rest else ":" + rest
    elif rest.count(":") == 2:
        address, _, rest = rest.partition(":")
    else:
        return "", rest
    try:
        length = len(pack_address(address))
    except ValueError:
        length = 0
    if length not in (4, 16):
        raise malformed(text, f"{address!r} is not an address")
    return address, rest


def numbers(text: str, part: str) -> list[int]:
    """Return the ports of "80" or "8000-8002"."""
    first, dash, last = part.partition("-")
    ends = [first, last] if dash else [first, first]
    if not all(end.isascii() and end.isdecimal() and len(end) <= 5 for end in ends):
        raise malformed(text, f"{part!r} is not a port")
    low, high = int(ends[0]), int(ends[1])
    if not 0 < low <= high <= MAX_PORT:
        raise malformed(text, f"ports are 1 to {MAX_PORT}")
    if high - low >= MAX_PORTS:
        raise malformed(text, f"at most {MAX_PORTS} ports can be published")
    return list(range(low, high + 1))


def malformed(text: str, why: str) -> InvalidRequest:
    """Return the error for a -p."""
    return InvalidRequest(f"invalid port {text!r}: {why}", hint="-p [IP:]HOST:PORT[/udp], or -p PORT for any free one")


def reserve(db: Connection, config: Config, instance_id: str, ports: Iterable[Port], network: str) -> tuple[Port, ...]:
    """Take the ports for a workload, inside the caller's transaction; 0 becomes a free one.

    Args:
        network: the one by which packets reach the workload.

    Raises:
        Conflict: another workload has one of them.
        InvalidRequest: too many, or UDP on an IPv6 address.
    """
    taken = []
    for port in ports:
        address = port.address or config.default_bind
        if ":" in address and port.protocol == "udp":
            raise InvalidRequest(f"udp port {port.port} cannot be published on {address}: only tcp on IPv6")
        number = port.host_port or free_port(db, address, port.protocol)
        held_by, holder = holder_of(db, address, number, port.protocol)
        if held_by == instance_id:
            raise InvalidRequest(f"port {number}/{port.protocol} is published twice", hint="leave one -p out")
        if held_by:
            raise Conflict(
                f"port {number}/{port.protocol} is in use by {holder}",
                hint=f"twinhull stop {holder}, or choose another port",
            )
        row = (port.protocol, number, address, port.port, instance_id, network)
        db.execute(INSERT, row)
        taken.append(Port(address, number, port.port, port.protocol))
    if len(taken) > MAX_PORTS:
        raise InvalidRequest(f"{len(taken)} ports: a workload can publish at most {MAX_PORTS}")
    return tuple(taken)


def holder_of(db: Connection, address: str, number: int, protocol: str) -> tuple[str, str]:
    """Return (id, name) of the workload that has a port at this address or at all; both are "" without one."""
    rows = db.execute(
        "SELECT port.address, port.instance, instance.name FROM port LEFT JOIN instance ON instance.id = port.instance "
        "WHERE protocol=? AND host_port=?",
        (protocol, number),
    )
    for other, instance_id, name in rows:
        same_family = (":" in other) == (":" in address)
        if other == address or (same_family and (other in WILDCARDS or address in WILDCARDS)):
            return instance_id, str(name or instance_id[:12])
    return "", ""


def free_port(db: Connection, address: str, protocol: str) -> int:
    """Return a port that neither a workload nor a process of the host has: the kernel is asked.

    Raises:
        Conflict: none was found.
    """
    for _ in range(FREE_PORT_TRIES):
        try:
            number = any_port_of_host(address, protocol) if is_rootless() else any_port(address, protocol)
        except OSError as error:
            raise Conflict(f"no {protocol} port of {address} can be had: {error.strerror}") from error
        if not holder_of(db, address, number, protocol)[0]:
            return number
    raise Conflict(f"no free {protocol} port was found on {address}")


def any_port(address: str, protocol: str) -> int:
    """Return a port that no process of the host had a moment ago."""
    from _socket import AF_INET, AF_INET6, SOCK_DGRAM, SOCK_STREAM, socket

    family = AF_INET6 if ":" in address else AF_INET
    probe = socket(family, SOCK_DGRAM if protocol == "udp" else SOCK_STREAM)
    try:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])
    finally:
        probe.close()


def any_port_of_host(address: str, protocol: str) -> int:
    """The same, for who is not in the host's network."""
    from twinhull.host.rootless import outside

    return outside(lambda: any_port(address, protocol))


def explain(error: LaunchError) -> TwinhullError:
    """Return what an op of the network that failed means to the user, or the error itself."""
    if error.op in ("hold-port", "proxy") and error.errno == EADDRINUSE:
        return Conflict(
            f"port {error.target} is in use by a process of the host",
            hint=f"ss -lntup 'sport = {error.target}' shows which; or choose another port",
        )
    if error.op in ("hold-port", "proxy") and error.errno == EADDRNOTAVAIL:
        return InvalidRequest(f"port {error.target} cannot be published there: the host does not have the address")
    if error.op == "netlink" and error.errno == EXFULL:
        return Conflict("the network's bridge has no port left", hint="stop a workload, or use --network none or host")
    return error


def hold_ops(ports: Iterable[Port]) -> tuple[Op, ...]:
    """The shim binds each port: a process of the host that has it is found, and none can take it later."""
    return tuple([Op("hold-port", (port.protocol, port.address, port.host_port)) for port in ports if is_mapped(port)])


def proxy_ops(endpoint: Endpoint, ports: Iterable[Port]) -> tuple[Op, ...]:
    """What nftables cannot send to an IPv4 address goes through a process."""
    return tuple(
        [
            Op("proxy", (port.address, port.host_port, endpoint.address, port.port))
            for port in ports
            if not is_mapped(port)
        ]
    )


def is_mapped(port: Port) -> bool:
    """True if the kernel's maps carry this port: its address is IPv4."""
    return ":" not in port.address


def elements(address: str, ports: Iterable[Port]) -> list[Element]:
    """Return the map elements that send each port to the workload at `address`."""
    return [element(address, port) for port in ports if is_mapped(port)]


def element(address: str, port: Port) -> Element:
    """Return one map element: where a packet is addressed to -> where it goes."""
    key = component(bytes([PROTOCOLS[port.protocol]])) + component(port.host_port.to_bytes(2, "big"))
    data = pack_address(address) + component(port.port.to_bytes(2, "big"))
    if port.address in WILDCARDS:
        return Element("published", key, data)
    return Element("published_on", pack_address(port.address) + key, data)


def add_ops(table: str, endpoint: Endpoint, ports: Iterable[Port]) -> tuple[Op, ...]:
    """Publish: one batch, all or nothing."""
    added = elements(endpoint.address, ports)
    return (Op("nftables", nftables.add(table, added)),) if added else ()


def delete_ops(table: str, endpoint: Endpoint, ports: Iterable[Port]) -> tuple[Op, ...]:
    """Take back: a batch each, for one that is missing must not keep the others."""
    return tuple([Op("nftables-delete", nftables.delete(table, [one])) for one in elements(endpoint.address, ports)])


def restore(sock: socket, db: Connection, table: str, addresses: dict[tuple[str, str], str]) -> None:
    """Put every published port into a table that was just loaded; `addresses` is by network and instance."""
    from twinhull.host import netlink

    rows = db.execute("SELECT address, host_port, port, protocol, network, instance FROM port")
    known = [(addresses[row[4:]], Port(*row[:4])) for row in rows if row[4:] in addresses]
    if is_rootless():
        from twinhull.network.uplink import inside

        known = [(address, inside([port])[0]) for address, port in known]
    wanted = [element(address, port) for address, port in known if is_mapped(port)]
    for start in range(0, len(wanted), BATCH_ELEMENTS):
        batch = nftables.add(table, wanted[start : start + BATCH_ELEMENTS], exclusive=False)
        netlink.exchange(sock, *batch)
