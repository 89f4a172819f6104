"""The attacks on a container, tried on one of a user without root: what stops them there is the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.security import test_joining as joining
from tests.security import test_system_calls as calls
from tests.security.conftest import Box
from tests.support.rootless import Rootless

ATTACKS = (
    calls.test_every_forbidden_system_call_is_refused_by_the_filter,
    calls.test_the_filter_holds_for_exec_and_for_another_user_too,
    joining.test_the_launcher_cannot_be_overwritten_by_a_workload_that_executes_it,
    joining.test_a_process_that_joins_can_be_neither_traced_nor_read,
)


@pytest.fixture
def own_box(rootless: Rootless, attack: Path) -> Box:
    """A container of the user's, with the hostile program."""
    attack.chmod(0o755)
    shared = rootless.home / "shared"
    shared.mkdir()
    rootless.give(shared)
    words = ("--network", "none", "-v", f"{attack}:/attack:ro", "-v", f"{shared}:/shared")
    started = rootless("run", "-d", *words, "--name", "container", "busybox", "sleep", "100000", check=True)
    return Box(rootless, "container", started.stdout.strip(), words, shared)


@pytest.mark.parametrize("tried", ATTACKS, ids=lambda tried: tried.__name__)
def test_an_attack_fails_without_root_as_with_it(own_box: Box, tried: Callable[[Box], None]) -> None:
    tried(own_box)


def test_no_device_of_the_machine_can_be_made(own_box: Box) -> None:
    made = own_box.sh("for n in '1 1' '1 2' '8 0' '10 232'; do mknod /dev/it c $n && cat /dev/it; rm -f /dev/it; done")
    assert made.count("Operation not permitted") == 4, made


def test_what_is_roots_is_out_of_reach_for_roots_name_inside(own_box: Box, rootless: Rootless) -> None:
    secret = rootless.home / "secret"
    secret.write_text("root's own")
    secret.chmod(0o600)
    words = ("run", "--rm", "--network", "none", "--privileged", "-v", f"{rootless.home}:/h", "busybox")
    done = rootless(*words, "sh", "-c", "cat /h/secret; chmod 666 /h/secret; chown 0 /h/secret; echo over >/h/secret")
    assert done.stderr.count("ermi") == 4, done.stderr
    assert (secret.read_text(), secret.stat().st_uid) == ("root's own", 0)
