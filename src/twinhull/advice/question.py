"""What is known when somebody asks: container, virtual machine or machine? Pure values.

Promise: a value that nobody found out says so ("" or 0), and no rule takes it for a good sign.
"""

from __future__ import annotations

from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Accelerator = Literal["kvm", "tcg", ""]
    Choice = Literal["container", "vm", "machine", "stop"]

LINUX = "linux"


class Wishes(NamedTuple):
    """What the user says of the workload.

    Attributes:
        untrusted: the user does not trust its code.
        accept_weak_wall: and takes a wall that nobody promises.
        start_within_s: the longest start that will do; 0 for any.
        memory_budget_bytes: what all instances together may take; 0 for any.
        kernel_modules: what its kernel must have.
        own_kernel: it needs a kernel of another release or with other settings than the host's.
        system: the operating system it is written for.
        isolation: the one that the user names; "" for none.
    """

    untrusted: bool = False
    accept_weak_wall: bool = False
    instances: int = 1
    start_within_s: float = 0.0
    memory_budget_bytes: int = 0
    kernel_modules: tuple[str, ...] = ()
    own_kernel: bool = False
    system: str = LINUX
    isolation: Literal["container", "vm", ""] = ""


class Needs(NamedTuple):
    """What the request asks of the host beside a process with files and a network of its own.

    Attributes:
        sockets: sockets of the host among its volumes, engines' control sockets first of all.
        doors: directories among its volumes that hold the host's own system or state.
        volumes: how many paths of the host it sees.
        namespaces: those of the host that it shares: network, pid, ipc.
        privileges: capabilities and exemptions beyond those of every workload.
        devices: nodes of the host.
        sysctls: settings of the kernel.
        bridge: it is on the network that every workload is on.
        of_container: flags that only a container can have.
    """

    sockets: tuple[str, ...] = ()
    doors: tuple[str, ...] = ()
    volumes: int = 0
    namespaces: tuple[str, ...] = ()
    privileges: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    sysctls: tuple[str, ...] = ()
    user_namespace: bool = False
    bridge: bool = False
    of_container: tuple[str, ...] = ()


class Packed(NamedTuple):
    """What the image says of itself. `known` is false while it is not here.

    Attributes:
        root: its process is uid 0 unless the request names another user.
        ports: what it listens on, as "80/tcp".
        volumes: paths that it wants kept.
    """

    known: bool = False
    system: str = LINUX
    architecture: str = ""
    root: bool = False
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    size_bytes: int = 0


class Abilities(NamedTuple):
    """What this machine can do.

    Attributes:
        accelerator: what a guest has proven; "" where none has run since the boot.
        reason: why it is not KVM.
        no_container: why no container runs here, "" if one does; no_vm in the same way.
        architectures: those whose programs this kernel executes; () if nobody looked.
        guest_architectures: the same of a guest's.
        missing_modules: of the modules that are needed, those this kernel does not have.
        unknown_modules: those of which nothing here tells whether it has them.
        machine_modules: of both, those that the kernel of the Debian for machines has; machine_lacks: has not.
        bridge_ports: how many more workloads the bridge takes; -1 if nobody looked.
    """

    accelerator: Accelerator = ""
    reason: str = ""
    no_container: str = ""
    no_vm: str = ""
    architectures: tuple[str, ...] = ()
    guest_architectures: tuple[str, ...] = ()
    missing_modules: tuple[str, ...] = ()
    unknown_modules: tuple[str, ...] = ()
    machine_modules: tuple[str, ...] = ()
    machine_lacks: tuple[str, ...] = ()
    bridge_ports: int = -1
    free_memory_bytes: int = 0


class Cost(NamedTuple):
    """Medians of one isolation, 0 where not measured.

    Attributes:
        start_s: from the command to the first byte.
        memory_bytes: of one more instance, with the kernel's memory for it.
        shared_bytes: kept once for all instances.
        tasks: of one instance with everything that holds it, and the files that these have open.
        disk_bytes: of one more instance.
        idle_percent: of one CPU, while nothing is asked of it.
    """

    start_s: float = 0.0
    memory_bytes: float = 0.0
    shared_bytes: float = 0.0
    tasks: float = 0.0
    files: float = 0.0
    disk_bytes: float = 0.0
    idle_percent: float = 0.0

    def memory_of(self, instances: int) -> float:
        """What so many take together; 0 if one was not measured."""
        return self.shared_bytes + instances * self.memory_bytes if self.memory_bytes else 0.0


class Measured(NamedTuple):
    """The last comparison on this machine that fits. `image` is "" where there is none.

    Attributes:
        own: it was of this very image.
        when: seconds since the epoch.
        machine_apart: the machine's figures are those of another comparison.
    """

    image: str = ""
    own: bool = False
    when: float = 0.0
    accelerator: Accelerator = ""
    container: Cost = Cost()
    vm: Cost = Cost()
    machine: Cost = Cost()
    machine_apart: bool = False


class Limit(NamedTuple):
    """How many more instances one limit of this machine lets in, and from what that was computed.

    Attributes:
        low, high: the same at the ends of what one instance takes; None where it may take nothing.
    """

    name: str
    most: int
    basis: str
    low: int
    high: int | None


class Room(NamedTuple):
    """The limits that instances of each choice draw on, the one that binds first at the beginning; () if nobody looked.

    Memory is none of them: it is what the user allows that counts, else what is free.
    """

    container: tuple[Limit, ...] = ()
    vm: tuple[Limit, ...] = ()
    machine: tuple[Limit, ...] = ()


class Question(NamedTuple):
    """Everything a rule may look at."""

    workload: str
    wishes: Wishes = Wishes()
    needs: Needs = Needs()
    packed: Packed = Packed()
    here: Abilities = Abilities()
    measured: Measured = Measured()
    room: Room = Room()
