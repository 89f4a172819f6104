"""The comparison on this machine: one quick run, looked at from several sides."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import privileges
from tests.support.command import Twinhull
from twinhull import config
from twinhull.cli.outputs import FORMATS
from twinhull.compare import clocks, root, rows, session, statistics, subjects
from twinhull.compare.outputs import quantities
from twinhull.compare.run import Service
from twinhull.compare.subject import CommandLine
from twinhull.engine import Engine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
SUBJECTS = "container,vm,vm_template,vm_cold,plain"
ROUNDS = 16


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twinhull]:
    """One state directory for all: the guest's kernel and the template are made once."""
    if privileges.missing():
        pytest.skip("needs what the kernel tests need")
    root = tmp_path_factory.mktemp("compare")
    command = Twinhull(root, settings={"vm_spare": True})
    command("run", "--rm", "busybox", "true", check=True)  # the bridge is there before anyone looks for leaks
    yield command
    command.remove_all()


@pytest.fixture(scope="module")
def result(command: Twinhull) -> dict[str, Any]:
    """The document of one quick comparison."""
    words = ("compare", "--subjects", SUBJECTS, "--format", "json", "busybox", "--", "echo", "hi")
    done = command(*words, timeout_s=300, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["failures"] == {}, done.stderr
    assert not {"vm", "container", "plain"} & found["gaps"].keys(), done.stderr
    return found


@pytest.fixture
def own(command: Twinhull, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, CommandLine]:
    """Our subjects, to be run one by one."""
    monkeypatch.setenv("TWINHULL_ROOT", str(command.root))
    return {subject.name: subject for subject in subjects.our_own(config.load(), str(tmp_path))}


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
        low, high = verdict["interval"] or (1, float("inf"))  # none of few values, which a busy machine has
        assert low <= verdict["ratio"] <= high


def test_a_boot_takes_longer_than_a_start_from_the_template(result: dict[str, Any]) -> None:
    samples = result["samples"]
    assert min(samples["vm_cold.first_output_s"]) > min(samples["vm.first_output_s"])
    assert min(samples["vm.first_output_s"]) < min(samples["vm_template.first_output_s"])


def test_the_phases_are_those_that_the_isolation_has_and_add_up_to_the_start(result: dict[str, Any]) -> None:
    phases = {name: [phase["name"] for phase in found] for name, found in result["phases"].items()}
    everything = [phase.name for phase in clocks.PHASES]
    assert phases["vm_cold"] == everything
    assert phases["vm"] == [name for name in everything if name != "kernel"]
    assert phases["container"] == [name for name in everything if name not in ("vmm", "kernel")]
    for name in ("container", "vm", "vm_cold"):
        parts = zip(*(result["samples"][clocks.sample_key(name, phase)] for phase in phases[name]), strict=True)
        assert [sum(part) for part in parts] == pytest.approx(result["samples"][f"{name}.clean_s"])


def test_the_clocks_of_a_start_come_in_their_order(result: dict[str, Any]) -> None:
    order = ("spawned_s", "kernel_s", "init_s", "ready_s", "first_output_s", "total_s", "clean_s")
    for name in ("container", "vm", "vm_cold", "vm_template"):
        found = [result["samples"][key] for clock in order if (key := f"{name}.{clock}") in result["samples"]]
        assert len(found) >= 5
        for moments in zip(*found, strict=True):
            assert list(moments) == sorted(moments), name


def test_beside_ours_a_plain_process_is_faster(result: dict[str, Any]) -> None:
    samples = result["samples"]
    assert max(samples["plain.first_output_s"]) < min(samples["container.first_output_s"])
    assert {found["name"]: bool(found["gap"]) for found in result["subjects"]} == {
        "container": False, "vm": False, "vm_template": False, "vm_cold": False, "plain": False,
    }  # fmt: skip
    assert result["argv"] == ["twinhull", "compare", "--subjects", SUBJECTS, "busybox", "--", "echo", "hi"]


def test_one_more_process_and_a_stop_are_timed_on_both_sides(result: dict[str, Any]) -> None:
    for side in ("container", "vm"):
        assert len(result["samples"][f"{side}.exec_s"]) >= 6
        assert max(result["samples"][f"{side}.stop_s"]) < 5, "it was killed, not stopped"


def test_a_workload_slowed_on_purpose_is_seen_and_one_left_alone_is_not(own: dict[str, CommandLine]) -> None:
    """Three times the same container, of which one sleeps first for as long as a start takes at that moment."""
    verdicts = [slowed_and_equal(own["container"]) for _ in range(3)]

    slowed = [ratio for ratio, _ in verdicts]
    assert [ratio.shown and ratio.value > 1 for ratio in slowed].count(True) >= 2, verdicts
    assert [equal.shown for _, equal in verdicts].count(False) >= 2, verdicts


def slowed_and_equal(container: CommandLine) -> tuple[statistics.Ratio, statistics.Ratio]:
    """Ratios to a third of the rounds: of what was slowed, and of what was not."""
    pause_s = statistics.median([timing(container, "sleep 0; echo hi") for _ in range(7)][2:])
    scripts = {"base": "sleep 0; echo hi", "equal": "sleep 0; echo hi", "slow": f"sleep {pause_s:.4f}; echo hi"}
    samples: dict[str, list[float]] = {name: [] for name in scripts}
    for _ in range(ROUNDS):
        for name in random.sample(list(scripts), len(scripts)):
            samples[name].append(timing(container, scripts[name]))
    slow, equal = (statistics.compare(samples[name], samples["base"]) for name in ("slow", "equal"))
    assert slow is not None
    assert equal is not None
    return slow, equal


def timing(container: CommandLine, script: str) -> float:
    found = container.run("busybox", ("sh", "-c", script), Service(), timeout_s=20)
    assert found.stdout_s is not None, found
    return found.stdout_s


@pytest.mark.parametrize("name", ["container", "vm"])
def test_a_service_is_timed_to_its_first_answer(own: dict[str, CommandLine], name: str) -> None:
    command = ("httpd", "-f", "-p", "8080")
    found = own[name].run("busybox", command, Service((), 0.0, 8080), timeout_s=30)

    assert found.total_s is None, found
    assert found.answer_s is not None, found
    assert found.marks["started"] < found.answer_s < found.marks["started"] + 5


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
        assert "without KVM a guest is no stronger wall" in result["recommendation"]["reasons"]


def test_its_medians_are_left_for_advice(command: Twinhull, result: dict[str, Any]) -> None:
    (row,) = json.loads((command.root / "state/measurements.json").read_text())["rows"]
    assert (row["digest"], row["accelerator"]) == (result["image"]["digest"], result["host"]["accelerator"])
    assert row["medians"]["container.tasks"] >= 2 and row["medians"]["vm.files"] > 2
    for key in ("container.first_output_s", "vm.memory_bytes"):
        assert row["medians"][key] == pytest.approx(statistics.median(result["samples"][key]), abs=1e-5)
    costs = command("advise", "--format", "json", "busybox", check=True).json()["costs"]
    assert costs["own"] is True
    assert costs["vm"]["start_s"] == row["medians"]["vm.first_output_s"]


def test_how_many_fit_is_ended_by_the_smallest_limit(result: dict[str, Any]) -> None:
    for side in ("container", "vm"):
        found = result["density"][side]
        counts = [limit["count"] for limit in found["limits"]]
        assert counts == sorted(counts)
        assert found["binds"] == found["limits"][0]["name"]
        assert {"memory", "disk", "pids", "descriptors", "bridge ports", "addresses"} <= {
            limit["name"] for limit in found["limits"]
        }
        assert [number for number, _ in found["points"]] == list(range(1, len(found["points"]) + 1))
        assert len(found["points"]) > session.ENOUGH


def test_known_ways_out_were_tried_everywhere(result: dict[str, Any]) -> None:
    assert len(result["probes"]) >= 20
    for one in result["probes"]:
        assert set(one["outcomes"]) == {"container", "vm", "plain"}, one


def test_the_stacks_share_what_lies_below_both(result: dict[str, Any]) -> None:
    vm, container = result["stacks"]["vm"], result["stacks"]["container"]
    assert [layer["layer"] for layer in vm if layer["shared"]] == ["Infrastructure", "Host OS", "App"]
    assert {layer["layer"] for layer in vm} - {layer["layer"] for layer in container} == {"Hypervisor", "Guest OS"}


def test_what_a_quick_look_leaves_out_is_a_gap(result: dict[str, Any]) -> None:
    assert {result["gaps"][section] for section in ("load", "portability", "only")} == {"measured with --full"}
    for name in SUBJECTS.split(","):
        keys = [f"{name}.{quantity.key}" for quantity in quantities.QUANTITIES]
        assert [key for key in keys if not result["samples"].get(key) and not result["gaps"].get(key)] == []
    needs = result["portability"]["needs"]
    assert needs["container"] == ["twinhull-shim"]
    assert any(name.startswith("qemu") for name in needs["vm"])


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
    with command.popen("compare", "--subjects", "container,vm", "busybox", **streams) as process:
        assert process.stdout
        seen = []
        for line in process.stdout:
            seen.append(line)
            if "exec and stop" in line:  # it keeps instances from here on
                break
        assert "exec and stop" in seen[-1], "".join(seen)
        os.killpg(process.pid, signal.SIGINT)
        process.stdout.read()
    assert process.returncode == 130
    deadline = time.monotonic() + 20
    while command("ps", "-q", check=True).stdout and time.monotonic() < deadline:
        time.sleep(0.2)
    assert command("ps", "-q", check=True).stdout == ""


def test_what_a_killed_comparison_left_mounted_is_taken_away_by_the_next(tmp_path: Path, command: Twinhull) -> None:
    left, used = tmp_path / "compare-left", tmp_path / "compare-used"
    for place in (left, used):
        (place / "plain/root/dev").mkdir(parents=True)
    mounts = [left / "plain/root", left / "plain/root/dev"]
    for target in mounts:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", target], check=True)
        (target / "dev").mkdir()
    held = os.open(used, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    root.sweep(str(tmp_path))
    os.close(held)
    assert not left.exists()
    assert used.exists()
    assert str(left) not in Path("/proc/self/mountinfo").read_text()


def test_the_devices_of_a_plain_process_are_not_the_hosts(tmp_path: Path, command: Twinhull) -> None:
    """Whoever deletes what a killed comparison left deletes nothing of the host."""
    settings = config.load()._replace(state=str(command.root / "state"), run=str(command.root / "run"))
    with Engine(settings) as engine, root.mounted_root(engine, engine.image("busybox"), f"{tmp_path}/plain") as place:
        assert os.stat(f"{place}/dev").st_dev != os.stat("/dev").st_dev
        assert sorted(os.listdir(f"{place}/dev")) == sorted([*root.DEVICES, *root.LINKS])
        Path(f"{place}/dev/null").write_text("gone")
        assert subprocess.check_output(["head", "-c", "3", f"{place}/dev/zero"]) == bytes(3)


def test_a_side_that_cannot_run_is_a_gap_and_the_other_is_measured(command: Twinhull) -> None:
    broken = Twinhull(command.root, settings={"vm_kernel": "/no/such/kernel"})
    done = broken("compare", "--subjects", "container,vm", "busybox", timeout_s=200)
    command.config.write_text("")

    assert done.exit_code == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "! No VM ran: vm_kernel /no/such/kernel: No such file or directory" in text
    assert "no VM ran" in text
    assert "RAM" in text
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_the_document_has_the_published_form_and_every_output_is_made_of_it(
    command: Twinhull, result: dict[str, Any], tmp_path: Path
) -> None:
    """Every key of the samples has a name of its own, so that a condition can ask for it."""
    saved, page = tmp_path / "saved.json", tmp_path / "report.html"
    saved.write_text(json.dumps(result))
    for form in FORMATS:
        conditions = ("--fail-if", "vm.startup < 1us", "--compare-with", str(saved))
        done = command("compare", "--from", str(saved), "--format", form, "--html", str(page), *conditions)
        assert done.exit_code == 0, done.stderr
        assert done.stdout
    assert page.read_text().startswith("<!DOCTYPE html>")
    keys = [key for key in result["samples"] if not quantities.is_part(key)]
    assert {key.partition(".")[0] for key in keys} <= quantities.SUBJECTS.keys()
    assert {key.partition(".")[2] for key in keys} <= quantities.BY_KEY.keys()


@pytest.mark.parametrize(("words", "code"), [(("nosuchcmd",), 127), (("/etc",), 126)])
def test_a_program_that_cannot_be_started_fails_before_anything_is_measured(
    command: Twinhull, words: tuple[str, ...], code: int
) -> None:
    done = command("compare", "--subjects", "container", "busybox", "--", *words)
    ran = command("run", "--rm", "--network", "none", "busybox", *words)
    assert done.exit_code == ran.exit_code == code
    assert done.stderr.splitlines()[-2:] == ran.stderr.splitlines()[-2:]
    assert "OS " not in done.stdout
    assert command.names() == []


def test_a_workload_that_fails_is_said_to(command: Twinhull, tmp_path: Path) -> None:
    words = ("--format", "json", "busybox", "--", "sh", "-c", "exit 3")
    done = command("compare", "--subjects", "container", *words, timeout_s=200, check=True)
    assert done.json()["exit_codes"] == {"container": 3}
    (tmp_path / "saved").write_text(done.stdout)
    shown = command("compare", "--from", str(tmp_path / "saved"), check=True).stdout
    assert " ".join(shown.split()).count("! The workload fails: it ended with status 3 in the container.") == 1
