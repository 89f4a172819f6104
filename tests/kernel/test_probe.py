"""The probe tells what the kernel shows a process, from wherever it runs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from twinhull.compare.findings import NAMESPACES, number, parse_probe, shared_namespaces
from twinhull.host.machine import namespace

LAUNCHER = Path(__file__).parents[2] / "src/twinhull/bin/launcher"


@pytest.fixture(autouse=True)
def built() -> None:
    if not LAUNCHER.exists():
        pytest.skip("needs the launcher (make launcher)")


def probe(*before: str) -> dict[str, str]:
    done = subprocess.run([*before, str(LAUNCHER), "probe"], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    return parse_probe(done.stdout)


def test_it_sees_the_host_as_the_host_is() -> None:
    facts = probe()

    assert facts["release"] == os.uname().release
    assert facts["boot-id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert facts["uid"] == str(os.getuid())
    assert [facts[f"namespace-{name}"] for name in NAMESPACES] == [str(namespace("self", name)) for name in NAMESPACES]


def test_it_shows_which_namespaces_are_shared() -> None:
    shared, own = shared_namespaces(probe("unshare", "--uts", "--ipc"), probe())

    assert own == ("ipc", "uts")
    assert "net" in shared


def test_a_process_without_privileges_reaches_fewer_calls() -> None:
    free = probe()
    bare = probe("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--reuid=65534", "--clear-groups")

    reached = [number(facts, "syscalls-answered") or 0 for facts in (free, bare)]
    assert reached[1] < reached[0] <= (number(free, "syscalls-tried") or 0)
    assert bare["capabilities"].split() == ["0" * 16]


def test_trying_every_call_harms_nothing_around_it() -> None:
    hostname, mounts = os.uname().nodename, Path("/proc/self/mountinfo").read_text()

    first, second = probe(), probe()

    assert first["syscalls-list"] == second["syscalls-list"]
    assert (os.uname().nodename, Path("/proc/self/mountinfo").read_text()) == (hostname, mounts)


def test_waiting_says_ready_and_stays() -> None:
    with subprocess.Popen([str(LAUNCHER), "probe", "wait"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        assert process.poll() is None
        process.kill()
