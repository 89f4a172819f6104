"""Small trials on the real kernel, each in namespaces or files that end with it.

Promise: a trial returns "" if the thing works here and otherwise the reason in a few words; it
leaves no mount, link or file behind.
"""

from __future__ import annotations

import os
import shutil
import tempfile

from twinhull.host import facts, spawn

TRIAL_TIMEOUT_S = "10"
TIMED_OUT = 124  # timeout(1)
# The programs that trials call, with Debian's packages of them.
HELPERS = {"timeout": "coreutils", "unshare": "util-linux", "mount": "mount", "ip": "iproute2", "nft": "nftables"}
UNTRIED = "nowhere to try it: "
NOT_TRIED = "not tried: "  # and the name of the helper that is missing


def open_device(path: str) -> str:
    """Open a device for reading and writing."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def overlay(state: str) -> str:
    """Mount an overlay whose upper directory lies where those of workloads will lie."""
    base = nearest_directory(state)
    try:
        trial = tempfile.TemporaryDirectory(prefix=".twinhull-trial-", dir=base)
    except OSError as error:
        return f"{UNTRIED}{base}: {error.strerror}"
    with trial as place:
        for name in ("lower", "upper", "work", "root"):
            os.mkdir(f"{place}/{name}")
        options = "" if os.geteuid() == 0 else "userxattr,"
        options += f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work"
        # --fork is left out: the mount ends with the only process of its namespace.
        return try_command(
            *unshare("--mount"), "mount", "-t", "overlay", "-o", options, "overlay", f"{place}/root", helpers=("mount",)
        )


def unshare(kind: str) -> tuple[str, ...]:
    """What runs a command in a namespace of its own; without root that takes a user namespace."""
    return ("unshare", kind) if os.geteuid() == 0 else ("unshare", "--user", "--map-root-user", kind)


def bridge() -> str:
    """Make a bridge with one end of a veth in it, in a network namespace of its own."""
    script = "ip link add bridge0 type bridge && ip link add veth0 master bridge0 type veth peer name veth1"
    return try_command(*unshare("--net"), "sh", "-c", script, helpers=("ip",))


def nftables() -> str:
    """Add a table with a NAT chain to a network namespace of its own."""
    script = "nft 'add table ip trial; add chain ip trial nat { type nat hook postrouting priority 100; }'"
    return try_command(*unshare("--net"), "sh", "-c", script, helpers=("nft",))


def user_namespace() -> str:
    """Make a user namespace in which we are root."""
    return try_command("unshare", "--user", "--map-root-user", "true")


def subordinate_ids() -> bool:
    """True if this user may map further ids (subuid(5))."""
    import pwd

    try:
        names = {pwd.getpwuid(os.geteuid()).pw_name, str(os.geteuid())}
    except KeyError:
        names = {str(os.geteuid())}
    return all(names & owners(path) for path in ("/etc/subuid", "/etc/subgid"))


def owners(path: str) -> set[str]:
    """The first column of subuid(5)."""
    try:
        with open(path, encoding="utf-8") as file:
            return {line.split(":")[0] for line in file}
    except OSError:
        return set()


def library(name: str) -> bool:
    """True if the dynamic linker would find a library."""
    import ctypes

    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def is_static(path: str) -> bool:
    """True for a program that needs no dynamic linker: an ELF file without an interpreter."""
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError:
        return False
    return head[:4] == b"\x7fELF" and b"/ld-" not in head


def nearest_directory(path: str) -> str:
    """The path itself, or the nearest parent that is there."""
    while not os.path.isdir(path):
        path = os.path.dirname(path) or "/"
    return path


def find(name: str) -> str:
    """A program's path, "" where it is not: where the engine's tools are looked for (spawn.run_tool)."""
    return shutil.which(name, path=spawn.search_path(os.environ.get("PATH", ""))) or ""


def helper_of(result: str | None) -> str:
    """The helper for want of which a trial was not made, "" for any other result."""
    return result.removeprefix(NOT_TRIED) if result and result.startswith(NOT_TRIED) else ""


def try_command(*argv: str, helpers: tuple[str, ...] = ()) -> str:
    """Run a command of util-linux and the like; return the last line of its complaint.

    Args:
        helpers: programs that it calls in its turn.
    """
    for name in ("timeout", *(word for word in argv[:1] if word in HELPERS), *helpers):
        if not find(name):
            return f"{NOT_TRIED}{name}"
    done = spawn.run_tool(("timeout", TRIAL_TIMEOUT_S, *argv))
    if done.returncode == TIMED_OUT:
        return f"no answer within {TRIAL_TIMEOUT_S} s"
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"{argv[0]} ended with {done.returncode}"


def file_system(path: str) -> str:
    """Return the type of the file system that a path is on, or will be; "" where no mount has its device's number."""
    device = os.stat(nearest_directory(path)).st_dev
    return file_system_in(facts.read("/proc/self/mountinfo"), f"{os.major(device)}:{os.minor(device)}")


def file_system_in(mountinfo: str, number: str) -> str:
    """Return the type of the file system with this number (proc_pid_mountinfo(5))."""
    mounts = (line.partition(" - ") for line in mountinfo.splitlines())
    return next((right.split(" ")[0] for left, _, right in mounts if left.split(" ")[2] == number), "")
