"""What a machine runs in, told from texts of /proc, /sys and firmware tables."""

from __future__ import annotations

from twinhull.host import machine
from twinhull.host.machine import INITIAL_NAMESPACES

GUEST = "model name\t: AMD EPYC\nflags\t\t: fpu svm hypervisor sse2\n"
METAL = "model name\t: Intel(R) Core(TM)  i7\nflags\t\t: fpu vmx sse2\n"


def test_the_processor_flag_decides_over_a_cloud_name_in_the_tables() -> None:
    assert machine.hypervisor(METAL, {"DMI sys_vendor": "Amazon EC2"}, "tsc")[0] == ""


def test_a_guest_is_named_after_its_firmware_tables() -> None:
    name, evidence = machine.hypervisor(GUEST, {"DMI product_name": "", "ACPI table": "FIRECK"}, "tsc kvm-clock")
    assert name == "Firecracker"
    assert evidence == "ACPI table says 'FIRECK'"


def test_a_guest_without_tables_is_named_after_its_clock() -> None:
    assert machine.hypervisor(GUEST, {}, "kvm-clock tsc")[0] == "KVM"
    assert machine.hypervisor(GUEST, {}, "tsc")[0] == "an unnamed hypervisor"


def test_an_architecture_without_flags_is_told_by_its_tables() -> None:
    assert machine.hypervisor("Features\t: fp asimd\n", {"DMI sys_vendor": "QEMU"}, "arch_sys_counter")[0] == "QEMU"
    assert machine.hypervisor("Features\t: fp asimd\n", {}, "arch_sys_counter")[0] == ""


def test_the_first_namespaces_are_no_container_whatever_files_lie_about() -> None:
    assert machine.container(INITIAL_NAMESPACES, {"/.dockerenv": "docker"}) == (
        "", "the boot's first namespaces (in spite of /.dockerenv)",
    )  # fmt: skip


def test_other_namespaces_are_a_container_of_the_engine_that_left_a_mark() -> None:
    name, evidence = machine.container({**INITIAL_NAMESPACES, "pid": 4026532000}, {"/.dockerenv": "docker"})
    assert (name, evidence) == ("docker", "not the boot's first namespaces: pid")
    assert machine.container({**INITIAL_NAMESPACES, "uts": 4026532000}, {})[0] == "engine unknown"


def test_names_are_read_as_their_formats_say() -> None:
    assert machine.processor(METAL) == "Intel(R) Core(TM) i7"
    assert machine.system('NAME="Alpine Linux"\nVERSION_ID=3.20\nPRETTY_NAME="Alpine Linux v3.20"\n') == (
        "Alpine Linux v3.20"
    )
    assert machine.meminfo("MemTotal:  2048 kB\nHugePages_Total: 3\n") == {"MemTotal": 2 << 20, "HugePages_Total": 3}
