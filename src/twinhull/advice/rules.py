"""The table of rules. A reader can check it: when each fires, what it says, what it decides, and on whose word.

Precedence: a veto takes choices away, whatever speaks for them; among those left, the weightiest rule
that favours one decides, and of equal ones the first in the table. Nothing left means: stop. A note
decides nothing. docs/advise.md shows this table, and a test compares the two.
"""

from __future__ import annotations

from twinhull.advice import price
from twinhull.advice.question import LINUX
from twinhull.advice.reading import admitted, doors, engines, foreign, needs_kernel, system, unpromised, wall_missing
from twinhull.advice.rule import CHOICES, GUESTS, WORKLOADS, Rule

NIST = "NIST SP 800-190, 3.5.2 (shared kernel)"
QEMU = "QEMU documentation, Security (non-virtualization use case)"
QEMU_KVM = "QEMU documentation, Security (virtualization use case)"
DOCKER = "Docker documentation, Docker Engine security"
NAMESPACES = "namespaces(7)"
MEASURED, HERE, USER = "measured here", "this machine", "the user"
COMPARED = f"{MEASURED} with compare"

RULES = (
    # --- vetoes: what must not be, or cannot be
    Rule(
        "untrusted code does not share the host's kernel",
        "veto",
        lambda q: q.wishes.untrusted and not (q.wishes.accept_weak_wall and q.wishes.isolation == "container"),
        lambda q: f"{q.workload} is not trusted, and a container shares the host's kernel",
        excludes=("container",),
        otherwise="one bug of the host's kernel that it can reach is a way out",
        source=NIST,
        change="code you trust",
    ),
    Rule(
        "untrusted code needs a wall that somebody promises",
        "veto",
        lambda q: q.wishes.untrusted and q.here.accelerator != "kvm" and not q.wishes.accept_weak_wall,
        lambda q: f"{q.workload} is not trusted, and nothing here is a wall for it: {wall_missing(q)}",
        excludes=GUESTS,
        otherwise="nobody answers for what holds it",
        source=QEMU,
        change="KVM on this machine",
    ),
    Rule(
        "untrusted code gets no door through the wall",
        "veto",
        lambda q: q.wishes.untrusted and bool(doors(q)) and not q.wishes.accept_weak_wall,
        lambda q: f"{q.workload} is not trusted, and no wall holds what is handed through it: {', '.join(doors(q))}",
        excludes=CHOICES,
        otherwise="it needs no way out: it is given one",
        source=DOCKER,
        change="the same without what is handed through",
    ),
    Rule(
        "another operating system is a machine's",
        "veto",
        lambda q: system(q) != LINUX,
        lambda q: f"{q.workload} is not for Linux, and containers and VMs here run nothing else",
        excludes=WORKLOADS,
        favours="machine",
        otherwise="its programs do not start",
        source="OCI image specification, config (os)",
        change="an image for Linux",
    ),
    Rule(
        "a container's programs are for this kernel's processor",
        "veto",
        lambda q: foreign(q, q.here.architectures),
        lambda q: f"this kernel does not execute programs for {q.packed.architecture}",
        excludes=("container",),
        otherwise="exec format error",
        source="Linux documentation, binfmt_misc",
        change="an image for this processor, or qemu-user registered with the flag F",
    ),
    Rule(
        "a guest's programs are for the guest's processor",
        "veto",
        lambda q: foreign(q, q.here.guest_architectures),
        lambda q: f"no guest here executes programs for {q.packed.architecture}",
        excludes=GUESTS,
        otherwise="exec format error",
        source=HERE,
        change="an image for this processor, or for arm64 the package qemu-system-arm",
    ),
    Rule(
        "a kernel of its own is no container's",
        "veto",
        lambda q: q.wishes.own_kernel,
        lambda q: f"{q.workload} needs a kernel that is not the host's",
        excludes=("container",),
        favours="vm",
        otherwise="it gets the host's kernel",
        source=NAMESPACES,
        change="code that runs on the host's kernel",
    ),
    Rule(
        "a module that this kernel lacks is a machine's",
        "veto",
        lambda q: bool(q.here.missing_modules),
        lambda q: f"this kernel has no {', '.join(q.here.missing_modules)}, and no workload of ours may load a module",
        excludes=WORKLOADS,
        favours="machine",
        otherwise="what needs the module fails",
        source="capabilities(7), CAP_SYS_MODULE",
        change="the module loaded on the host",
    ),
    Rule(
        "a module that this kernel may lack is a machine's",
        "veto",
        lambda q: bool(q.here.unknown_modules),
        lambda q: (
            f"it is not known whether this kernel has {', '.join(q.here.unknown_modules)}: it is not loaded, and "
            "nothing here tells whether it is built in"
        ),
        excludes=WORKLOADS,
        favours="machine",
        otherwise="what needs the module may fail",
        source=HERE,
        change="the module loaded on the host",
    ),
    Rule(
        "a setting of the whole kernel is not a container's",
        "veto",
        lambda q: bool(q.needs.sysctls),
        lambda q: f"a container shares with the host what {', '.join(q.needs.sysctls)} sets",
        excludes=("container",),
        favours="vm",
        otherwise="it would be set for the whole machine",
        source=NAMESPACES,
        change="the same without those settings",
    ),
    Rule(
        "a device of the host stays with the host's kernel",
        "veto",
        lambda q: bool(q.needs.devices),
        lambda q: f"the host's kernel drives {', '.join(q.needs.devices)}, and guests here are given no device of it",
        excludes=GUESTS,
        favours="container",
        otherwise="the device is not there",
        source=HERE,
        change="the same without the device",
    ),
    Rule(
        "a namespace of the host is not a guest's",
        "veto",
        lambda q: bool(q.needs.namespaces),
        lambda q: f"it shares the host's {', '.join(q.needs.namespaces)}, which a kernel of its own cannot",
        excludes=GUESTS,
        favours="container",
        otherwise="it sees its own instead of the host's",
        source=NAMESPACES,
        change="a network of its own, with -p for its ports",
    ),
    Rule(
        "a socket of the host does not lead out of a guest",
        "veto",
        lambda q: bool(q.needs.sockets),
        lambda q: f"through 9p {', '.join(q.needs.sockets)} is a name that nobody listens behind",
        excludes=GUESTS,
        favours="container",
        otherwise="connection refused",
        source="unix(7); QEMU documentation, 9pfs",
        change="the same without the socket",
    ),
    Rule(
        "a VM is too late",
        "veto",
        lambda q: 0 < q.wishes.start_within_s < price.fastest(q.measured.vm),
        lambda q: f"a VM starts in {price.of_start(q.measured.vm)}{price.whose(q)}, more than {price.within(q)}",
        excludes=("vm",),
        otherwise="it starts later than you said",
        source=MEASURED,
        change="a later start",
    ),
    Rule(
        "a machine is too late",
        "veto",
        lambda q: 0 < q.wishes.start_within_s < price.machine_start(q),
        lambda q: f"{price.of_machine_start(q)}, more than {price.within(q)}",
        excludes=("machine",),
        otherwise="it starts later than you said",
        source=MEASURED,
        change="a later start",
    ),
    Rule(
        "a container is too late",
        "veto",
        lambda q: 0 < q.wishes.start_within_s < q.measured.container.start_s,
        lambda q: (
            f"a container starts in {price.of_start(q.measured.container)}{price.whose(q)}, more than {price.within(q)}"
        ),
        excludes=("container",),
        otherwise="it starts later than you said",
        source=MEASURED,
        change="a later start",
    ),
    Rule(
        "VMs do not fit",
        "veto",
        lambda q: price.exceeds(q, q.measured.vm.memory_of(q.wishes.instances)),
        lambda q: (
            f"{price.many(q, 'VM')} take {price.of_memory(q, q.measured.vm)}{price.whose(q)}, more than "
            f"{price.budget(q)}"
        ),
        excludes=("vm",),
        otherwise="the memory runs out",
        source=MEASURED,
        change="more memory, or fewer instances",
    ),
    Rule(
        "machines do not fit",
        "veto",
        lambda q: price.exceeds(q, price.machine_memory(q)),
        lambda q: f"{price.of_machine_memory(q)}, more than {price.budget(q)}",
        excludes=("machine",),
        otherwise="the memory runs out",
        source=MEASURED,
        change="more memory, or fewer instances",
    ),
    Rule(
        "containers do not fit",
        "veto",
        lambda q: price.exceeds(q, q.measured.container.memory_of(q.wishes.instances)),
        lambda q: (
            f"{price.many(q, 'container')} take {price.of_memory(q, q.measured.container)}{price.whose(q)}, "
            f"more than {price.budget(q)}"
        ),
        excludes=("container",),
        otherwise="the memory runs out",
        source=MEASURED,
        change="more memory, or fewer instances",
    ),
    Rule(
        "a bridge has so many ports",
        "veto",
        lambda q: q.needs.bridge and 0 <= q.here.bridge_ports < q.wishes.instances,
        lambda q: f"the bridge takes {q.here.bridge_ports} more workloads, not {q.wishes.instances}",
        excludes=CHOICES,
        otherwise="the next one does not start",
        source="Linux, net/bridge (BR_MAX_PORTS)",
        change="--network none, or fewer instances",
    ),
    Rule(
        "no container runs here",
        "veto",
        lambda q: bool(q.here.no_container),
        lambda q: f"{q.workload} does not run as a container here: {q.here.no_container}",
        excludes=("container",),
        source=HERE,
        change="what twinhull doctor says",
    ),
    Rule(
        "no guest runs here",
        "veto",
        lambda q: bool(q.here.no_vm),
        lambda q: f"{q.workload} does not run as a VM here: {q.here.no_vm}",
        excludes=GUESTS,
        source=HERE,
        change="what twinhull doctor says",
    ),
    # --- strong: what the choice is for
    Rule(
        "you name a container",
        "strong",
        lambda q: q.wishes.isolation == "container",
        lambda q: "you name a container",
        favours="container",
        otherwise="it is not what you named",
        source=USER,
        change="another --isolation, or none",
    ),
    Rule(
        "you name a VM",
        "strong",
        lambda q: q.wishes.isolation == "vm",
        lambda q: "you name a VM",
        favours="vm",
        otherwise="it is not what you named",
        source=USER,
        change="another --isolation, or none",
    ),
    Rule(
        "the processor keeps untrusted code apart",
        "strong",
        lambda q: q.wishes.untrusted and q.here.accelerator == "kvm",
        lambda q: f"{q.workload} is not trusted, and KVM promises the wall around a guest",
        favours="vm",
        otherwise="a weaker wall",
        source=QEMU_KVM,
        change="code you trust",
    ),
    Rule(
        "who accepts a weak wall gets QEMU's jail",
        "strong",
        lambda q: q.wishes.untrusted and q.here.accelerator != "kvm" and q.wishes.accept_weak_wall,
        lambda q: f"you accept a wall that nobody promises for {q.workload}: {unpromised(q)}, in QEMU's container",
        favours="vm",
        otherwise="it does not run at all",
        source=USER,
        change="KVM on this machine",
    ),
    Rule(
        "privileges are better over a kernel of its own",
        "strong",
        lambda q: bool(q.needs.privileges),
        lambda q: f"in a VM these are privileges over its own kernel only: {', '.join(q.needs.privileges)}",
        favours="vm",
        otherwise="in a container they are privileges over the host's kernel",
        source=DOCKER,
        change="the same without those privileges",
    ),
    # --- preferences: what is cheaper
    Rule(
        "what needs no kernel of its own is cheaper without one",
        "preference",
        lambda q: system(q) == LINUX and not needs_kernel(q),
        lambda q: f"{q.workload} needs no kernel of its own{price.saved(q)}",
        favours="container",
        otherwise="a kernel and a hypervisor more for each instance",
        source=f"{NAMESPACES}; {COMPARED}",
    ),
    Rule(
        "paths of the host are nearer to a container",
        "preference",
        lambda q: bool(q.needs.volumes),
        lambda q: "a guest reaches paths of the host through 9p, a container by a bind mount",
        favours="container",
        otherwise="each access to them goes through QEMU",
        source="QEMU documentation, 9pfs",
        change="the same without -v",
    ),
    # --- notes: what to know
    Rule(
        "in time only where a guest waits",
        "note",
        lambda q: 0 < q.measured.vm.waiting_s <= q.wishes.start_within_s < q.measured.vm.start_s,
        lambda q: (
            f"a VM starts in {price.of_start(q.measured.vm)}{price.whose(q)}: in time for {price.within(q)} only if "
            "the last start is long enough ago for the next guest to wait"
        ),
        otherwise="a start right behind another takes a guest from the template",
        source=MEASURED,
    ),
    Rule(
        "TCG is no wall",
        "note",
        lambda q: q.here.accelerator == "tcg" and admitted(q),
        lambda q: "without KVM the VM is no stronger wall",
        source=QEMU,
        change="KVM on this machine",
    ),
    Rule(
        "KVM that no guest has proven",
        "note",
        lambda q: not q.here.accelerator and not q.here.no_vm and bool(q.here.reason),
        lambda q: f"not proven here: {q.here.reason}; twinhull advise --probe runs a guest to see",
        source=HERE,
    ),
    Rule(
        "an engine's socket is the host",
        "note",
        lambda q: bool(engines(q)) and admitted(q),
        lambda q: f"who can write to {', '.join(engines(q))} is root on this host",
        otherwise="this workload is as trusted as root",
        source=DOCKER,
    ),
    Rule(
        "the host's own directories are the host",
        "note",
        lambda q: bool(q.needs.doors) and admitted(q),
        lambda q: f"with {', '.join(q.needs.doors)} it holds the host's own system or state",
        source=DOCKER,
    ),
    Rule(
        "root of the host's kernel",
        "note",
        lambda q: q.packed.root and not q.needs.user_namespace and admitted(q),
        lambda q: "its user is root, in a container also to the host's kernel: --userns private or -u changes that",
        source="user_namespaces(7)",
    ),
    Rule(
        "an image that is not here",
        "note",
        lambda q: not q.packed.known,
        lambda q: f"the image of {q.workload} is not here: its user, ports and platform are not known",
        source=HERE,
    ),
    Rule(
        "nothing measured",
        "note",
        lambda q: not q.measured.image,
        lambda q: f"not measured here: twinhull compare{f' {q.workload}' if q.packed.architecture else ''}",
        source=HERE,
    ),
)
