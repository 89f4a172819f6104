"""A whole operating system: Debian with systemd, made of packages, booted once for everything that is asked of it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.command import Twinhull
from tests.support.machines import share_disks
from twinhull.config import Config
from twinhull.engine import Engine
from twinhull.errors import HostUnfit
from twinhull.machine import agent, debian
from twinhull.machine.clock import Clock
from twinhull.machine.inside import Inside

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
BUILD_S = 500.0


class Booted(NamedTuple):
    """A Debian that is up, and what was seen on the way."""

    twinhull: Twinhull
    config: Config
    disk: Path
    digest: str
    clock: Clock
    inside: Inside

    def ask(self, script: str) -> str:
        """What a script of its shell prints."""
        with Engine(self.config) as engine:
            directory = engine.home.directory(engine.find("debian").id)
        with agent.asking(directory, 60) as guest:
            code, text = guest.run("/bin/sh", "-c", script)
        assert code == 0, text
        return text


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    """Made by the command, in the cache of the tests; switched on by the engine, with the clock running."""
    root = tmp_path_factory.mktemp("debian")
    command = Twinhull(root)
    share_disks(command)
    command("machine", "create", "debian", "--debian", check=True, timeout_s=BUILD_S)
    config = Config(state=str(root / "state"), run=str(root / "run"), vm_spare=False)
    disk = Path(debian.obtain(config))
    digest = hashlib.sha256(disk.read_bytes()).hexdigest()
    try:
        with Engine(config) as engine:
            clock, inside = engine.start_clocked("debian"), engine.inside("debian", wait_s=120)
        yield Booted(command, config, disk, digest, clock, inside)
    finally:
        command.remove_all()


def test_the_parts_of_its_start_follow_each_other(booted: Booted) -> None:
    clock = booted.clock
    events = (clock.spawned, clock.console, clock.kernel, clock.kernel_line, clock.init, clock.up)
    assert None not in events, clock
    assert list(events) == sorted(event for event in events if event is not None), clock


def test_advice_knows_the_modules_of_its_kernel(booted: Booted) -> None:
    """A disk that an earlier version made has no list: then nothing is known."""
    listed = debian.modules(booted.config)
    if listed is None:
        assert not Path(debian.list_of(str(booted.disk))).exists()
        return
    loaded = booted.ask("cut -d' ' -f1 /proc/modules").split()
    assert set(loaded) <= listed, set(loaded) - listed
    assert "no_such" not in listed


def test_it_is_a_whole_system_with_its_own_kernel_and_init(booted: Booted) -> None:
    inside = booted.inside
    assert inside.system.name.startswith("Debian GNU/Linux")
    assert inside.system.kernel not in ("", os.uname().release)
    assert inside.init == "systemd"
    assert {"systemd-journald", "systemd-networkd", "systemd-logind", "qemu-guest-agent"} <= set(inside.services)
    assert inside.processes >= len(inside.services)
    assert inside.threads > 0
    assert 0 < inside.memory_used_bytes < inside.memory_bytes < 512 << 20


def test_its_root_is_a_journaled_file_system_on_its_own_disk(booted: Booted) -> None:
    root = next(line.split() for line in booted.ask("cat /proc/mounts").splitlines() if line.split()[1] == "/")
    assert (root[0], root[2]) == ("/dev/vda1", "ext4")
    assert "rw" in root[3].split(",")
    booted.ask("echo kept > /root/kept; sync")
    assert hashlib.sha256(booted.disk.read_bytes()).hexdigest() == booted.digest, "the given file was written"


def test_it_has_its_name_its_address_and_the_names_of_others(booted: Booted) -> None:
    command = booted.twinhull
    command("run", "-d", "--name", "peer", "busybox", "sleep", "1000", check=True)
    try:
        assert "1 received" in booted.ask("ping -c 1 -W 5 peer")
        assert "1 packets received" in command("exec", "peer", "ping", "-c", "1", "-W", "5", "debian").stdout
        assert booted.ask("hostname") == "debian\n"
    finally:
        command("rm", "-f", "peer")


def test_nothing_failed_to_start_and_its_identity_is_its_own(booted: Booted) -> None:
    assert booted.ask("systemctl is-system-running --wait; systemctl --failed --no-legend") == "running\n"
    assert len(booted.ask("cat /etc/machine-id").strip()) == 32


def test_the_stack_shows_its_system_and_its_services(booted: Booted) -> None:
    layers = booted.twinhull("machine", "stack", "debian", "--format", "json", check=True).json()
    assert [layer["level"] for layer in layers] == ["Infrastructure", "Host OS", "Hypervisor", "Guest OS", "Services"]
    assert layers[3]["name"] == booted.inside.system.name
    assert f"Linux {booted.inside.system.kernel}" in layers[3]["details"]
    assert "qemu-guest-agent" in " ".join(layers[4]["details"])
    shown = [booted.twinhull(*words, "stack", "debian", check=True).stdout for words in ((), ("machine",))]
    same, other = (re.sub(r"\d+ process", "N process", text) for text in shown)  # their number is the system's affair
    assert same == other


def test_its_power_button_ends_it_in_order(booted: Booted) -> None:
    """It is off afterwards."""
    booted.twinhull("machine", "stop", "debian", check=True, timeout_s=90)
    (row,) = booted.twinhull("ps", "-a", "--format", "json").json()
    assert (row["status"], row["exit_code"]) == ("exited", 0)
    assert "systemd-shutdown" in booted.twinhull("machine", "logs", "-n", "100", "debian").stdout


def test_a_comparison_has_it_as_its_third_side(booted: Booted) -> None:
    words = ("compare", "--subjects", "container,machine", "--format", "json", "busybox", "--", "echo", "hi")
    found = booted.twinhull(*words, check=True, timeout_s=500).json()

    assert {"container", "machine"} <= {one["name"] for one in found["subjects"] if not one["gap"]}
    cells = {row["topic"]: row["machine"] for row in found["rows"]}
    assert list(cells) == ["OS", "Startup", "Isolation", "Resources", "Portability", "Use cases"]
    assert booted.inside.system.kernel in str(cells["OS"])
    medians = {key: figures["median"] for key, figures in found["statistics"].items()}
    assert medians["machine.first_output_s"] > 10 * medians["container.first_output_s"], "it boots a whole system"
    assert medians["machine.stop_s"] > 0
    assert [layer["layer"] for layer in found["stacks"]["machine"]][-1] == "Services"
    assert booted.twinhull("ps", "-a", "--format", "json").json() != [], "the one that was there stays"
    assert [row["name"] for row in booted.twinhull("ps", "-a", "--format", "json").json()] == ["debian"]


def test_a_disk_that_cannot_be_made_leaves_nothing_and_says_why(root: Path) -> None:
    """A host whose package sources are of no use; another would wait for the network."""
    sources = root / "broken.list"
    sources.write_text("deb [trusted=yes] file:/nowhere broken main\n")
    source = debian.Source("broken", (str(sources),))
    with pytest.raises(HostUnfit, match="the Debian disk cannot be made") as caught:
        debian.make(str(root), str(root / "disk.qcow2"), source, lambda _: None)
    assert "apt-get" in caught.value.hint
    assert sorted(os.listdir(root)) == ["broken.list"]
