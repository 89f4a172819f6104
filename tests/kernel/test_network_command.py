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
