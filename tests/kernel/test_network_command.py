"""The network as a user of the command meets it: ports, names, errors."""

from __future__ import annotations

import os
import socket

import pytest

from tests.support.answers import free_port
from tests.support.command import Twinhull
from twinhull.config import Config
from twinhull.network import bridge


def test_a_port_published_twice_in_one_command_blames_the_command(twinhull: Twinhull) -> None:
    port = str(free_port())
    refused = twinhull("run", "--rm", "-p", f"{port}:80", "-p", f"{port}:81", "busybox", "true")
    assert (refused.exit_code, f"port {port}/tcp is published twice" in refused.stderr) == (125, True), refused


def test_a_port_of_the_host_is_one_clear_error(twinhull: Twinhull) -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        refused = twinhull("run", "--rm", "-p", f"{port}:80", "busybox", "true")
    assert refused.exit_code == 125
    assert f"port {port} is in use by a process of the host" in refused.stderr


def test_an_address_that_the_host_does_not_have_is_one_clear_error(twinhull: Twinhull) -> None:
    refused = twinhull("run", "--rm", "-p", "192.0.2.200:80:80", "busybox", "true")
    assert refused.exit_code == 125
    assert "the host does not have the address" in refused.stderr


@pytest.mark.parametrize("words", [("db",), ("--hostname", "db")])
def test_a_workload_finds_another_by_name(twinhull: Twinhull, words: tuple[str, ...]) -> None:
    options = words if len(words) == 2 else ("--name", *words)
    twinhull("run", "-d", *options, "busybox", "sleep", "60", check=True)
    found = twinhull("run", "--rm", "busybox", "nslookup", "db", check=True)
    assert "Name:\tdb" in found.stdout


def test_a_workload_knows_its_own_name_and_has_nobody_elses_resolver(twinhull: Twinhull) -> None:
    said = twinhull("run", "--rm", "--hostname", "me", "busybox", "cat", "/etc/hosts", "/etc/resolv.conf", check=True)
    assert "\tme\n" in said.stdout
    assert "nameserver 127." not in said.stdout


def test_a_network_that_there_is_not_is_one_clear_error(twinhull: Twinhull) -> None:
    for verb in ("run", "create"):
        refused = twinhull(verb, "--network", "nosuch", "busybox", "true")
        assert (refused.exit_code, "no such network: nosuch" in refused.stderr) == (125, True), refused
    assert twinhull.names() == []


def test_ports_of_a_workload_on_an_internal_network_are_refused(twinhull: Twinhull) -> None:
    twinhull("network", "create", "--internal", "vault", check=True)
    refused = twinhull("run", "--rm", "--network", "vault", "-p", "8080:80", "busybox", "true")
    assert (refused.exit_code, "network 'vault' is internal" in refused.stderr) == (125, True), refused


def test_networks_without_workloads_are_pruned(twinhull: Twinhull) -> None:
    twinhull("network", "create", "--subnet", "10.143.0.0/24", "-l", "a=b", "back", check=True)
    twinhull("run", "--rm", "--network", "back", "busybox", "true", check=True)
    assert twinhull("network", "prune", "--force", check=True).stdout == "back\n"
    assert "back" not in [row["name"] for row in twinhull("network", "ls", "--format", "json", check=True).json()]


def test_prune_takes_away_what_the_host_has_of_the_default_network(twinhull: Twinhull) -> None:
    twinhull("run", "-d", "--name", "stays", "busybox", "sleep", "60", check=True)
    assert twinhull("network", "prune", "--force", check=True).stdout == "", "a workload is on it"
    twinhull("rm", "--force", "stays", check=True)
    links = bridges(twinhull)
    assert links
    assert twinhull("network", "prune", "--force", check=True).stdout == "bridge\n"
    assert not links & set(os.listdir("/sys/class/net"))
    assert twinhull("network", "prune", "--force", check=True).stdout == ""
    twinhull("run", "--rm", "busybox", "true", check=True)
    assert bridges(twinhull) == links


def bridges(twinhull: Twinhull) -> set[str]:
    """The links of a state directory's networks."""
    config = Config(state=str(twinhull.root / "state"), run=str(twinhull.root / "run"))
    return {name for name in os.listdir("/sys/class/net") if name.startswith(bridge.link_name(config))}
