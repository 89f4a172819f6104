"""The network as a user of the command meets it: ports, names, errors."""

from __future__ import annotations

import socket
import time

import pytest

from tests.support.command import Twinhull

READY_S = 10.0


def free_port() -> int:
    with socket.create_server(("0.0.0.0", 0)) as probe:
        return int(probe.getsockname()[1])


def fetch(port: int, address: str = "127.0.0.1") -> str:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            with socket.create_connection((address, port), timeout=1) as sock:
                if said := sock.recv(100).decode():
                    return said
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def test_a_published_port_answers_and_is_free_again_after_stop(twinhull: Twinhull) -> None:
    port = free_port()
    script = "while :; do echo hello | nc -l -p 80; done"
    twinhull("run", "-d", "--name", "web", "-p", f"{port}:80", "busybox", "sh", "-c", script, check=True)
    assert fetch(port) == "hello\n"
    refused = twinhull("run", "-d", "-p", f"{port}:80", "busybox", "true")
    assert (refused.exit_code, f"port {port}/tcp is in use by web" in refused.stderr) == (125, True), refused
    twinhull("rm", "--force", "web", check=True)
    twinhull("run", "--rm", "-p", f"{port}:80", "busybox", "true", check=True)


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


@pytest.mark.parametrize("isolation", ["container", "vm"])
def test_a_workload_on_a_network_of_ones_own_has_its_address_and_its_aliases_there(
    twinhull: Twinhull, isolation: str
) -> None:
    twinhull("network", "create", "--subnet", "10.143.0.0/24", "-l", "a=b", "back", check=True)
    words = ("--network", "back", "--network-alias", "cache", "--ip", "10.143.0.9", "--name", "db")
    twinhull("run", "-d", "--isolation", isolation, *words, "busybox", "sleep", "60", check=True)
    (found,) = twinhull("network", "inspect", "back", check=True).json()
    assert [(one["name"], one["address"], one["aliases"]) for one in found["workloads"]] == [
        ("db", "10.143.0.9", ["cache"])
    ]
    ping = ("ping", "-c", "1", "-W", "5", "cache")
    assert "10.143.0.9" in twinhull("run", "--rm", "--network", "back", "busybox", *ping, check=True).stdout
    assert twinhull("run", "--rm", "busybox", *ping).exit_code != 0, "the name was told to another network"
    refused = twinhull("network", "rm", "back")
    assert (refused.exit_code, "has workloads" in refused.stderr) == (1, True), refused
    taken = twinhull("run", "--rm", "--network", "back", "--ip", "10.143.0.9", "busybox", "true")
    assert (taken.exit_code, "address 10.143.0.9 is in use by db" in taken.stderr) == (125, True), taken
    twinhull("rm", "--force", "db", check=True)
    twinhull("run", "--rm", "--network", "back", "busybox", "true", check=True)
    assert twinhull("network", "prune", "--force", check=True).stdout == "back\n"
    assert "back" not in [row["name"] for row in twinhull("network", "ls", "--format", "json", check=True).json()]


def test_a_network_that_there_is_not_is_one_clear_error(twinhull: Twinhull) -> None:
    for verb in ("run", "create"):
        refused = twinhull(verb, "--network", "nosuch", "busybox", "true")
        assert (refused.exit_code, "no such network: nosuch" in refused.stderr) == (125, True), refused
    assert twinhull.names() == []


def test_ports_of_a_workload_on_an_internal_network_are_refused(twinhull: Twinhull) -> None:
    twinhull("network", "create", "--internal", "vault", check=True)
    refused = twinhull("run", "--rm", "--network", "vault", "-p", "8080:80", "busybox", "true")
    assert (refused.exit_code, "network 'vault' is internal" in refused.stderr) == (125, True), refused


@pytest.mark.parametrize("isolation", ["container", "vm"])
def test_exposed_ports_are_published_on_free_ones_and_shown(twinhull: Twinhull, isolation: str) -> None:
    port = free_port()
    words = ("-P", "--expose", "80", "--expose", "90/udp", "-p", f"127.0.0.1:{port}:70")
    script = "while :; do echo hello | nc -l -p 80; done"
    run = ("run", "-d", "--isolation", isolation, "--name", "web", *words, "busybox", "sh", "-c", script)
    twinhull(*run, check=True)
    lines = twinhull("port", "web", check=True).stdout.splitlines()
    assert [line.split(" -> ")[0] for line in lines] == ["70/tcp", "80/tcp", "90/udp"]
    assert lines[0] == f"70/tcp -> 127.0.0.1:{port}"
    where = twinhull("port", "web", "80", check=True).stdout.strip()
    assert fetch(int(where.removeprefix("0.0.0.0:"))) == "hello\n"
    rows = twinhull("port", "--format", "json", "web", "90/udp", check=True).json()
    assert [(row["port"], row["protocol"]) for row in rows] == [(90, "udp")]
    refused = twinhull("port", "web", "81")
    assert (refused.exit_code, "does not publish port 81" in refused.stderr) == (125, True), refused
