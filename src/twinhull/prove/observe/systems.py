"""What runs: kernels and processes as seen from inside and from the host, the monitor, the layers.

Promise: inside an instance only programs of its image are asked; from the host only the kernel is.
"""

from __future__ import annotations

import os

from twinhull.compare.findings import NAMESPACES
from twinhull.host import machine, memory, stack
from twinhull.host.facts import read
from twinhull.prove.evidence import Evidence, Ran
from twinhull.prove.session import Session, Unobserved
from twinhull.runtime import vm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.prove.evidence import Side

SYSCTL = "/proc/sys/kernel"
# What a kernel says of itself, and of the machine that it runs on; one line each.
ASKED = ("boot-id", "kernel", "release", "init")
ASK = ("cat", f"{SYSCTL}/random/boot_id", f"{SYSCTL}/ostype", f"{SYSCTL}/osrelease", "/proc/1/comm")
LOOKED = ("memory", "booted")
LOOK = ("grep", "-hE", "MemTotal|btime", "/proc/meminfo", "/proc/stat")


def on_host(session: Session) -> Evidence:
    """The host: kernel, namespaces, what it runs in itself."""
    done = session.tool(ASK)
    here = machine.read_machine()
    facts = {
        **answers("host", ASKED, done.stdout),
        "host.namespaces": " ".join(namespaces(os.getpid())),
        "host.system": here.system,
        "host.hypervisor": here.host.hypervisor,
    }
    return Evidence((done.ran(),), facts, {})


def in_container(session: Session) -> Evidence:
    """A container from inside."""
    return inside(session, "container")


def in_vm(session: Session) -> Evidence:
    """A virtual machine from inside."""
    return inside(session, "vm")


def inside(session: Session, side: Side) -> Evidence:
    """Ask programs of the image: which kernel, which process is the first, how many there are."""
    kept = session.instance(side)
    asked = session.must("exec", kept.name, *ASK)
    listed = session.must("exec", kept.name, "ps", "-o", "pid,comm")
    # The list has a title, and the program that makes it.
    processes = max(len(listed.stdout.splitlines()) - 2, 0)
    facts = {**answers(side, ASKED, asked.stdout), f"{side}.processes": str(processes)}
    return Evidence((kept.ran, asked.ran(), listed.ran()), facts, {})


def sights(session: Session) -> Evidence:
    """What a program sees of its machine: on the host, in a container, in a virtual machine."""
    host = session.tool(LOOK)
    found, ran = answers("host", LOOKED, host.stdout), [host.ran()]
    sides: tuple[Side, ...] = ("container", "vm")
    for side in sides:
        looked = session.must("exec", session.instance(side).name, *LOOK)
        found |= answers(side, LOOKED, looked.stdout)
        ran.append(looked.ran())
    return Evidence(tuple(ran), found, {})


def answers(side: str, names: tuple[str, ...], text: str) -> dict[str, str]:
    """The lines of an answer by name.

    Raises:
        Unobserved: they are not all there.
    """
    lines = text.splitlines()
    if len(lines) != len(names):
        raise Unobserved(f"{side}: {len(lines)} answers to {len(names)} questions")
    return {f"{side}.{name}": line.strip() for name, line in zip(names, lines, strict=True)}


def second_vm(session: Session) -> Evidence:
    """A second virtual machine beside the first."""
    kept = session.start("vm", "sleep", "60")
    try:
        asked = session.must("exec", kept.name, *ASK)
        return Evidence((kept.ran, asked.ran()), answers("vm2", ASKED, asked.stdout), {})
    finally:
        session.end([kept.name])


def container_on_host(session: Session) -> Evidence:
    """A container's processes as the host's kernel lists them."""
    return outside(session, "container")


def vm_on_host(session: Session) -> Evidence:
    """A virtual machine's processes as the host's kernel lists them."""
    return outside(session, "vm")


def outside(session: Session, side: Side) -> Evidence:
    """The processes below an instance's supervisor, and the numbers of the innermost one in each pid namespace."""
    kept = session.instance(side)
    costs = memory.costs(memory.tree(kept.supervisor))
    if not costs:
        raise Unobserved(f"{kept.name} ended")
    last = costs[-1]
    numbers = status(last.pid).get("NSpid", [])
    ran = Ran(f"grep NSpid /proc/{last.pid}/status", f"{' '.join(numbers)}  ({last.name})")
    facts = {
        f"{side}.host-processes": " ".join(cost.name.replace(" ", "_") for cost in costs),
        f"{side}.program": last.name,
        f"{side}.numbers": " ".join(numbers),
        f"{side}.namespaces": " ".join(namespaces(last.pid)),
    }
    return Evidence((kept.ran, ran), facts, {})


def namespaces(pid: int) -> list[str]:
    """The namespaces of a process, as kind:number."""
    return [f"{kind}:{number}" for kind in NAMESPACES if (number := machine.namespace(pid, kind))]


def status(pid: int) -> dict[str, list[str]]:
    """The words of /proc/PID/status by name."""
    lines = read(f"/proc/{pid}/status").splitlines()
    return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}


def monitor(session: Session) -> Evidence:
    """The monitor of the virtual machine: its accelerator, and what it may do on the host."""
    kept = session.instance("vm")
    pid = stack.monitor_pid(kept.supervisor)
    if not pid:
        return Evidence((kept.ran,), {"vm.monitor": "", "vm.accelerator": ""}, {})
    accelerator = stack.accelerator_of(pid)
    found = status(pid)
    rights = {name: " ".join(found.get(name, ["?"])[:1]) for name in ("Uid", "CapEff", "Seccomp")}
    facts = {
        "vm.monitor": read(f"/proc/{pid}/comm").strip(),
        "vm.accelerator": accelerator,
        "vm.accelerator-reason": vm.prepare(session.config).accelerator.reason if accelerator == "tcg" else "",
        "vm.monitor-uid": rights["Uid"],
        "vm.monitor-capabilities": str(int(rights["CapEff"], 16).bit_count() if rights["CapEff"] != "?" else "?"),
        "vm.monitor-seccomp": "yes" if rights["Seccomp"] == "2" else "no",
    }
    lines = (
        Ran(f"tr '\\0' '\\n' < /proc/{pid}/cmdline | grep -A1 -e -accel", f"-accel {accelerator or 'not named'}"),
        Ran(f"grep -E 'Uid|CapEff|Seccomp:' /proc/{pid}/status", "  ".join(f"{k} {v}" for k, v in rights.items())),
    )
    return Evidence((kept.ran, *lines), facts, {})
