"""What this machine is: processor, memory, system, kernel, and what it runs in itself.

Promise: nothing here is assumed; each answer about being a guest or a container carries the
observation it rests on, and where there is none the answer says so.
"""

from __future__ import annotations

import os

from twinhull.host.facts import read
from twinhull.tuples import NamedTuple

# The first namespaces of a boot have fixed inode numbers (include/uapi/linux/nsfs.h, proc_ns.h).
INITIAL_NAMESPACES = {
    "ipc": 4026531839,
    "uts": 4026531838,
    "user": 4026531837,
    "pid": 4026531836,
    "cgroup": 4026531835,
}
# What virtual machine monitors write into the DMI and ACPI tables of their guests.
PRODUCTS = (
    ("Firecracker", "Firecracker"),
    ("FIRECK", "Firecracker"),
    ("CLOUDH", "Cloud Hypervisor"),
    ("Cloud Hypervisor", "Cloud Hypervisor"),
    ("VirtualBox", "VirtualBox"),
    ("VBOX", "VirtualBox"),
    ("VMware", "VMware"),
    ("VMWARE", "VMware"),
    ("Parallels", "Parallels"),
    ("BHYVE", "bhyve"),
    ("Xen", "Xen"),
    ("Virtual Machine", "Hyper-V"),
    ("VRTUAL", "Hyper-V"),
    ("Google Compute Engine", "Google Compute Engine (KVM)"),
    ("Amazon EC2", "Amazon EC2"),
    ("KVM", "KVM"),
    ("QEMU", "QEMU"),
    ("BOCHS", "QEMU"),
)
DMI = ("product_name", "sys_vendor", "board_vendor", "bios_vendor")


class Host(NamedTuple):
    """What this machine runs in. An empty name means: none was observed.

    Attributes:
        hypervisor: the monitor's name where it is known, "a hypervisor" where only the processor tells.
        container: the engine's name, or "a container" where only the namespaces tell.
    """

    hypervisor: str
    hypervisor_evidence: str
    container: str
    container_evidence: str

    def describe(self) -> str:
        """One phrase for people: bare metal, a guest of X, in a container of Y."""
        place = f"itself a guest of {self.hypervisor}" if self.hypervisor else "no hypervisor seen below"
        return f"{place}, in a container ({self.container})" if self.container else place


class Machine(NamedTuple):
    """The facts that every result carries, so that two results can be told apart."""

    processor: str
    processors: int
    memory_bytes: int
    architecture: str
    system: str
    kernel: str
    host: Host


def read_machine() -> Machine:
    """Look at /proc, /sys and /etc. Needs no privilege; what may not be read counts as not seen."""
    cpuinfo = read("/proc/cpuinfo")
    name = os.uname()
    return Machine(
        processor=processor(cpuinfo) or name.machine,
        processors=len(os.sched_getaffinity(0)),
        memory_bytes=meminfo(read("/proc/meminfo")).get("MemTotal", 0),
        architecture=name.machine,
        system=system(read("/etc/os-release") or read("/usr/lib/os-release")),
        kernel=name.release,
        host=read_host(cpuinfo),
    )


def read_host(cpuinfo: str) -> Host:
    """Ask every source that a guest or a container cannot help but show."""
    tables = {f"DMI {name}": read(f"/sys/class/dmi/id/{name}").strip() for name in DMI}
    tables["ACPI table"] = read("/sys/firmware/acpi/tables/FACP")[10:16]
    tables["/sys/hypervisor/type"] = read("/sys/hypervisor/type").strip()
    clock = read("/sys/devices/system/clocksource/clocksource0/available_clocksource")
    namespaces = {name: namespace("self", name) for name in INITIAL_NAMESPACES}
    return Host(*hypervisor(cpuinfo, tables, clock), *container(namespaces, container_hints()))


def hypervisor(cpuinfo: str, tables: dict[str, str], clock: str) -> tuple[str, str]:
    """Return (name, evidence) from cpuinfo, firmware tables {source: text} and the clock sources.

    The processor's hypervisor flag decides; tables only name the monitor, because clouds write
    their name into the tables of bare metal as well.
    """
    flagged = any(line.startswith("flags") and "hypervisor" in line.split() for line in cpuinfo.splitlines())
    xen = tables.get("/sys/hypervisor/type") == "xen"
    names_flags = any(line.startswith("flags") for line in cpuinfo.splitlines())  # x86 only
    if names_flags and not flagged and not xen:
        return "", "no hypervisor flag in /proc/cpuinfo"
    for source, text in tables.items():
        for mark, name in PRODUCTS:
            if mark.lower() in text.lower():
                return name, f"{source} says {text!r}"
    if "kvm-clock" in clock:
        return "KVM", "the clock source kvm-clock"
    if "hyperv" in clock:
        return "Hyper-V", "a Hyper-V clock source"
    if flagged:
        return "an unnamed hypervisor", "the hypervisor flag in /proc/cpuinfo"
    return "", "nothing in /proc/cpuinfo, DMI or ACPI names one"


def container(namespaces: dict[str, int], hints: dict[str, str]) -> tuple[str, str]:
    """Return (name, evidence) from our namespaces' inode numbers and {source: engine} hints.

    The numbers decide: a left-over marker file in a machine made from an image is no container.
    """
    own = sorted(name for name, number in namespaces.items() if number not in (0, INITIAL_NAMESPACES[name]))
    engine = next(iter(hints.values()), "")
    if own:
        return engine or "engine unknown", f"not the boot's first namespaces: {', '.join(own)}"
    if hints:
        return "", f"the boot's first namespaces (in spite of {next(iter(hints))})"
    return "", "the boot's first namespaces"


def container_hints() -> dict[str, str]:
    """Marks that engines leave: {where: engine}."""
    hints = {}
    for path, engine in (("/.dockerenv", "docker"), ("/run/.containerenv", "podman")):
        if os.path.exists(path):
            hints[path] = engine
    if name := read("/run/systemd/container").strip():
        hints["/run/systemd/container"] = name
    for entry in read("/proc/1/environ").split("\0"):
        if entry.startswith("container="):
            hints["the environment of process 1"] = entry[10:]
    return hints


def namespace(process: int | str, name: str) -> int:
    """The inode number of a process's namespace; 0 if it may not be seen."""
    try:
        return os.stat(f"/proc/{process}/ns/{name}").st_ino
    except OSError:
        return 0


def processor(cpuinfo: str) -> str:
    """The model of the first processor; "" on architectures that do not name it."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Processor", "cpu model"):
            return " ".join(value.split())
    return ""


def system(os_release: str) -> str:
    """The name of a distribution, from os-release(5); "" without one."""
    values = {}
    for line in os_release.splitlines():
        key, _, value = line.partition("=")
        values[key.strip()] = value.strip().strip("\"'")
    return values.get("PRETTY_NAME") or f"{values.get('NAME', '')} {values.get('VERSION', '')}".strip()


def meminfo(text: str) -> dict[str, int]:
    """/proc/meminfo in bytes."""
    values = {}
    for line in text.splitlines():
        key, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            values[key] = int(words[0]) * (1024 if words[1:] == ["kB"] else 1)
    return values
