"""The picture of the layers under a workload."""

from __future__ import annotations

import pytest

from twinhull.compare import rows
from twinhull.host import stack
from twinhull.host.machine import Host, Machine
from twinhull.host.stack import Above, Hypervisor, System

MACHINE = Machine(
    "AMD EPYC", 2, 24 << 30, "x86_64", "Debian GNU/Linux 12 (bookworm)", "6.18.0", Host("KVM", "a clock", "", "none")
)
OS_RELEASE = 'PRETTY_NAME="Alpine Linux v3.20"\n'


def test_a_container_stands_on_the_engine_and_the_hosts_kernel() -> None:
    found = stack.layers(
        MACHINE, "container", Above("nginx", ("nginx",), "6.18.0", OS_RELEASE), engine="twinhull 1", processes=["shim"]
    )

    assert [layer.level for layer in found] == ["Infrastructure", "Host OS", "Engine", "App"]
    assert "kernel seen inside: 6.18.0, the same as the host's" in found[2].details
    assert "binaries and libraries: Alpine Linux v3.20" in found[3].details


def test_a_vm_stands_on_a_hypervisor_and_a_guest_kernel_of_its_own() -> None:
    above = Above("nginx", ("nginx",), "6.1.0-56-amd64", "")
    found = stack.layers(
        MACHINE, "vm", above, engine="twinhull 1", hypervisor=Hypervisor("7.2.22", "tcg", "the package linux-image")
    )

    assert [layer.level for layer in found] == ["Infrastructure", "Host OS", "Hypervisor", "Guest OS", "App"]
    assert found[2].name == "QEMU 7.2.22"
    assert "not a security boundary" in found[2].details[0]
    assert found[3].name == "Linux 6.1.0-56-amd64"


def test_the_infrastructure_says_what_it_is_itself_a_guest_of() -> None:
    assert "a virtual machine of KVM (a clock)" in stack.infrastructure(MACHINE).details


def test_what_could_not_be_read_is_called_unknown() -> None:
    found = stack.layers(MACHINE, "vm", Above("scratch", ("/app",), "", ""), engine="twinhull 1")

    assert found[2].name == "QEMU unknown"
    assert found[3].name == "Linux, release unknown"
    assert "no os-release in the image" in found[4].details[0]


@pytest.mark.parametrize(
    ("arguments", "accelerator"),
    [
        (["qemu", "-accel", "tcg,thread=multi"], "tcg"),
        (["qemu", "-machine", "microvm,accel=kvm"], "kvm"),
        (["qemu", "-m", "64"], ""),
    ],
)
def test_the_accelerator_is_read_from_the_running_process(arguments: list[str], accelerator: str) -> None:
    assert stack.accelerator_in(arguments) == accelerator


def test_the_picture_has_the_program_on_top_and_straight_edges() -> None:
    text = stack.render(stack.layers(MACHINE, "vm", Above("nginx", ("nginx",), "6.1", ""), engine="twinhull 1"))
    lines = text.splitlines()

    assert "App" in lines[1]
    assert len({len(line) for line in lines}) == 1


def test_a_machine_stands_on_a_hypervisor_and_its_services_on_a_system_of_its_own() -> None:
    system = System("debian", "Debian GNU/Linux 12 (bookworm)", "6.1.0", "systemd", 12, tuple("abcde"))
    found = stack.system_layers(MACHINE, Hypervisor("7.2.22", "tcg", ""), system, processes=["qemu"])

    assert [layer.level for layer in found] == ["Infrastructure", "Host OS", "Hypervisor", "Guest OS", "Services"]
    assert "not a security boundary" in found[2].details[0]
    assert found[3].details == ("Linux 6.1.0", "process 1 is systemd, 12 processes", "from the disk debian")
    assert (found[4].name, found[4].details) == ("5 run", ("a, b, c, d", "e"))


def test_a_machine_without_an_agent_is_not_guessed_at() -> None:
    found = stack.system_layers(MACHINE, Hypervisor("7.2.22", "kvm", ""), System("bsd.qcow2"))

    assert found[-1] == stack.Layer("Guest OS", "unknown: no guest agent answers", ("from the disk bsd.qcow2",))


def test_a_guest_s_first_process_and_the_workload_s_are_told_apart() -> None:
    found = stack.layers(MACHINE, "vm", Above("nginx", ("nginx",), "6.1.0", ""), engine="")
    (guest,) = (layer for layer in found if layer.level == "Guest OS")
    assert "its first process is the agent; the workload is process 1 of a pid namespace of its own" in guest.details
    inside = {"process-1": "probe", "processes": "1"}
    assert rows.first_process(inside) == "process 1 is the workload, no init; 1 process"
    said = "process 1 is the workload, no init (the guest's is the agent); 1 process"
    assert rows.first_process(inside, agent=True) == said
