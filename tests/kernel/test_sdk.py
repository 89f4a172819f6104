"""The SDK: in-process, no daemon, the same for both isolations, and nothing left of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import twinhull
from twinhull.config import Config
from twinhull.engine.engine import Result
from twinhull.errors import CommandNotFound, Conflict, InvalidRequest, NotFound, NoWall
from twinhull.model import Request


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    root = tmp_path_factory.mktemp("sdk")
    found = Config(state=str(root / "state"), run=str(root / "run"), vm_spare=False)
    with twinhull.Engine(found) as engine:
        engine.run("twinhull/busybox", ["true"], request=Request("", network="none"), isolation="vm")
    return found


@pytest.fixture
def engine(config: Config) -> Iterator[twinhull.Engine]:
    with twinhull.Engine(config) as found:
        yield found


def quiet(**fields: str) -> Request:
    return Request("", network="none", **fields)  # type: ignore[arg-type]  # every field used here is text


@pytest.mark.parametrize("isolation", ["container", "vm"])
def test_run_gives_status_and_output(engine: twinhull.Engine, isolation: str) -> None:
    request = quiet(isolation=isolation)
    result = engine.run("twinhull/busybox", ["sh", "-c", "echo hi; echo no >&2; exit 3"], request=request)
    assert result == Result(3, b"hi\n", b"no\n")


RUN_AND_LIST_CHILDREN = """
import os, sys, twinhull
from twinhull.config import Config
from twinhull.model import Request
with twinhull.Engine(Config(state=sys.argv[1], run=sys.argv[2])) as engine:
    result = engine.run("twinhull/busybox", ["echo", "ran"], request=Request("", network="none"))
    children = open(f"/proc/self/task/{os.getpid()}/children").read().split()
    print(result.stdout, children, engine.ps(everything=True))
"""


def test_a_finished_run_leaves_no_child_and_no_zombie(config: Config) -> None:
    # In a program of its own: a test process adopts what others leave behind.
    words = [sys.executable, "-c", RUN_AND_LIST_CHILDREN, config.state, config.run]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    assert done.stdout == "b'ran\\n' [] []\n"


def test_stdin_larger_than_the_credit_goes_through(engine: twinhull.Engine) -> None:
    data = os.urandom(3 << 20)
    result = engine.run("twinhull/busybox", ["cat"], request=quiet(), stdin=data)
    assert result.stdout == data


def test_a_background_workload_is_found_used_and_removed(engine: twinhull.Engine) -> None:
    engine.run_attached(Request("twinhull/busybox", ("sleep", "100"), network="none", name="sdk"))[1].close()
    assert engine.exec("sdk", ["echo", "inside"]).stdout == b"inside\n"
    with pytest.raises(Conflict):
        engine.remove("sdk")
    engine.stop("sdk", timeout_s=0)
    assert engine.wait("sdk").code == 137
    engine.remove("sdk")
    with pytest.raises(NotFound):
        engine.find("sdk")


def test_errors_are_exceptions_with_a_code(engine: twinhull.Engine) -> None:
    with pytest.raises(CommandNotFound) as caught:
        engine.run("twinhull/busybox", ["nosuchprogram"], request=quiet())
    assert caught.value.exit_code == 127


@pytest.mark.parametrize("isolation", ["VM", "vm ", "virtual-machine", ""])
def test_a_word_that_is_no_isolation_never_means_one(engine: twinhull.Engine, isolation: str) -> None:
    with pytest.raises(InvalidRequest, match="no such isolation"):
        engine.run("twinhull/busybox", ["true"], request=quiet(isolation=isolation))


def test_a_text_is_no_command(engine: twinhull.Engine) -> None:
    with pytest.raises(InvalidRequest, match="list of words"):
        engine.run("twinhull/busybox", "echo hi", request=quiet())  # type: ignore[arg-type]  # what is tested


@pytest.mark.parametrize("words", [(None, ["true"]), (b"busybox", ["true"]), ("busybox", [1]), ("busybox", None)])
def test_values_of_a_wrong_type_are_refused(engine: twinhull.Engine, words: tuple[Any, Any]) -> None:
    with pytest.raises(InvalidRequest, match=r"not (None|b'busybox'|\[1\])"):
        engine.run(*words, request=quiet())


@pytest.mark.parametrize("isolation", ["container", "vm"])
def test_an_empty_word_is_a_program_that_is_not_there(engine: twinhull.Engine, isolation: str) -> None:
    with pytest.raises(CommandNotFound):
        engine.run("twinhull/busybox", [""], request=quiet(isolation=isolation))


def test_advice_and_the_refusal_of_untrusted_code_are_values_and_errors(engine: twinhull.Engine) -> None:
    trusted = engine.advise(Request("twinhull/busybox", ("true",), network="none"), prove=True)
    assert trusted.advice.choice == "container"
    assert trusted.command == "twinhull run --isolation=container --network=none twinhull/busybox true"
    kvm = trusted.question.here.accelerator == "kvm"
    untrusted = engine.advise(Request("twinhull/busybox"), twinhull.Wishes(untrusted=True))
    assert untrusted.advice.choice == ("vm" if kvm else "stop")
    request = Request("", network="none", untrusted=True)
    with pytest.raises(InvalidRequest, match="contradict"):
        engine.run("twinhull/busybox", ["true"], request=request, isolation="container")
    if kvm:
        assert engine.run("twinhull/busybox", ["true"], request=request, isolation="auto").exit_code == 0
        return
    with pytest.raises(NoWall, match="KVM is missing"):
        engine.run("twinhull/busybox", ["true"], request=request, isolation="auto")


def test_importing_the_package_imports_nothing_heavy() -> None:
    script = "import sys, twinhull; print(sorted(set(sys.modules) & {'json', 'sqlite3', 'argparse', 'typing'}))"
    environment = {"PYTHONPATH": "src"}
    done = subprocess.run(
        ["/usr/bin/python3", "-S", "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_closed_engine_says_so(config: Config) -> None:
    with twinhull.Engine(config) as engine:
        engine.close()
    with pytest.raises(InvalidRequest, match="closed"):
        engine.run("twinhull/busybox", ["true"])
