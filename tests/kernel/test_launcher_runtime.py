"""The launcher around a runtime that is not ours: scripts that do what a runtime may do, and what it may not."""

from __future__ import annotations

import time
from errno import ECANCELED, ECHILD, EPROTO, ETIMEDOUT
from pathlib import Path

import pytest

from tests.support.launch import NEWNS, Launch
from twinhull.errors import LaunchError
from twinhull.plan.ops import Op

ENVIRONMENT = b"PATH=/usr/bin:/bin\0"
TIMEOUT_MS = 300


def plan(launch: Launch, script: str, *more: Op, timeout_ms: int = 0) -> list[Op]:
    """A root for a runtime that is this script; $1 is the bundle."""
    bundle = launch.scratch / "bundle"
    (bundle / "rootfs").mkdir(parents=True, exist_ok=True)
    words = f"sh\0-c\0{script}\0runtime\0{bundle}\0".encode()
    last = Op("runtime", ("/bin/sh", str(bundle), words, ENVIRONMENT, timeout_ms))
    return [*launch.outside(NEWNS), launch.overlay(), *more, last]


def test_the_process_that_a_runtime_leaves_is_the_main_process(launch: Launch) -> None:
    script = 'ls $1/rootfs/bin/busybox; sh -c "sleep 0.2; echo made; exit 6" & echo $! > $1/pid'
    done = launch.result(plan(launch, script))
    bundle = launch.scratch / "bundle"
    assert (done.exit_code, done.stdout) == (6, f"{bundle}/rootfs/bin/busybox\nmade\n"), done
    assert list((bundle / "rootfs").iterdir()) == []  # mounted where nobody else sees it


def test_it_is_started_by_a_hook_when_the_word_has_come(launch: Launch) -> None:
    bundle = launch.scratch / "bundle"
    words = f"sh\0-c\0echo go > {bundle}/go\0".encode()
    start = Op("hook", (1, "/bin/sh", words, ENVIRONMENT, 0, ""))
    script = 'sh -c "until [ -e $1/go ]; do sleep 0.02; done; cat $1/go" & echo $! > $1/pid'
    assert launch(plan(launch, script, start)) == "go\n"


def test_a_hook_that_fails_ends_what_was_made(launch: Launch) -> None:
    start = Op("hook", (1, "/bin/false", b"false\0", ENVIRONMENT, 0, ""))
    began = time.monotonic()
    with pytest.raises(LaunchError) as caught:
        launch(plan(launch, "sleep 1000 & echo $! > $1/pid", start))
    assert (caught.value.op, caught.value.errno) == ("hook", ECANCELED)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("script", "errno"),
    [
        ("exit 1", ECANCELED),
        ("echo nonsense > $1/pid", EPROTO),
        ("echo 1 > $1/pid", ECHILD),
        ("echo $PPID > $1/pid", ECHILD),
        ("exec sleep 1000", ETIMEDOUT),
    ],
)
def test_a_runtime_that_does_not_keep_to_it_is_refused(launch: Launch, script: str, errno: int) -> None:
    with pytest.raises(LaunchError) as caught:
        launch(plan(launch, f"exec 2>/dev/null; {script}", timeout_ms=TIMEOUT_MS))
    assert (caught.value.op, caught.value.errno) == ("runtime", errno)


def test_the_end_of_a_runtime_is_not_asked_what_became_of_it(launch: Launch, tmp_path: Path) -> None:
    for program, words in (
        ("/bin/touch", f"touch\0{tmp_path}/ended\0"),
        ("/bin/false", "false\0"),
        ("/none", "none\0"),
    ):
        op = Op("end-runtime", (0, program, words.encode(), ENVIRONMENT, 0, ""))
        assert launch.undo(op).exit_code == 0
    assert (tmp_path / "ended").exists()
