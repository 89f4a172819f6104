"""The doctor's judgement of machines that users have, from what would be seen there."""

from __future__ import annotations

import pytest

from twinhull.host import attempts, doctor
from twinhull.host.doctor import Fact, Kvm, Observed
from twinhull.model import Facts

V2 = Facts(cgroup2="/sys/fs/cgroup", cgroup2_controllers=("cpu", "memory", "pids"))
HEALTHY = Observed(
    euid=0,
    kernel="6.12.1-amd64",
    processor_flags=frozenset({"vmx"}),
    facts=V2,
    tools={tool.name: f"/usr/bin/{tool.name}" for tool in (*doctor.TOOLS, *doctor.OWN_TOOLS)},
    launcher="/usr/lib/twinhull/launcher",
    seccomp=True,
    libseccomp=True,
    kvm=Kvm(True, usable=True),
    tun="",
    overlay="",
    bridge="",
    nftables="",
    user_namespace="",
    subordinate_ids=True,
    modules=True,
)


def fact(name: str, seen: Observed) -> Fact:
    return next(item for item in doctor.judge(seen) if item.name == name)


def test_a_healthy_machine_has_nothing_to_repair() -> None:
    facts = doctor.judge(HEALTHY)

    assert {item.state for item in facts} == {"ok"}
    assert doctor.repair_all(facts) == ""
    assert doctor.refusal(facts) is None


def test_every_shortcoming_of_a_machine_with_modules_names_a_command() -> None:
    bare = HEALTHY._replace(
        tools={}, launcher="", libseccomp=False, kvm=Kvm(False), tun="No such file", overlay="unknown filesystem type",
        bridge="Operation not supported", nftables="cache initialization failed", subordinate_ids=False,
    )  # fmt: skip
    wanting = [item for item in doctor.judge(bare) if item.state != "ok"]

    assert [item.name for item in wanting if not item.repair] == []


def test_packages_are_installed_by_one_command() -> None:
    seen = HEALTHY._replace(tools={"qemu-system-x86_64": "", "nft": "/usr/sbin/nft"})

    command = doctor.repair_all(doctor.judge(seen))

    assert command.count("apt-get install") == 1
    assert {"skopeo", "qemu-system-x86", "dnsmasq-base"} <= set(command.split())
    assert "nftables" not in command


@pytest.mark.parametrize(
    ("kvm", "flags", "says", "repair"),
    [
        (Kvm(False), {"svm"}, "no /dev/kvm", "modprobe kvm_amd"),
        (Kvm(False), {"vmx"}, "no /dev/kvm", "modprobe kvm_intel"),
        (Kvm(False), set(), "no vmx or svm", ""),
        (Kvm(True, "Permission denied"), {"vmx"}, "Permission denied", "chmod 0660 /dev/kvm"),
        (Kvm(True), {"vmx"}, "not proven", "twinhull run --rm --vm busybox true"),
        (Kvm(True, usable=False, reason="internal error"), {"vmx"}, "but internal error; VMs run under TCG", ""),
    ],
)
def test_kvm_is_ok_only_when_a_guest_ran(kvm: Kvm, flags: set[str], says: str, repair: str) -> None:
    judged = fact("kvm", HEALTHY._replace(kvm=kvm, processor_flags=frozenset(flags)))

    assert judged.state == "degraded"
    assert says in judged.detail
    assert judged.repair == repair


def test_without_root_the_refusal_is_one_sentence_with_a_command_and_what_still_works() -> None:
    error = doctor.refusal(doctor.judge(HEALTHY._replace(euid=1000, overlay=None, bridge=None, nftables=None)))

    assert error is not None
    assert error.exit_code == 125
    assert error.message == "this machine cannot run workloads: root: uid 1000: compare, prove and machines need root"
    assert error.hint.startswith("sudo -i")
    assert "compare, doctor and plan" in error.hint


def test_a_user_without_root_needs_numbers_tools_and_an_open_tun() -> None:
    user = HEALTHY._replace(euid=1000, group="/sys/fs/cgroup/mine")
    facts = doctor.judge(user)
    assert [item.name for item in facts if item.state != "ok"] == ["root"]
    assert doctor.lacking(facts, "run", "network", "vm", "pull") == []

    bare = user._replace(
        tools={**HEALTHY.tools, "newuidmap": "", "slirp4netns": ""},
        numbers="usermod …",
        tun="Permission denied",
        user_namespace="refused",
        group="",
    )
    lacking = doctor.judge(bare)
    assert {item.name for item in doctor.lacking(lacking, "run")} == {"newuidmap", "user namespaces", "subordinate ids"}
    assert {item.name for item in doctor.lacking(lacking, "network")} == {"slirp4netns", "tun device"}
    assert "uidmap slirp4netns" in doctor.repair_all(lacking)
    assert "usermod …" in doctor.repair_all(lacking)
    assert fact("cgroups", bare).state == "degraded"


def test_what_was_not_tried_is_not_called_ok() -> None:
    seen = HEALTHY._replace(euid=1000, overlay=None, bridge=None, nftables=None)

    assert [fact(name, seen).state for name in ("overlayfs", "bridge and veth", "nftables")] == ["degraded"] * 3


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        (V2, "ok"),
        (Facts(), "missing"),
        (Facts(cgroup1=(("memory", "/m"), ("cpu", "/c"), ("pids", "/p"))), "degraded"),
        (Facts("/u", (), (("memory", "/m"), ("cpu", "/c"), ("pids", "/p"))), "ok"),
        (Facts("/sys/fs/cgroup", ("cpu",)), "degraded"),
    ],
)
def test_cgroups_are_judged_by_the_controllers_that_can_be_used(facts: Facts, state: str) -> None:
    assert fact("cgroups", HEALTHY._replace(facts=facts)).state == state


@pytest.mark.parametrize(("release", "state"), [("5.11.0-1", "missing"), ("5.12.0", "ok"), ("6.1.0-50", "ok")])
def test_an_old_kernel_is_refused(release: str, state: str) -> None:
    assert fact("kernel", HEALTHY._replace(kernel=release)).state == state


def test_a_file_system_that_takes_no_directory_is_a_finding() -> None:
    result = attempts.overlay("/proc/nope/state")
    assert result.startswith(f"{attempts.UNTRIED}/proc: ")
    found = fact("overlayfs", HEALTHY._replace(overlay=result))
    assert (found.state, found.repair) == ("missing", "")
    assert "TWINHULL_ROOT" in found.detail and "kernel" not in found.detail


def test_every_shortcoming_names_a_command_or_says_that_none_helps() -> None:
    bare = HEALTHY._replace(
        processor_flags=frozenset(), kvm=Kvm(False), tun="No such file", overlay="unknown filesystem type",
        bridge="Operation not supported", nftables="cache initialization failed", modules=False, seccomp=False,
    )  # fmt: skip
    unusable = HEALTHY._replace(kvm=Kvm(True, usable=False, reason="it hangs"))
    wanting = [item for seen in (bare, unusable) for item in doctor.judge(seen) if item.state != "ok"]
    assert {"kvm", "kernel modules", "seccomp", "overlayfs"} <= {item.name for item in wanting}
    assert [item.name for item in wanting if not item.repair and doctor.NOTHING not in item.detail] == []


def test_a_trial_that_no_program_was_there_for_names_its_package() -> None:
    seen = HEALTHY._replace(user_namespace="not tried: unshare", bridge="not tried: ip", overlay="not tried: timeout")
    names = ("user namespaces", "bridge and veth", "overlayfs")
    assert [fact(name, seen).state for name in names] == ["degraded"] * 3
    assert [fact(name, seen).repair.split()[-1] for name in names] == ["util-linux", "iproute2", "coreutils"]


def test_trials_find_their_programs_whatever_path_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert attempts.try_command("mount", "--version") == ""
    monkeypatch.setattr("twinhull.host.spawn.USUAL_PATH", "/nowhere")
    assert attempts.try_command("mount", "--version") == "not tried: timeout"


def test_a_state_directory_in_memory_is_a_warning_with_a_way_out() -> None:
    judged = fact("state directory", HEALTHY._replace(state=("/dev/shm/twinhull", "tmpfs")))

    assert (judged.state, judged.needed_for) == ("degraded", "vm")
    assert "/dev/shm/twinhull is in memory (tmpfs)" in judged.detail
    assert "state = " in judged.repair
    assert fact("state directory", HEALTHY._replace(state=("/srv", "ext4"))).detail == "/srv: ext4"


def test_the_file_system_is_found_by_its_number() -> None:
    lines = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:25 / /dev/shm rw shared:4 - tmpfs tmpfs rw\n"

    assert [attempts.file_system_in(lines, number) for number in ("8:1", "0:25", "0:9")] == ["ext4", "tmpfs", ""]
