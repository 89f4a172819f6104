"""Addresses for machines: a disk that knows nothing of us asks by DHCP and is told what its row in the database says.

Promise: only hardware addresses that we gave out get an answer, each its own address. The server is a dnsmasq of its
own: networks without machines run none, and a host with another DHCP server loses nothing but machines.

A record that was withdrawn is answered until the server ends, which harms nobody: a hardware address is a function of
the address (leases.mac_of), whoever has it next.
"""

from __future__ import annotations

import os

from twinhull.config import Config
from twinhull.host import files, locks
from twinhull.model import Endpoint
from twinhull.network import dns
from twinhull.plan.ops import Op

LABEL_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-")
MAX_LABEL = 63
PORT = 67


def directory_of(config: Config, network: str) -> str:
    """Return the directory of a network's DHCP server."""
    return f"{dns.directory_of(config, network)}/dhcp"


def undo_ops(config: Config, endpoint: Endpoint) -> tuple[Op, ...]:
    """What takes a machine's record back, and the server with the last of them."""
    return dns.service_undo_ops(directory_of(config, endpoint.network), endpoint)


def serve(config: Config, endpoint: Endpoint, hostname: str) -> None:
    """Answer a machine from now on.

    Raises:
        HostUnfit: dnsmasq is missing or cannot start.
    """
    directory = directory_of(config, endpoint.network)
    dns.make_directories(directory)
    temporary = f"{directory}/{endpoint.host_link}"
    files.write(temporary, record(endpoint, hostname).encode(), 0o644)
    with locks.locked(f"{directory}/dnsmasq.pid.lock"):
        os.rename(temporary, f"{directory}/hosts/{endpoint.host_link}")
        if not dns.pid_of(f"{directory}/dnsmasq.pid"):
            dns.Starter(endpoint, directory, command(endpoint, directory), "DHCP server", PORT).finish()


def record(endpoint: Endpoint, hostname: str) -> str:
    """Return a line as dnsmasq's --dhcp-host takes it; a name that no host can have is left out."""
    is_label = 0 < len(hostname) <= MAX_LABEL and LABEL_LETTERS.issuperset(hostname) and hostname.strip("-") == hostname
    return ",".join([endpoint.mac, endpoint.address, *([hostname] if is_label else []), "infinite"]) + "\n"


def command(endpoint: Endpoint, directory: str) -> list[str]:
    """Return dnsmasq's command line: no configuration of the host's, no names, no address but those of its records."""
    return [
        *("dnsmasq", "--conf-file=/dev/null", "--user=nobody", f"--pid-file={directory}/dnsmasq.pid", "--port=0"),
        *("--bind-dynamic", f"--interface={endpoint.bridge}", "--except-interface=lo"),
        *(f"--dhcp-range={endpoint.gateway},static", f"--dhcp-hostsdir={directory}/hosts", "--dhcp-authoritative"),
        f"--dhcp-option=option:dns-server,{endpoint.gateway}",
        *("--leasefile-ro", "--no-ping"),
    ]


def withdraw(config: Config, endpoint: Endpoint) -> None:
    """Take a machine's record back, and end the server with the last; what the undo list does too."""
    dns.withdraw_from(directory_of(config, endpoint.network), endpoint)


def forget(config: Config, network: str) -> None:
    """End the server of a network that is taken away."""
    directory = directory_of(config, network)
    if os.path.isdir(directory):
        with locks.locked(f"{directory}/dnsmasq.pid.lock"):
            dns.end(f"{directory}/dnsmasq.pid")
