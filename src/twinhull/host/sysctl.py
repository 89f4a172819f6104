"""Switches of the kernel below /proc/sys/net."""

from __future__ import annotations

from twinhull.errors import HostUnfit
from twinhull.host import files

NET = "/proc/sys/net"


def write_sysctl(name: str, value: str) -> None:
    """Set a switch of the network stack, unless it stands so already.

    Args:
        name: as "ipv4/ip_forward".

    Raises:
        HostUnfit: /proc/sys is not ours to write.
    """
    path = f"{NET}/{name}"
    try:
        if files.read(path).strip() != value.encode():
            with open(path, "w", encoding="ascii") as file:
                file.write(value)
    except OSError as error:
        key = name.replace("/", ".")
        raise HostUnfit(
            f"net.{key} cannot be set to {value}: {error.strerror}", hint=f"sysctl -w net.{key}={value}"
        ) from error
