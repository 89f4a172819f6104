"""What a workload sees and reaches, looked at from inside and, for QEMU, from the host.

Promise: every fact is read in this run; where the probe did not run there is a gap with its reason.
"""

from __future__ import annotations

import os
import time

from twinhull.compare import escapes, footprint, probe
from twinhull.compare.findings import NAMESPACES, Monitor
from twinhull.compare.session import Instances, Session
from twinhull.compare.subject import MeasurementFailed
from twinhull.errors import HostUnfit
from twinhull.host import memory
from twinhull.host.facts import read
from twinhull.host.machine import namespace
from twinhull.host.stack import accelerator_of, monitor_pid
from twinhull.runtime import kernel, vm
from twinhull.runtime.container import launcher_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.config import Config

FIRST_START_S = 240.0  # a guest's kernel is fetched and a template made
LABELS = {"container": "container", "vm": "virtual machine"}


def observe_inside(session: Session) -> None:
    """Let the probe look about in each isolation and on the host.

    These are the first starts of all: what is made only once is made here, and a side on which not
    even the probe runs is a gap as a whole.
    """
    findings = session.findings
    findings.inside["host"] = probe.look_outside((launcher_path(session.config.launcher), "probe"))
    for name, label in LABELS.items():
        if name not in session.subjects:
            continue
        made = made_first(session.config) if name == "vm" else ""
        session.tell(f"the first {label}{f': {made}, once for this machine' if made else ''}")
        began = time.monotonic()
        try:
            with session.apart():  # what is made once for this machine takes no time from what is measured each time
                found = probe.look_inside(session.subjects[name], session.probe_image, timeout_s=FIRST_START_S)
        except MeasurementFailed as error:
            findings.gap(name, error.message)
            continue
        findings.inside[name] = found
        session.tell(f"the first {label} took {time.monotonic() - began:.2f} s")
    observe_monitor(session)
    escapes.try_escapes(session)


def made_first(config: Config) -> str:
    """What a first guest still has to wait for; "" if it is all here, or cannot be told."""
    try:
        if not kernel.present(config):
            return "fetching a guest kernel and making a template"
    except HostUnfit:  # the start says so
        return ""
    return "" if footprint.template_bytes(config.state) else "making a template"


def observe_monitor(session: Session) -> None:
    """Look at the QEMU of a running guest from the host: its accelerator and what it may do."""
    findings = session.findings
    for subject in session.living("vm"):
        with Instances(subject) as instances:
            try:
                pid = monitor_pid(instances.start(session.probe_image, probe.WAIT).supervisor)
            except MeasurementFailed as error:
                findings.gap("vm.monitor", error.message)
                return
            findings.accelerator = accelerator_of(pid)
            findings.monitor = monitor_of(pid)
        if findings.accelerator == "tcg":
            findings.accelerator_reason = vm.prepare(session.config).accelerator.reason


def monitor_of(pid: int) -> Monitor | None:
    """What a process may do on the host, from /proc/PID/status and its namespaces; None if it is gone."""
    status = {}
    for line in read(f"/proc/{pid}/status").splitlines():
        key, _, value = line.partition(":")
        status[key] = value.split()
    if "Uid" not in status:
        return None
    shared = tuple(name for name in NAMESPACES if namespace(pid, name) == namespace("self", name))
    return Monitor(
        uid=int(status["Uid"][1]),
        capabilities=int(status.get("CapEff", ["0"])[0], 16),
        seccomp=status.get("Seccomp") == ["2"],
        shared_namespaces=shared,
        open_files=open_files(pid),
    )


def open_files(pid: int) -> tuple[str, ...]:
    """What a process holds open: paths, and the kinds of what has none, without the numbers of sockets and pipes."""
    found = set()
    for fd in memory.listing(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            continue
        found.add(target if target.startswith(("/", "anon_inode:")) else target.partition(":")[0])
    return tuple(sorted(found))
