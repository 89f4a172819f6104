"""The short verbs without an interpreter: they do the same, and leave to it what they cannot do, untouched."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.oci import RUNTIMES as COMMANDS
from tests.support.oci import TWINHULL_OCI, WITHOUT_FRONT, Container
from twinhull.runtime.oci.launcher import launcher

NOWHERE = "/no/such/interpreter"


def front(container: Container, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a verb where there is no interpreter to leave it to."""
    argv = [launcher(), f"oci {NOWHERE}", str(TWINHULL_OCI), *container.argv(*words)[1:]]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


def done(container: Container, *words: str) -> str:
    """Run a verb that needs no interpreter."""
    result = front(container, *words)
    assert (result.returncode, result.stderr) == (0, ""), words
    return result.stdout


def test_start_state_kill_and_delete_need_no_interpreter(ours: Container) -> None:
    ours.spec["annotations"] = {"a": 'quoted " and ünusual', '"status": "running"': ""}
    ours.id = f"running-{ours.id}"
    ours.create()
    for verb in ((), ("start", ours.id), ("kill", ours.id, "sigkill")):
        if verb:
            done(ours, *verb)
        if "kill" in verb:
            ours.await_status("stopped")
        shown = done(ours, "state", ours.id)
        ours.runtime = WITHOUT_FRONT
        assert shown == ours.do("state", ours.id).stdout
        ours.runtime = "twinhull-oci"
    done(ours, "delete", ours.id)
    assert not (ours.scratch / "state" / ours.id).exists()
    done(ours, "delete", "--force", ours.id)


def test_a_forced_delete_kills_and_a_signal_to_all_reaches_a_group(ours: Container) -> None:
    ours.begin()
    done(ours, "kill", "--all", ours.id, "9")
    ours.await_status("stopped")
    done(ours, "delete", ours.id)
    ours.begin()
    done(ours, "delete", "--force", ours.id)


@pytest.mark.parametrize(
    "words",
    [
        *(("start",), ("delete",), ("kill", "--what"), ("state", "--help")),
        *(("exec",), ("kill", "NONESUCH"), ("delete", "--force=true")),
    ],
    ids=" ".join,
)
def test_what_it_cannot_do_it_leaves_untouched(ours: Container, words: tuple[str, ...]) -> None:
    ours.begin()
    verb, *rest = words
    options = [word for word in rest if word.startswith("-")]
    left = front(ours, verb, *options, ours.id, *(word for word in rest if word not in options))
    assert (left.returncode, left.stderr) == (127, f"{NOWHERE}: No such file or directory\n")
    assert ours.state()["status"] == "running"


def test_hooks_of_the_end_are_left_to_the_interpreter(ours: Container) -> None:
    mark = ours.scratch / "mark"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"echo ran >>{mark}"]}
    ours.spec["hooks"] = {"poststart": [hook], "poststop": [hook]}
    ours.create()
    assert front(ours, "start", ours.id).returncode == 127
    assert ours.state()["status"] == "created"
    ours.start()
    ours.do("kill", ours.id, "KILL")
    ours.await_status("stopped")
    assert front(ours, "delete", ours.id).returncode == 127
    ours.do("delete", ours.id)
    assert mark.read_text() == "ran\nran\n"


def test_both_say_the_same_of_an_exec_that_fails(ours: Container) -> None:
    (ours.bundle / "rootfs/garbage").write_bytes(b"\x7fELF garbage")
    (ours.bundle / "rootfs/garbage").chmod(0o755)
    said = []
    for runtime in ("twinhull-oci", WITHOUT_FRONT):
        ours.runtime = runtime
        ours.args("/garbage").create()
        failed = ours.do("start", ours.id, check=False)
        again = ours.do("start", ours.id, check=False)
        said.append((failed.returncode, failed.stderr, again.returncode, again.stderr))
        ours.do("delete", ours.id)
    assert said[0] == said[1] and said[0][1].endswith("exec format error\n") and "stopped" in said[0][3]


def test_the_command_is_run_by_the_launcher(ours: Container) -> None:
    assert COMMANDS[ours.runtime] == [str(TWINHULL_OCI)]
    first = Path(TWINHULL_OCI).read_text().splitlines()[0]
    assert first.startswith(f"#!{launcher()} oci /"), first
