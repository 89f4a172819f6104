"""The rarer flags of `run`: from words to the fields of a request."""

from __future__ import annotations

import ipaddress
import os
import re

from twinhull.cli.arguments import size_bytes
from twinhull.engine import policy
from twinhull.errors import InvalidRequest
from twinhull.model import Device, Health
from twinhull.oci import options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from twinhull.cli.parser import Arguments

ULIMITS = frozenset(
    """core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack""".split()
)
UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
HOST_GATEWAY = "host-gateway"
MAX_DOMAIN = 255


def fields(arguments: Arguments) -> dict[str, Any]:
    """The fields of a request that these flags fill.

    Raises:
        InvalidRequest: a value that means nothing.
    """
    return {
        "ulimits": tuple(map(ulimit, arguments.ulimit)),
        "init": arguments.init,
        "sysctls": tuple(map(sysctl, arguments.sysctl)),
        "tmpfs": tuple(map(tmpfs, arguments.tmpfs)),
        "shm_bytes": arguments.shm_size,
        "devices": tuple(map(device, arguments.device)),
        "groups": tuple(arguments.group_add),
        "swap_bytes": swap_bytes(arguments.memory_swap, arguments.memory),
        "cpu_shares": whole(arguments.cpu_shares, "--cpu-shares", 2, 262144) if arguments.cpu_shares else 0,
        "cpuset": cpuset(arguments.cpuset_cpus),
        "oom_score_adj": optional(arguments.oom_score_adj, "--oom-score-adj", -1000, 1000),
        "stop_timeout": optional(arguments.stop_timeout, "--stop-timeout", -1, 1 << 31),
        "restart": policy.parse(arguments.restart) if arguments.restart else "",
        "health": health(arguments),
        "umask": umask(arguments.umask),
        "hosts": tuple(map(host, arguments.add_host)),
        "dns": tuple(address(text, "--dns") for text in arguments.dns),
        "dns_search": tuple(arguments.dns_search),
        "dns_options": tuple(arguments.dns_option),
        "domainname": domainname(arguments.domainname),
        "mac": mac(arguments.mac_address),
    }


def ulimit(text: str) -> tuple[str, int, int]:
    """nofile=1024:2048, or with one number for both; -1 is no limit."""
    name, _, values = text.partition("=")
    soft, colon, hard = values.partition(":")
    if name not in ULIMITS:
        raise InvalidRequest(
            f"--ulimit {text}: invalid ulimit type: {name}", hint=f"one of {', '.join(sorted(ULIMITS))}"
        )
    try:
        pair = int(soft), int(hard if colon else soft)
    except ValueError:
        raise InvalidRequest(f"--ulimit {text}: not a number", hint="--ulimit nofile=1024:2048") from None
    if min(pair) < -1:
        raise InvalidRequest(f"--ulimit {text}: less than no limit", hint="-1 is no limit")
    if pair[1] != -1 and (pair[0] == -1 or pair[0] > pair[1]):
        raise InvalidRequest(f"--ulimit {text}: the soft limit is above the hard one", hint="--ulimit nofile=SOFT:HARD")
    return name, *pair


def sysctl(text: str) -> tuple[str, str]:
    """net.core.somaxconn=1024."""
    key, equals, value = text.partition("=")
    if not equals or "." not in key or not all(key.split(".")) or not set(key) <= set(f"{LETTERS}._-/:"):
        raise InvalidRequest(f"--sysctl {text}: not a setting of the kernel", hint="--sysctl net.core.somaxconn=1024")
    return key, value


LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def tmpfs(text: str) -> tuple[str, str]:
    """/path, or /path:size=64m,mode=1777."""
    target, _, words = text.partition(":")
    if not target.startswith("/") or os.path.normpath(target) == "/":
        raise InvalidRequest(f"--tmpfs {text}: not a path inside", hint="--tmpfs /run:size=64m")
    target = os.path.normpath(target)
    options.tmpfs(target, words)
    return target, words


def shm_bytes(text: str) -> int:
    """The size of /dev/shm."""
    if (value := size_bytes(text)) == 0:
        raise InvalidRequest("--shm-size: it must be more than 0", hint="--shm-size 64m")
    return value


def device(text: str) -> Device:
    """/dev/x, /dev/x:/dev/y, /dev/x:rwm or /dev/x:/dev/y:rw."""
    source, *rest = text.split(":")
    access = rest.pop() if rest and rest[-1] and set(rest[-1]) <= set("rwm") else "rwm"
    target = rest[0] if rest else source
    if len(rest) > 1 or not source.startswith("/") or not target.startswith("/"):
        raise InvalidRequest(f"--device {text}: invalid device", hint="--device /dev/fuse, or /dev/a:/dev/b:rw")
    return Device(os.path.normpath(source), os.path.normpath(target), access)


def swap_bytes(text: str, memory: int) -> int:
    """Memory and swap together; -1 without a limit."""
    if not text:
        return 0
    value = -1 if text == "-1" else size_bytes(text)
    if value > 0 and not memory:
        raise InvalidRequest(
            f"--memory-swap {text}: it counts the memory too, and needs --memory", hint="--memory 256m"
        )
    if 0 < value < memory:
        raise InvalidRequest(f"--memory-swap {text}: less than --memory, which it counts too", hint="-1 for no limit")
    return value


def cpuset(text: str) -> str:
    """Processors of this machine: 0-3,5."""
    if not text:
        return ""
    available = os.cpu_count() or 1
    for part in text.split(","):
        first, dash, last = part.partition("-")
        ends = (first, last if dash else first)
        if not all(end.isascii() and end.isdecimal() for end in ends) or int(ends[0]) > int(ends[1]):
            raise InvalidRequest(f"--cpuset-cpus {text}: not a list of processors", hint="--cpuset-cpus 0-1,3")
        if int(ends[1]) >= available:
            raise InvalidRequest(f"--cpuset-cpus {text}: this machine has 0-{available - 1}", hint="twinhull doctor")
    return text


def whole(text: str, flag: str, least: int, most: int) -> int:
    """A whole number."""
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise InvalidRequest(f"{flag} {text}: not a number from {least} to {most}")
    return value


def optional(text: str, flag: str, least: int, most: int) -> int | None:
    """A whole number, None without one."""
    return whole(text, flag, least, most) if text else None


def health(arguments: Arguments) -> Health:
    """The check of --health-cmd with its times, or none at all."""
    test = ("CMD-SHELL", arguments.health_cmd) if arguments.health_cmd else ()
    times = {
        name: duration(getattr(arguments, f"health_{name}"), f"--health-{name.replace('_', '-')}")
        for name in ("interval", "timeout", "start_period", "start_interval")
    }
    retries = whole(arguments.health_retries, "--health-retries", 1, 1 << 30) if arguments.health_retries else 0
    if arguments.no_healthcheck:
        if test or retries or any(times.values()):
            raise InvalidRequest("--no-healthcheck conflicts with --health-* options", hint="leave one out")
        return Health(("NONE",))
    return Health(test, times["interval"], times["timeout"], retries, times["start_period"], times["start_interval"])


def duration(text: str, flag: str) -> int:
    """Milliseconds of 500ms, 30s, 1m30s or 1.5h; 0 for no text."""
    total, number = 0.0, ""
    for part in re.findall(r"[0-9.]+|[a-z]+|.", text):
        if part[0] in "0123456789." and not number:
            number = part
        elif part in UNITS_MS and re.fullmatch(r"\d+(\.\d*)?|\.\d+", number):
            total, number = total + float(number) * UNITS_MS[part], ""
        else:
            number = "?"
            break
    if number or (text and not 1 <= total < 1 << 40):
        raise InvalidRequest(f"{flag} {text}: not a time of at least 1ms", hint=f"{flag} 30s, or 1m30s")
    return int(total)


def umask(text: str) -> int | None:
    """Octal digits."""
    if not text:
        return None
    if not set(text) <= set("01234567") or int(text, 8) > 0o777:
        raise InvalidRequest(f"--umask {text}: not an octal mask", hint="--umask 0022")
    return int(text, 8)


def host(text: str) -> tuple[str, str]:
    """NAME:ADDRESS or NAME=ADDRESS; host-gateway is the host as the workload reaches it."""
    name, sign, value = text.partition("=" if "=" in text.partition(":")[0] else ":")
    value = value.removeprefix("[").removesuffix("]")
    if not sign or not name or any(letter.isspace() for letter in name):
        raise InvalidRequest(f"--add-host {text}: bad format", hint="--add-host db:10.0.0.2")
    return name, value if value == HOST_GATEWAY else address(value, f"--add-host {name}")


def address(text: str, flag: str) -> str:
    """An IPv4 or IPv6 address."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise InvalidRequest(f"{flag} {text}: not an IP address", hint="10.0.0.2, or fd00::2") from None


def domainname(text: str) -> str:
    """A domain name."""
    if len(text) > MAX_DOMAIN or not set(text) <= set(f"{LETTERS}.-_"):
        raise InvalidRequest(f"--domainname {text}: not a domain name", hint="--domainname example.org")
    return text


def mac(text: str) -> str:
    """A hardware address of one card, in small letters."""
    if not text:
        return ""
    parts = text.lower().replace("-", ":").split(":")
    if len(parts) != 6 or not all(len(part) == 2 and set(part) <= set("0123456789abcdef") for part in parts):
        raise InvalidRequest(f"--mac-address {text}: not a hardware address", hint="--mac-address 02:42:ac:11:00:02")
    if int(parts[0], 16) & 1 or set(parts) == {"00"}:
        raise InvalidRequest(f"--mac-address {text}: not the address of one card", hint="its first byte must be even")
    return ":".join(parts)
