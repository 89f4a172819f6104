"""What a workload finds in its /etc about its network, and the name servers of the host."""

from __future__ import annotations

import os

from twinhull.errors import InvalidRequest
from twinhull.host.facts import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from twinhull.model import Endpoint

RESOLV_CONF = "/etc/resolv.conf"
REAL_RESOLV_CONF = "/run/systemd/resolve/resolv.conf"  # what the stub at 127.0.0.53 asks itself
STUB_SERVERS = {"127.0.0.53", "127.0.0.54"}
MAX_BYTES = 1 << 20  # of one of these files, which the workload may have written
LOCALHOST = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


def hosts_file(endpoints: Sequence[Endpoint], hostname: str) -> str:
    """Return /etc/hosts of a workload; without a network its own name is its loopback."""
    addresses = [address for place in endpoints for address in addresses_of(place)] or ["127.0.1.1"]
    return LOCALHOST + "".join([f"{address}\t{hostname}\n" for address in addresses])


def addresses_of(place: Endpoint) -> list[str]:
    """Return the addresses of a workload on a network: one, or one of each kind."""
    return [place.address, place.address6] if place.address6 else [place.address]


def resolv_conf(endpoints: Sequence[Endpoint]) -> str:
    """Return /etc/resolv.conf of a workload on networks; without one nobody can be asked."""
    if not endpoints:
        return "# no network\n"
    return workload_resolv_conf(asked(endpoints).gateway, read(RESOLV_CONF))


def asked(endpoints: Sequence[Endpoint]) -> Endpoint:
    """Return the place whose gateway a workload asks for names: that of its way out."""
    return next((place for place in endpoints if place.default), endpoints[0])


def workload_resolv_conf(name_server: str, host: str) -> str:
    """Return a resolv.conf with this name server, and the search list and options of the host's.

    ndots:0 asks for a bare name first as it is: a wildcard of a search domain must not answer for a workload.
    """
    lines = [f"nameserver {name_server}"]
    options = []
    for line in host.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word in ("search", "domain"):
            lines.append(f"{word} {rest.strip()}")
        elif word == "options":
            options += [option for option in rest.split() if not option.startswith("ndots:")]
    return "\n".join([*lines, " ".join(["options", *options, "ndots:0"]), ""])


def host_lines(hosts: Iterable[tuple[str, str]], gateway: str) -> str:
    """Return the lines of further names for a hosts file; "host-gateway" is the host as it is reached from inside.

    Raises:
        InvalidRequest: there is no way to the host.
    """
    lines = []
    for name, address in hosts:
        if address == "host-gateway" and not gateway:
            raise InvalidRequest(
                f"--add-host {name}: without a network there is no host-gateway", hint="name an address"
            )
        lines.append(f"{gateway if address == 'host-gateway' else address}\t{name}\n")
    return "".join(lines)


def changed(text: str, servers: Sequence[str], search: Sequence[str], options: Sequence[str]) -> str:
    """Return a resolv.conf with what is given instead of its servers, search list or options; "." searches none."""
    given = {"nameserver": servers, "search": search, "options": options}
    kept = [line for line in text.splitlines() if not given.get(line.partition(" ")[0].replace("domain", "search"))]
    kept += [f"nameserver {server}" for server in servers]
    if search and "." not in search:
        kept.append(f"search {' '.join(search)}")
    if options:
        kept.append(f"options {' '.join(options)}")
    return "\n".join([*kept, ""])


def resolv_conf_host() -> str:
    """Return /etc/resolv.conf for a workload in the host's own network: the stub answers there too."""
    return read(RESOLV_CONF)


def real_resolv_conf() -> str:
    """Return the path of the file that names the host's real servers, as they are now and will be."""
    servers = set(servers_of(read(RESOLV_CONF)))
    if servers and servers <= STUB_SERVERS and os.path.exists(REAL_RESOLV_CONF):
        return REAL_RESOLV_CONF
    return RESOLV_CONF


def name_servers() -> list[str]:
    """Return the addresses of the host's real name servers."""
    return servers_of(read(real_resolv_conf()))


def servers_of(text: str) -> list[str]:
    """Return the addresses that a resolv.conf names."""
    words = [line.split() for line in text.splitlines()]
    return [line[1].partition("%")[0] for line in words if len(line) > 1 and line[0] == "nameserver"]
