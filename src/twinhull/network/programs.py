"""The programs that a network is made with, off a start's path: nft, iptables, dnsmasq."""

from __future__ import annotations

import os

from twinhull.errors import HostUnfit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGES = {"nft": "nftables", "dnsmasq": "dnsmasq-base"}
ADMIN_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"  # cron's PATH has no sbin


def succeed(argv: Sequence[str], text: str | None = None) -> str:
    """Run a program that must succeed, and return what it wrote.

    Raises:
        HostUnfit: it is missing or failed; the message is its own.
    """
    status, output, complaint = run(argv, text)
    if status != 0:
        said = complaint.strip() or f"exit status {status}"
        raise HostUnfit(f"{argv[0]}: {said.removeprefix(argv[0] + ': ')}")
    return output


def run(argv: Sequence[str], text: str | None = None) -> tuple[int, str, str]:
    """Run a program and return its status, output and errors.

    Raises:
        HostUnfit: it is not installed.
    """
    from twinhull.host.spawn import run_tool

    done = run_tool([path_of(argv[0]), *argv[1:]], input_text=text)
    return done.returncode, done.stdout, done.stderr


def first_of(*names: str) -> str:
    """Return the first program that is installed, or the first name."""
    return next((name for name in names if find(name)), names[0])


def find(name: str) -> str | None:
    """Return the path of a program."""
    paths = [f"{directory}/{name}" for directory in ADMIN_PATH.split(":")]
    return next((path for path in paths if os.access(path, os.X_OK)), None)


def path_of(name: str) -> str:
    """Return the path of a program that must be there.

    Raises:
        HostUnfit: it is not installed.
    """
    if path := find(name):
        return path
    raise HostUnfit(f"{name} is not installed", hint=f"apt-get install {PACKAGES.get(name, 'iptables')}")
