"""The comparison on this machine: one quick run, looked at from several sides."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import privileges
from tests.support.command import COMMAND, Twinhull
from twinhull.compare import rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
NOBODY = 65534
# Not root, but able to reach a checkout that lies in a closed directory.
READ = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
NO_ROOT = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *READ)


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twinhull]:
    """One state directory for all: the guest's kernel and the template are made once."""
    if privileges.missing():
        pytest.skip("needs what the kernel tests need")
    root = tmp_path_factory.mktemp("compare")
    command = Twinhull(root)
    command("run", "--rm", "busybox", "true", check=True)  # the bridge is there before anyone looks for leaks
    yield command
    command.remove_all()


@pytest.fixture(scope="module")
def result(command: Twinhull) -> dict[str, Any]:
    """The document of one quick comparison."""
    done = command("compare", "--quick", "--format", "json", "busybox", "--", "echo", "hi", timeout_s=300, check=True)
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["failures"] == {}, done.stderr
    assert not {"vm", "container"} & document["gaps"].keys(), done.stderr
    return document


def row(result: dict[str, Any], topic: str) -> dict[str, Any]:
    return next(row for row in result["rows"] if row["topic"] == topic)


def test_all_six_rows_have_figures_or_facts_on_both_sides(result: dict[str, Any]) -> None:
    assert tuple(row["topic"] for row in result["rows"]) == rows.TOPICS
    for found in result["rows"]:
        assert found["vm"]["text"], found
        assert found["container"]["text"], found
        assert found["verdict"]["holds"] in ("holds", "in part", "not here"), found


def test_the_kernel_inside_is_the_hosts_in_a_container_only(result: dict[str, Any]) -> None:
    inside = result["inside"]
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    assert inside["container"]["boot-id"] == boot_id
    assert inside["container"]["release"] == os.uname().release
    assert inside["vm"]["boot-id"] != boot_id


def test_a_container_starts_faster_and_weighs_less(result: dict[str, Any]) -> None:
    for topic in ("Startup", "Resources"):
        verdict = row(result, topic)["verdict"]
        assert verdict["holds"] == "holds", row(result, topic)
        assert verdict["interval"][0] <= verdict["ratio"] <= verdict["interval"][1]


def test_a_boot_takes_longer_than_a_start_from_the_template(result: dict[str, Any]) -> None:
    samples = result["samples"]
    assert min(samples["vm_cold.first_output_s"]) > min(samples["vm.first_output_s"])
    assert min(samples["vm_spare.first_output_s"]) < min(samples["vm.first_output_s"])


def test_every_sample_is_a_positive_time_or_amount(result: dict[str, Any]) -> None:
    for key, values in result["samples"].items():
        assert all(value >= 0 for value in values), key
        assert all(value > 0 for value in values if key.endswith("_s")), key


def test_the_container_shares_only_what_it_was_not_given(result: dict[str, Any]) -> None:
    inside, host = result["inside"]["container"], result["inside"]["host"]
    for name in ("ipc", "mnt", "net", "pid", "uts"):
        assert inside[f"namespace-{name}"] != host[f"namespace-{name}"]
    answered = [int(facts["syscalls-answered"]) for facts in (inside, host)]
    assert answered[0] < answered[1]


def test_under_tcg_the_vm_is_not_called_a_wall(result: dict[str, Any]) -> None:
    verdict = row(result, "Isolation")["verdict"]
    if result["host"]["accelerator"] == "kvm":
        assert verdict["holds"] == "holds"
    else:
        assert verdict["holds"] == "not here"
        assert result["recommendation"]["choice"] == "container"
        assert "without KVM the VM is no stronger wall" in result["recommendation"]["reasons"]


def test_its_medians_are_left_for_advice(command: Twinhull, result: dict[str, Any]) -> None:
    (row,) = json.loads((command.root / "state/measurements.json").read_text())["rows"]
    assert (row["digest"], row["accelerator"]) == (result["image"]["digest"], result["host"]["accelerator"])
    for key in ("container.first_output_s", "vm.memory_bytes"):
        assert row["medians"][key] == pytest.approx(statistics.median(result["samples"][key]), abs=1e-5)
    costs = command("advise", "--format", "json", "busybox", check=True).json()["costs"]
    assert costs["own"] is True
    assert costs["vm"]["start_s"] == row["medians"]["vm.first_output_s"]


def test_memory_agrees_with_what_the_kernel_says_of_an_instance(command: Twinhull, result: dict[str, Any]) -> None:
    """One idle container, weighed by hand: its growth cannot be more than all its pages."""
    name = command("run", "-d", "--memory", "192m", "--name", "weighed", "busybox", "sleep", "60", check=True)
    directory = command("inspect", "weighed", check=True).json()[0]["directory"]
    assert name.exit_code == 0
    try:
        locks = Path("/proc/locks").read_text()
        inode = os.stat(f"{directory}/alive").st_ino
        supervisor = int(next(line for line in locks.splitlines() if f":{inode} " in line).split()[4])
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
        resident = 0
        for pid in (supervisor, *children):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            resident += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Rss:")) * 1024
        measured = sorted(result["samples"]["container.memory_bytes"])
        assert 0 < measured[len(measured) // 2] <= resident
    finally:
        command("rm", "-f", "weighed")


def test_nothing_is_left_running_and_the_probe_is_gone(command: Twinhull, result: dict[str, Any]) -> None:
    assert command.names() == []
    assert "probe" not in command("images", check=True).stdout


def test_interrupted_it_leaves_no_workload(command: Twinhull, result: dict[str, Any]) -> None:
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with command.popen("compare", "--quick", "busybox", **streams) as process:
        assert process.stdout
        seen = []
        for line in process.stdout:
            seen.append(line)
            if "memory" in line:
                break
        assert "memory" in seen[-1], "".join(seen)
        os.killpg(process.pid, signal.SIGINT)
        process.stdout.read()
    assert process.returncode == 130
    deadline = time.monotonic() + 20
    while command("ps", "-q", check=True).stdout and time.monotonic() < deadline:
        time.sleep(0.2)
    assert command("ps", "-q", check=True).stdout == ""


def test_a_side_that_cannot_run_is_a_gap_and_the_other_is_measured(command: Twinhull) -> None:
    broken = Twinhull(command.root, settings={"vm_kernel": "/no/such/kernel"})
    done = broken("compare", "--quick", "busybox", timeout_s=200)
    command.config.write_text("")

    assert done.exit_code == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "! No VM ran: vm_kernel /no/such/kernel: No such file or directory" in text
    assert "no VM ran" in text
    assert "RAM" in text
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_without_root_it_says_what_it_can_and_refuses_the_rest(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, NOBODY, NOBODY)
    for parent in (tmp_path, *list(tmp_path.parents)[:2]):
        parent.chmod(0o755)
    done = subprocess.run(
        [*NO_ROOT, COMMAND, "compare"],
        env={**os.environ, "TWINHULL_ROOT": str(state), "HOME": str(state)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 125
    assert f"Linux {os.uname().release}" in " ".join(done.stdout.split())
    assert "root: missing" in done.stdout
    assert done.stderr.startswith("twinhull: this machine cannot run workloads: root:")
