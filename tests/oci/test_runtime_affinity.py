"""The processors that a container's processes run on."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.support.oci import Container

OURS = sorted(os.sched_getaffinity(0))
SHOWN = ("grep", "Cpus_allowed_list", "/proc/self/status")

pytestmark = pytest.mark.skipif(len(OURS) < 2, reason="one processor: nothing to choose from")


def bound(ours: Container, *words: str) -> str:
    """What a command of the runtime says to a caller that may use the first processor only."""
    said = ours.scratch / "said"  # a file, for the container's process inherits it
    with said.open("w") as output:
        argv = ["taskset", "--cpu-list", str(OURS[0]), *ours.argv(*words)]
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=60, check=True)
    return said.read_text()


def allowed(shown: str) -> set[int]:
    """The numbers in a line of /proc/PID/status."""
    ends = [part.partition("-") for part in shown.split()[-1].split(",")]
    return {number for first, _, last in ends for number in range(int(first), int(last or first) + 1)}


@pytest.mark.parametrize("cpus", ["", str(OURS[1])])
def test_the_callers_processors_are_not_the_containers(ours: Container, cpus: str) -> None:
    ours.spec["process"]["args"] = ["sleep", "100"]
    if cpus:
        ours.spec["linux"].setdefault("resources", {})["cpu"] = {"cpus": cpus, "mems": "0"}
    ours.write()
    wanted = {int(cpus)} if cpus else set(OURS)
    bound(ours, "create", "--bundle", str(ours.bundle), ours.id)
    ours.do("start", ours.id)
    with open(f"/proc/{ours.state()['pid']}/status") as status:
        main = next(line for line in status if line.startswith("Cpus_allowed_list"))
    assert allowed(main) >= wanted and (not cpus or allowed(main) == wanted)
    assert allowed(bound(ours, "exec", ours.id, *SHOWN)) == allowed(main)


def test_exec_has_the_processors_that_are_asked_for(ours: Container) -> None:
    """`initial` is what it has until it is in its groups, which nobody sees; neither is for the first process."""
    first, second = OURS[:2]
    ours.spec["process"]["execCPUAffinity"] = {"initial": str(first), "final": str(second)}
    ours.begin()
    assert allowed(ours.exec(*SHOWN).stdout) == {second}
    with open(f"/proc/{ours.state()['pid']}/status") as status:
        assert f"Cpus_allowed_list:\t{second}\n" not in status.read()
    assert allowed(run_with(ours, {"initial": f"{first}"}).stdout) >= {first, second}
    assert allowed(run_with(ours, {"final": f"{first}, {second}"}).stdout) == {first, second}
    for given, field in (
        ({"initial": "9-1"}, "initial"),
        ({"final": "one"}, "final"),
        ({"final": "8000"}, "final"),
        ({"initial": "8000"}, "initial"),
        ({"final": "9999999"}, "final"),
    ):
        refused = run_with(ours, given)
        assert refused.returncode == 255 and f"process.execCPUAffinity.{field}: " in refused.stderr, refused.stderr


def run_with(ours: Container, affinity: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """One more process, by its own section."""
    process = {**ours.spec["process"], "args": [*SHOWN], "execCPUAffinity": affinity}
    (ours.scratch / "process.json").write_text(json.dumps(process))
    return ours.do("exec", "--process", str(ours.scratch / "process.json"), ours.id, check=False)
