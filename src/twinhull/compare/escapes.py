"""Known ways out of a container, tried harmlessly from inside each isolation and, as the control, on the host.

Promise: every outcome is of this run; a trial opens, lists, connects, or asks for what cannot be granted,
and changes nothing (probes/escape.h says how each kind stays harmless).
"""

from __future__ import annotations

import os
import socket

from twinhull.compare import probe
from twinhull.compare.session import ISOLATIONS, NOT_NATIVE, Session
from twinhull.compare.subject import MeasurementFailed
from twinhull.engine import Engine
from twinhull.network.leases import dotted, parse_subnet
from twinhull.scopes import contextmanager
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from twinhull.config import Config

CONTROL = "plain"  # a process on the host, with all the privileges of the one who compares
RESULTS = {"works": "works", "refused": "refused", "absent": "absent", "untried": "not tried"}
MARK = "escape-"
MAX_NAMED = 4


class Probe(NamedTuple):
    """One known way out. `name` is the trial's in probes/*.c, `source` where it was published or is described."""

    name: str
    title: str
    what: str
    source: str


PROBES = (
    Probe("host-root", "another root", "open /proc/PID/root of a process that is not its own", "proc(5)"),
    Probe("host-processes", "the host's processes", "look for the kernel's thread kthreadd", "pid_namespaces(7)"),
    Probe("foreign-memory", "memory of others", "open /proc/PID/mem of a process that is not its own", "ptrace(2)"),
    Probe("kernel-memory", "physical memory", "open /dev/mem", "mem(4)"),
    Probe("kernel-core", "memory of the kernel", "read the header of /proc/kcore", "proc(5)"),
    Probe("core-pattern", "a helper for crashes", "open core_pattern for writing", "CVE-2025-31133, core(5)"),
    Probe("release-agent", "a helper of cgroup v1", "open a release_agent for writing", "CVE-2022-0492"),
    Probe("uevent-helper", "a helper for devices", "open uevent_helper for writing", "Documentation/ABI sysfs-uevent"),
    Probe("binfmt-misc", "a handler of programs", "open binfmt_misc/register for writing", "binfmt-misc.rst"),
    Probe("sysrq", "the kernel's emergency keys", "open /proc/sysrq-trigger for writing", "sysrq.rst"),
    Probe("firmware", "firmware tables", "list /sys/firmware", "OCI runtime spec, maskedPaths"),
    Probe("runtime-program", "the runtime's program", "open /proc/PID/exe of another for writing", "CVE-2019-5736"),
    Probe("leaked-descriptor", "a leaked descriptor", "look for open directories", "CVE-2024-21626"),
    Probe("host-disk", "the disk", "make the node of the first disk and open it", "cgroup-v1/devices.rst"),
    Probe("agent-port", "the guest agent's port", "make the node of a virtio port and open it", "virtio 1.2, 5.3"),
    Probe("mount", "mounts", "mount a file system that does not exist", "mount(2)"),
    Probe("mount-context", "the context of a mount", "fsopen tmpfs", "CVE-2022-0185"),
    Probe(
        "user-namespace", "a user namespace", "unshare the user and mount namespaces", "CVE-2022-0492, CVE-2024-1086"
    ),
    Probe("chroot", "a root above the root", "chroot, climb, chroot again", "chroot(2)"),
    Probe("open-by-handle", "files by their handle", "open a handle that no file has", "shocker, 2014"),
    Probe("reboot", "a reboot", "reboot with wrong magic numbers", "reboot(2)"),
    Probe("kexec", "another kernel", "kexec_load with an unknown flag", "kexec_load(2)"),
    Probe("module", "a kernel module", "load an empty module", "init_module(2)"),
    Probe("clock", "the machine's clock", "set a tick of length 0", "adjtimex(2)"),
    Probe("bpf", "BPF programs", "load a program that returns 0", "CVE-2021-3490"),
    Probe("userfaultfd", "page faults by hand", "make a userfaultfd", "userfaultfd(2)"),
    Probe("io-uring", "io_uring", "make a ring of one entry", "CVE-2022-2602"),
    Probe("keyring", "the kernel's keyrings", "ask for the session keyring's number", "keyrings(7)"),
    Probe("perf-event", "counters of all processes", "open one that is off", "CVE-2013-2094"),
    Probe("kernel-log", "the kernel's log", "ask for its size", "syslog(2), dmesg_restrict"),
    Probe(
        "engine-socket", "another engine's socket", "connect to Docker, Podman, containerd, CRI-O", "Docker: security"
    ),
    Probe("abstract-socket", "abstract sockets", "look for one in /proc/net/unix", "CVE-2020-15257"),
    Probe("vsock", "AF_VSOCK", "make a socket", "CVE-2021-26708"),
    Probe("raw-packets", "raw packets", "make a packet socket", "CVE-2020-14386"),
    Probe("metadata", "a cloud's metadata", "connect to 169.254.169.254, sending nothing", "cloud providers' manuals"),
    Probe(
        "host-service", "a service of the host", "connect to a port on the network's gateway", "Docker: bridge network"
    ),
)


def try_escapes(session: Session) -> None:
    """Run every trial on each living side and on the host; a side on which they do not run is a gap."""
    findings = session.findings
    if not session.native:
        for name in ISOLATIONS:
            findings.gap(f"{name}.probes", NOT_NATIVE)
        return
    seen: dict[str, dict[str, str]] = {}
    with gateway_service(gateway(session.config)) as service:
        for name, place in ((CONTROL, None), *((subject.name, subject) for subject in session.living(*ISOLATIONS))):
            session.tell(f"known ways out, tried harmlessly ({name})")
            try:
                if place:
                    seen[name] = probe.look_inside(place, session.probe_image, (probe.ESCAPES_INSIDE, *service))
                else:
                    # Of the host's processes only this one is looked at: the others are nobody's business here.
                    target = (*service, str(os.getpid())) if service else ()
                    seen[name] = probe.look_outside((probe.escapes_path(), *target)) if target else {}
            except MeasurementFailed as error:
                findings.gap(f"{name}.probes", error.message)
    findings.probes = matrix(seen)
    for name in ISOLATIONS:
        if name in seen and name in findings.inside:
            findings.inside[name].update(programs(seen[name]))


def gateway(config: Config) -> str:
    """The host's address on the bridge; "" while there is no bridge."""
    with Engine(config) as engine:
        row = engine.home.db.execute("SELECT subnet FROM network WHERE name='bridge'").fetchone()
    return dotted(parse_subnet(row[0])[0] + 1) if row else ""


@contextmanager
def gateway_service(address: str) -> Iterator[tuple[str, ...]]:
    """Listen on the bridge's own address and give (address, port); nothing where there is no such address.

    Nobody answers: the kernel completes a connection by itself, which shows that it can be made.
    """
    with socket.socket() as listener:
        try:
            if address:
                listener.bind((address, 0))
                listener.listen()
        except OSError:
            address = ""
        yield (address, str(listener.getsockname()[1])) if address else ()


def matrix(seen: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
    """The table with the outcome of every place where trials ran, in the table's order."""
    return [
        {**one._asdict(), "outcomes": {place: outcome(facts, one.name) for place, facts in seen.items() if facts}}
        for one in PROBES
    ]


def outcome(facts: Mapping[str, str], name: str) -> dict[str, str]:
    """What a trial said: `RESULT DETAIL`."""
    word, _, detail = facts.get(f"{MARK}{name}", "untried no answer").partition(" ")
    return {"result": RESULTS.get(word, "not tried"), "detail": detail.strip()}


def programs(facts: Mapping[str, str]) -> dict[str, str]:
    """Which foreign programs ran: {"runs-linux/arm64": "no Exec format error"}."""
    return {name: answer.strip() for name, answer in facts.items() if name.startswith("runs-")}


def told(probes: Iterable[Mapping[str, Any]], place: str) -> str:
    """One phrase: how many of those that were tried are open, and which; "" if none was tried."""
    results = {one["name"]: one["outcomes"][place]["result"] for one in probes if place in one["outcomes"]}
    tried = {name: result for name, result in results.items() if result != "not tried"}
    ways = [name for name, result in tried.items() if result == "works"]
    named = f": {', '.join(ways[:MAX_NAMED])}{', …' * (len(ways) > MAX_NAMED)}" if ways else ""
    return f"{len(ways)}/{len(tried)} known ways open{named}" if tried else ""


def runs(inside: Mapping[str, str]) -> str:
    """Which kinds of programs ran inside, each tried; "" if none was."""
    tried = {name.removeprefix("runs-"): answer for name, answer in inside.items() if name.startswith("runs-")}
    ran = [name for name, answer in tried.items() if answer.startswith("yes")]
    return f"runs {', '.join(ran) or 'none'} of {len(tried)} kinds tried" if tried else ""
