"""Virtual machines with the kernel that `vm kernel build` makes, where one was built: `make guest-kernel`.

The other tests of virtual machines run with it by TWINHULL_GUEST_KERNEL=built.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import REPOSITORY, Result, Twinhull

KERNELS = REPOSITORY / "build/guest-kernel/state/kernels"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Twinhull:
    """A state directory that has the built kernel and uses it."""
    built = sorted(KERNELS.glob("built-*"))
    if not built:
        pytest.skip("no kernel of ours is built here, which takes ten minutes: make guest-kernel")
    root = tmp_path_factory.mktemp("built")
    (root / "state").mkdir(mode=0o700)
    (root / "state/kernels").symlink_to(KERNELS)
    return Twinhull(root)


def test_guests_run_it_without_acpi_or_modules(vm: Twinhull) -> None:
    (row,) = [row for row in vm("vm", "kernel", "ls", "--format", "json").json()["kernels"] if row["used"]]
    script = "uname -r; ls -d /sys/firmware/acpi /proc/modules 2> /dev/null"
    done = vm("run", "--rm", "--vm", "--network", "none", "busybox", "sh", "-c", script, timeout_s=120)
    assert done.stdout == f"{row['release']}\n", done.stderr
    assert row["release"].endswith("-twinhull") and row["name"].startswith("built-")


def test_volumes_names_limits_and_exec_work_in_one_workload(vm: Twinhull, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("of the host\n")
    limits = ("--memory", "100m", "--pids-limit", "50")
    vm("run", "-d", "--name", "all", "--vm", *limits, "-v", f"{tmp_path}:/x", "busybox", "sleep", "1000", timeout_s=120)
    script = """
        cat /x/file; echo of the guest > /x/made
        ping -c1 -W5 $(ip route | awk '/default/ {print $3}') > /dev/null && nslookup $HOSTNAME > /dev/null && echo net
        cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max
        tail -c 200m /dev/zero > /dev/null; echo $?
        dd if=/dev/zero of=/big bs=1M count=20 2> /dev/null && sync && echo disk
    """
    done = vm("exec", "all", "sh", "-c", script, timeout_s=120)
    assert done.stdout == f"of the host\nnet\n{100 << 20}\n50\n137\ndisk\n", done.stderr
    assert (tmp_path / "made").read_text() == "of the guest\n"


def test_a_guest_has_all_its_processors(vm: Twinhull) -> None:
    done = vm("run", "--rm", "--vm", "--network", "none", "--cpus", "2", "busybox", "nproc", timeout_s=120)
    assert done == Result(0, "2\n", done.stderr)


def test_it_boots_cold_too(vm: Twinhull) -> None:
    vm.config.write_text("vm_template = false\nvm_spare = false\n")
    try:
        done = vm("run", "--rm", "--vm", "busybox", "cat", "/proc/version", timeout_s=120)
    finally:
        vm.config.write_text("vm_spare = false\n")
    assert done.exit_code == 0 and "-twinhull " in done.stdout, done.stderr
