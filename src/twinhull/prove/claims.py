"""The table: every sentence of the textbook, what would refute it, what is observed, who judges.

Promise: a claim's number is its place in this table; the topics stand in the order of TOPICS.
"""

from __future__ import annotations

from twinhull.prove.evidence import Check, Claim, judged
from twinhull.prove.judge import isolation, portability, resources, stacks, startup, systems, use_cases
from twinhull.prove.observe import cloud, costs, layers, machines, moves, services
from twinhull.prove.observe import systems as seen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from twinhull.prove.session import Session

CLAIMS = (
    Claim(
        "os",
        "vm",
        "Several operating systems run at the same time on one physical machine.",
        "two guests that run at once answer with one boot",
        (seen.on_host, seen.in_vm, seen.second_vm, machines.machines),
        systems.several_systems,
    ),
    Claim(
        "os",
        "vm",
        "A virtual machine contains a full guest operating system.",
        "the kernel inside is the host's",
        (seen.on_host, seen.in_vm, machines.machines),
        systems.full_guest,
    ),
    Claim(
        "os",
        "container",
        "Containers share the kernel of their host.",
        "the kernel inside is of another boot than the host's",
        (seen.on_host, seen.in_container),
        systems.shared_kernel,
    ),
    Claim(
        "startup",
        "vm",
        "A virtual machine starts slowly: it takes minutes.",
        "a cold boot is not measurably slower than a container",
        (costs.starts, machines.machines, seen.monitor),
        startup.slow_vm,
    ),
    Claim(
        "startup",
        "vm",
        "It starts slowly because an entire operating system boots.",
        "without the boot, more than half of the time remains",
        (costs.starts, machines.machines, seen.monitor),
        startup.because_it_boots,
    ),
    Claim(
        "startup",
        "container",
        "A container starts fast: in seconds.",
        "it takes ten seconds or more",
        (costs.starts, seen.monitor),
        startup.fast_container,
    ),
    Claim(
        "isolation",
        "vm",
        "A virtual machine is strongly isolated.",
        "the guest has no kernel of its own, or nobody promises the wall around it",
        (seen.on_host, seen.in_vm, seen.monitor),
        isolation.strong_vm,
    ),
    Claim(
        "isolation",
        "container",
        "A container isolates its program without a full operating system.",
        "it has no namespace of its own, or a kernel or an init of its own",
        (seen.on_host, seen.in_container, seen.container_on_host),
        isolation.without_full_system,
    ),
    Claim(
        "isolation",
        "container",
        "The isolation of a container is that of processes.",
        "the host does not list its program as a process with a second number",
        (seen.on_host, seen.in_container, seen.container_on_host, seen.vm_on_host),
        isolation.process_level,
    ),
    Claim(
        "resources",
        "vm",
        "A virtual machine is heavy on the processor.",
        "neither its work nor its idling takes measurably more",
        (costs.work, costs.idle, seen.monitor),
        resources.heavy_processor,
    ),
    Claim(
        "resources",
        "vm",
        "A virtual machine is heavy on memory.",
        "one more takes not measurably more than one more container",
        (costs.idle, seen.monitor),
        resources.heavy_memory,
    ),
    Claim(
        "resources",
        "vm",
        "A virtual machine is heavy on storage.",
        "neither one more nor all of them once take more than the image",
        (costs.idle, costs.storage, seen.monitor),
        resources.heavy_storage,
    ),
    Claim(
        "resources",
        "container",
        "A container is lightweight.",
        "it takes half of a VM's memory or more, and computes slower than a plain process",
        (costs.idle, costs.work, seen.monitor),
        resources.lightweight,
    ),
    Claim(
        "portability",
        "vm",
        "A virtual machine is of limited portability.",
        "the same file runs elsewhere, and nothing else has to go there",
        (moves.saved, moves.loaded_elsewhere, moves.vm_elsewhere, seen.monitor),
        portability.limited_vm,
    ),
    Claim(
        "portability",
        "container",
        "A container is very portable.",
        "the same file does not run in a second place",
        (moves.saved, moves.loaded_elsewhere, moves.container_elsewhere, moves.other_engines),
        portability.portable_container,
    ),
    Claim(
        "use-cases",
        "vm",
        "Virtual machines are for workloads that need full isolation.",
        "the host can be seen from inside, or nobody promises the wall",
        (seen.on_host, seen.in_vm, seen.in_container, seen.sights, seen.monitor),
        isolation.full_isolation,
    ),
    Claim(
        "use-cases",
        "vm",
        "Virtual machines are for several types of operating system on one host.",
        "every guest runs the release of the host",
        (seen.on_host, seen.in_vm, seen.in_container, machines.machines),
        use_cases.several_types,
    ),
    Claim(
        "use-cases",
        "container",
        "Containers are for environments that must be lightweight, fast and scalable.",
        "ten at once do not all answer",
        (costs.starts, costs.idle, services.copies, seen.monitor),
        use_cases.light_fast_scalable,
    ),
    Claim(
        "use-cases",
        "container",
        "Containers are for cloud-native applications.",
        "nothing of what those ask for works",
        (cloud.needs,),
        use_cases.cloud_native,
    ),
    Claim(
        "use-cases",
        "container",
        "Containers are for microservices.",
        "three services do not find each other by name",
        (services.container_chain, services.vm_chain, seen.monitor),
        use_cases.microservices,
    ),
    Claim(
        "stacks",
        "vm",
        "A VM's stack is infrastructure, host OS, hypervisor, guest OS, and the app with its libraries.",
        "the layers under a running one are others",
        (seen.on_host, seen.in_vm, layers.vm_layers, layers.frozen_hypervisor),
        stacks.vm_stack,
    ),
    Claim(
        "stacks",
        "vm",
        "A hypervisor runs the virtual machine.",
        "no monitor is among its processes",
        (seen.monitor,),
        stacks.hypervisor,
    ),
    Claim(
        "stacks",
        "container",
        "A container's stack is infrastructure, host OS, engine, and the app with its libraries.",
        "the layers under a running one are others",
        (seen.on_host, seen.in_container, layers.container_layers, layers.frozen_engine),
        stacks.container_stack,
    ),
    Claim(
        "stacks",
        "container",
        "An engine manages the containers.",
        "it can neither start, list, enter nor stop one",
        (layers.managed, seen.container_on_host),
        stacks.engine_manages,
    ),
    Claim(
        "stacks",
        "container",
        "There is no hypervisor under a container.",
        "a monitor is among its processes, or the kernel inside is another",
        (seen.on_host, seen.in_container, seen.container_on_host),
        stacks.no_hypervisor,
    ),
)


def chosen(topic: str = "") -> list[tuple[int, Claim]]:
    """The claims of a topic, or all, with their numbers."""
    return [(number, claim) for number, claim in enumerate(CLAIMS, 1) if topic in ("", claim.topic)]


def check(session: Session, number: int, claim: Claim) -> Check:
    """Observe and judge one claim."""
    evidence = session.observe(claim.observers)
    return Check(number, claim, evidence, judged(claim, evidence))


def checks(session: Session, topic: str = "") -> Iterator[Check]:
    """Check one claim after the other, each when it is asked for."""
    for number, claim in chosen(topic):
        yield check(session, number, claim)
