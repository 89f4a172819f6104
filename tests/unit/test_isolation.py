"""What becomes of `auto` and of code that is not trusted, without starting anything."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from twinhull.config import Config
from twinhull.engine import abilities, isolation
from twinhull.engine.state import Home, open_home
from twinhull.errors import HostUnfit, InvalidRequest, NoWall
from twinhull.host import facts, modules
from twinhull.model import Image, Request, Volume

AUTO = Request("app", isolation="auto")
UNTRUSTED = AUTO._replace(untrusted=True)
ACCEPTED = UNTRUSTED._replace(accept_weak_wall=True)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A state in which no guest has proven anything."""
    found = open_home(Config(state=str(tmp_path / "state"), run=str(tmp_path / "run")))
    yield found
    found.db.close()


def image(platform: str) -> Image:
    return Image("sha256:0", "sha256:1", platform, "{}", (), 0)


OWN = image(f"linux/{facts.architecture()}")


def settle(home: Home, request: Request, found: Image | None = OWN) -> Request:
    return isolation.settle(home, request, found, prove=False)


def test_auto_is_a_container_where_the_hosts_kernel_serves(home: Home) -> None:
    assert settle(home, AUTO) == AUTO._replace(isolation="container")
    assert settle(home, AUTO._replace(network="host")).isolation == "container"


@pytest.mark.parametrize("request_", [UNTRUSTED, UNTRUSTED._replace(isolation="vm")])
@pytest.mark.parametrize("found", [None, OWN])
def test_what_is_not_trusted_stops_without_a_proof_of_kvm(home: Home, request_: Request, found: Image | None) -> None:
    with pytest.raises(NoWall) as caught:
        settle(home, request_, found)
    assert caught.value.exit_code == 125
    assert "app is not trusted, and nothing here is a wall for it" in caught.value.message
    assert "--accept-weak-wall" in caught.value.hint


def test_a_container_and_untrusted_code_contradict_each_other(home: Home) -> None:
    with pytest.raises(InvalidRequest, match="contradict"):
        settle(home, UNTRUSTED._replace(isolation="container"))


def test_a_weak_wall_is_accepted_for_untrusted_code_only(home: Home) -> None:
    with pytest.raises(InvalidRequest, match="trusted"):
        settle(home, AUTO._replace(accept_weak_wall=True))


def test_who_accepts_a_weak_wall_gets_what_he_names_and_by_auto_a_guest(home: Home) -> None:
    for choice in ("container", "vm"):
        named = ACCEPTED._replace(isolation=choice)
        assert settle(home, named) == named
    if not abilities.hypervisor(home).gap:
        assert settle(home, ACCEPTED) == ACCEPTED._replace(isolation="vm")
    with pytest.raises(HostUnfit, match="shares the host's network"):
        settle(home, ACCEPTED._replace(network="host"))


def test_paths_of_the_host_are_warned_of_in_one_line_where_a_weak_wall_is_accepted() -> None:
    volumes = (Volume("/a\nb", "/x"), Volume("/c", "/y", readonly=True), Volume("data", "/z", kind="volume"))
    told = "warning: code that is not trusted reaches these paths of the host: /a?b, /c (read-only)"
    assert isolation.warning(ACCEPTED._replace(volumes=volumes)) == told
    assert isolation.warning(ACCEPTED._replace(volumes=volumes[2:])) == ""
    assert isolation.warning(UNTRUSTED._replace(volumes=volumes)) == ""


def test_another_operating_system_takes_a_machine(home: Home) -> None:
    with pytest.raises(HostUnfit, match="it takes a machine") as caught:
        settle(home, AUTO, image("windows/amd64"))
    assert "twinhull machine create" in caught.value.hint


def test_a_processor_that_nothing_here_executes_is_refused(home: Home) -> None:
    names = ("riscv64", "s390x", "ppc64le")
    foreign = next(name for name in names if name not in abilities.executed(facts.architecture()))
    with pytest.raises(HostUnfit, match=f"does not execute programs for {foreign}"):
        settle(home, AUTO, image(f"linux/{foreign}"))


def test_a_door_is_seen_behind_a_link(home: Home, tmp_path: Path) -> None:
    link = tmp_path / "innocent"
    link.symlink_to("/")
    for source in (str(link), home.config.state, f"{link}/etc"):
        assert isolation.needs(home, AUTO._replace(volumes=(Volume(source, "/x"),))).doors, source
    (tmp_path / "site").mkdir()
    harmless = isolation.needs(home, AUTO._replace(volumes=(Volume(str(tmp_path / "site"), "/x"),)))
    assert (harmless.sockets, harmless.doors) == ((), ())


def test_a_socket_is_one_whatever_its_name(home: Home, tmp_path: Path) -> None:
    path = str(tmp_path / "some.thing")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        assert isolation.needs(home, AUTO._replace(volumes=(Volume(path, "/x"),))).sockets == (path,)


def test_a_module_that_is_loaded_is_there_by_either_spelling() -> None:
    loaded = sorted(name for name in os.listdir("/sys/module") if "_" in name)
    for name in loaded[:1]:
        assert modules.has(name)
        assert modules.has(name.replace("_", "-"))
    assert not modules.has("no_such_module")


def test_an_interpreter_serves_containers_only_if_it_is_enabled_and_was_opened(tmp_path: Path) -> None:
    for text, serves in [
        ("enabled\ninterpreter /usr/bin/qemu-arm\nflags: OCF\n", True),
        ("enabled\ninterpreter /usr/bin/qemu-arm\nflags: OC\n", False),
        ("disabled\ninterpreter /usr/bin/qemu-arm\nflags: F\n", False),
        ("", False),
    ]:
        (tmp_path / "entry").write_text(text)
        assert abilities.serves_containers(str(tmp_path / "entry")) is serves
