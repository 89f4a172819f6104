"""The links of a container's network namespace: read before its machine boots, and given back when it has ended."""

from __future__ import annotations

import os

from twinhull.errors import UnsupportedSpec
from twinhull.host import files, netlink
from twinhull.host.netns import entered
from twinhull.plan.interfaces import Interfaces, dumps, interfaces, let_go

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

LINKS = "links"  # in the machine's directory: an inode and indices


def require_other(namespace: str) -> None:
    """Refuse the namespace that our caller and we are in, the host's: a machine would take its links away.

    Raises:
        UnsupportedSpec: it is.
    """
    if os.stat(namespace).st_ino == os.stat("/proc/self/ns/net").st_ino:
        raise UnsupportedSpec("linux.namespaces: a virtual machine cannot have the host's network")


def read_interfaces(namespace: str) -> Interfaces:
    """Return what is in a network namespace now."""
    require_other(namespace)
    fd = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with entered(fd), netlink.opened(netlink.ROUTE) as connection:
            links, addresses, routes = (netlink.dump(connection, request) for request in dumps())
    finally:
        os.close(fd)
    return interfaces(links, addresses, routes)


def network_path(spec: Mapping[str, Any]) -> str:
    """Where the network namespace is that a spec joins, "" for a new one."""
    entries = (spec.get("linux") or {}).get("namespaces") or ()
    return next((row.get("path") or "" for row in entries if row.get("type") == "network"), "")


def note_links(directory: str, namespace: str, found: Interfaces) -> None:
    """Write down which links of which namespace will be joined to taps: it may outlive the machine."""
    numbers = (os.stat(namespace).st_ino, *(link.number for link in found.links))
    files.replace(f"{directory}/{LINKS}", " ".join(map(str, numbers)).encode())


def let_links_go(directory: str, spec: Mapping[str, Any]) -> None:
    """Give the links of a namespace that is not ours back as they were; it may be gone, and another have its name."""
    try:
        inode, *links = map(int, files.read(f"{directory}/{LINKS}").split())
        fd = os.open(network_path(spec), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if os.fstat(fd).st_ino != inode:
            return
        with entered(fd), netlink.opened(netlink.ROUTE) as connection:
            for link in links:
                try:
                    netlink.exchange(connection, let_go(link), 1)
                except OSError:  # it is gone, or was never joined
                    continue
    finally:
        os.close(fd)
    files.remove_file(f"{directory}/{LINKS}")
