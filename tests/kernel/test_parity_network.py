"""Networks, the same behind either wall: ports, names, addresses, several networks, joining and leaving them."""

from __future__ import annotations

import subprocess
import time

import pytest

from tests.support.answers import fetch, free_port
from tests.support.wall import Wall
from twinhull.errors import GuestError
from twinhull.runtime import qmp

BACK, VAULT, SIX = "10.144.1", "10.144.2", "fd33:aa55:1:"
SERVE = ("busybox", "sh", "-c", "while :; do echo hello | nc -l -p 80; done")
IDLE = ("busybox", "sleep", "600")
PING = ("ping", "-c", "1", "-W", "9")


def make_networks(wall: Wall) -> None:
    """Two networks, of which one is internal, with somebody on each; the fixture removes them."""
    wall("network", "create", "--subnet", f"{BACK}.0/24", "back", check=True)
    wall("network", "create", "--subnet", f"{VAULT}.0/24", "--internal", "vault", check=True)
    wall("run", "-d", "--network", "back", "--name", "web", *IDLE, check=True)
    wall("run", "-d", "--network", "vault", "--name", "db", *IDLE, check=True)


@pytest.mark.parity("`-p`, and its port free again after the end")
def test_a_published_port_answers_and_is_free_again_after_the_end(wall: Wall) -> None:
    port = free_port()
    wall.detached("--name", "web", "-p", f"{port}:80", *SERVE)
    assert fetch(port) == "hello\n"
    refused = wall.run("-p", f"{port}:80", "busybox", "true")
    assert (refused.exit_code, f"port {port}/tcp is in use by web" in refused.stderr) == (125, True), refused
    wall("rm", "--force", "web", check=True)
    wall.run("-p", f"{port}:80", "busybox", "true", check=True)


@pytest.mark.parity("`--expose`, `-P`, port")
def test_exposed_ports_are_published_on_free_ones_and_shown(wall: Wall) -> None:
    port = free_port()
    wall.detached(
        *("--name", "web", "-P", "--expose", "80", "--expose", "90/udp", "-p", f"127.0.0.1:{port}:70"), *SERVE
    )
    lines = wall("port", "web", check=True).stdout.splitlines()
    assert [line.split(" -> ")[0] for line in lines] == ["70/tcp", "80/tcp", "90/udp"]
    assert lines[0] == f"70/tcp -> 127.0.0.1:{port}"
    where = wall("port", "web", "80", check=True).stdout.strip()
    assert fetch(int(where.removeprefix("0.0.0.0:"))) == "hello\n"
    rows = wall("port", "--format", "json", "web", "90/udp", check=True).json()
    assert [(row["port"], row["protocol"]) for row in rows] == [(90, "udp")]
    refused = wall("port", "web", "81")
    assert (refused.exit_code, "does not publish port 81" in refused.stderr) == (125, True), refused


@pytest.mark.parity("names of other workloads, both ways")
def test_workloads_behind_either_wall_find_each_other_by_name(wall: Wall) -> None:
    for isolation in ("container", "vm"):
        wall("run", "-d", "--isolation", isolation, "--name", f"other-{isolation}", *IDLE, check=True)
    asked = " && ".join([" ".join((*PING, f"other-{isolation}")) for isolation in ("container", "vm")])
    wall.run("--network", "bridge", "busybox", "sh", "-c", asked, check=True)
    wall.detached("--network", "bridge", "--name", "asked", *IDLE)
    for isolation in ("container", "vm"):
        wall("exec", f"other-{isolation}", *PING, "asked", check=True)


@pytest.mark.parity("`--network` NAME, `--network-alias`, `--ip`")
def test_a_workload_on_a_network_of_ones_own_has_its_address_and_its_aliases_there(wall: Wall) -> None:
    make_networks(wall)
    wall.detached("--network", "back", "--network-alias", "cache", "--ip", f"{BACK}.9", "--name", "own", *IDLE)
    (found,) = wall("network", "inspect", "back", check=True).json()
    places = [(one["address"], one["aliases"]) for one in found["workloads"] if one["name"] == "own"]
    assert places == [(f"{BACK}.9", ["cache"])]
    assert f"{BACK}.9" in wall("exec", "web", *PING, "cache", check=True).stdout
    assert wall("exec", "db", *PING, "cache").exit_code != 0, "the name was told to another network"
    refused = wall("network", "rm", "back")
    assert (refused.exit_code, "has workloads" in refused.stderr) == (1, True), refused
    taken = wall.run("--network", "back", "--ip", f"{BACK}.9", "busybox", "true")
    assert (taken.exit_code, f"address {BACK}.9 is in use by own" in taken.stderr) == (125, True), taken


@pytest.mark.parity("several networks")
def test_a_workload_on_two_networks_has_a_link_and_the_names_of_each(wall: Wall) -> None:
    words = ("--network", f"name=vault,ip={VAULT}.77", "--network", f"name=back,alias=both,ip={BACK}.77")
    script = (
        "ip addr; ip route; ping -c 1 -W 9 web; ping -c 1 -W 9 db; ping -c 1 -W 9 both; nslookup nosuch; "
        "echo asked; sleep 600"
    )
    make_networks(wall)
    wall.detached(*words, "--name", "two", "busybox", "sh", "-c", script)
    wall.await_log("two", "\nasked\n")
    said = wall("logs", "two", check=True).stdout
    assert f"{VAULT}.77/24 scope global eth0" in said
    assert f"{BACK}.77/24 scope global eth1" in said
    assert f"default via {BACK}.1 dev eth1" in said, "the internal network is no way out"
    assert said.count(" bytes from ") == 3, said
    assert "can't find nosuch: NXDOMAIN" in said
    assert wall("exec", "web", "nslookup", "db").exit_code != 0, "one network was told the names of another"
    assert f"{BACK}.77" in wall("exec", "web", "nslookup", "two", check=True).stdout
    assert f"{VAULT}.77" in wall("exec", "db", "nslookup", "two", check=True).stdout


@pytest.mark.parity("IPv6: addresses, names, published ports")
def test_a_network_with_ipv6_gives_addresses_names_and_ports_of_it(wall: Wall) -> None:
    wall("network", "create", "--ipv6", "--subnet", f"{SIX}:/64", "six", check=True)
    port = free_port()
    wall.detached("--network", "six", "--ip6", f"{SIX}:beef", "--name", "sixth", "-p", f"[::1]:{port}:80", *SERVE)
    ping = ("run", "--rm", "--network", "six", "busybox", "ping6", "-c", "1", "-W", "9", "sixth")
    assert f"{SIX}:beef" in wall(*ping, check=True).stdout
    assert f"default via {SIX}:1" in wall("exec", "sixth", "ip", "-6", "route", check=True).stdout
    assert fetch(port, "::1") == "hello\n"
    taken = wall.run("--network", "six", "--ip6", f"{SIX}:beef", "busybox", "true")
    assert (taken.exit_code, "is in use by sixth" in taken.stderr) == (125, True), taken
    plain = wall.run("--network", "bridge", "--ip6", f"{SIX}:9", "busybox", "true")
    assert (plain.exit_code, "has no IPv6" in plain.stderr) == (125, True), plain


@pytest.mark.parity("network connect, disconnect of what does not run")
def test_what_does_not_run_joins_and_leaves_networks(wall: Wall) -> None:
    make_networks(wall)
    wall.created("--network", "back", "--network", "vault", "--name", "moved", *IDLE)
    wall("network", "disconnect", "vault", "moved", check=True)
    wall("network", "connect", "--ip", f"{VAULT}.9", "--alias", "third", "vault", "moved", check=True)
    wall("network", "disconnect", "back", "moved", check=True)
    wall("start", "moved", check=True)
    (found,) = wall("inspect", "moved", check=True).json()
    assert [(place["network"], place["address"]) for place in found["networks"]] == [("vault", f"{VAULT}.9")]
    wall("exec", "db", *PING, "third", check=True)


@pytest.mark.parity("network connect, disconnect of what runs")
def test_what_runs_joins_and_leaves_networks(wall: Wall) -> None:
    make_networks(wall)
    wall.detached("--network", "back", "--name", "one", *IDLE)
    wall("exec", "one", "sh", "-c", "echo 192.0.2.1 mine >> /etc/hosts", check=True)
    wall("network", "connect", "--alias", "third", "--ip", f"{VAULT}.33", "vault", "one", check=True)
    wall("exec", "db", *PING, "third", check=True)
    wall("exec", "one", *PING, "db", check=True)
    wall("exec", "one", *PING, "web", check=True)
    assert f"{VAULT}.33/24 scope global eth1" in wall("exec", "one", "ip", "addr", check=True).stdout
    wall("network", "disconnect", "back", "one", check=True)
    assert wall("exec", "web", *PING, "one").exit_code != 0
    wall("exec", "one", *PING, "db", check=True)
    hosts = wall("exec", "one", "cat", "/etc/hosts", check=True).stdout
    assert f"{VAULT}.33\t" in hosts and f"{BACK}." not in hosts and "192.0.2.1 mine\n" in hosts
    assert "default" not in wall("exec", "one", "ip", "route", check=True).stdout, "an internal network is no way out"
    wall("network", "connect", "back", "one", check=True)
    assert f"default via {BACK}.1" in wall("exec", "one", "ip", "route", check=True).stdout
    wall("exec", "one", *PING, "web", check=True)
    wall("exec", "web", *PING, "one", check=True)


def test_published_ports_move_with_the_way_out_and_a_start_without_network_can_join_one(wall: Wall) -> None:
    make_networks(wall)
    port = free_port()
    wall.detached("--network", "back", "--name", "web-one", "-p", f"{port}:80", *SERVE)
    wall("network", "connect", "bridge", "web-one", check=True)
    wall("network", "disconnect", "back", "web-one", check=True)
    assert fetch(port) == "hello\n"
    wall.detached("--network", "none", "--name", "alone", *IDLE)
    wall("network", "connect", "back", "alone", check=True)
    wall("exec", "alone", *PING, "web", check=True)
    wall("restart", "-t", "0", "alone", check=True)
    wall("exec", "alone", *PING, "web", check=True)


@pytest.mark.parametrize("delay_s", [0.1, 0.2, 0.3, 0.5])
def test_a_connection_that_was_killed_half_way_is_made_by_the_same_command_again(wall: Wall, delay_s: float) -> None:
    make_networks(wall)
    wall.detached("--network", "back", "--name", "one", *IDLE)
    cut_short(wall, delay_s, "network", "connect", "vault", "one")
    again = wall("network", "connect", "vault", "one")
    assert again.exit_code == 0 or "is on network 'vault' already" in again.stderr, again
    wall("exec", "one", *PING, "db", check=True)
    wall("exec", "one", *PING, "web", check=True)
    assert len(wall("inspect", "one", check=True).json()[0]["networks"]) == 2
    cut_short(wall, delay_s, "network", "disconnect", "back", "one")
    again = wall("network", "disconnect", "back", "one")
    assert again.exit_code == 0 or "is not on network 'back'" in again.stderr, again
    wall("exec", "one", *PING, "db", check=True)
    assert len(wall("inspect", "one", check=True).json()[0]["networks"]) == 1


def cut_short(wall: Wall, delay_s: float, *words: str) -> None:
    """Kill a command after a while; it may have ended by then."""
    process = wall.twinhull.popen(*words, stderr=subprocess.DEVNULL)
    time.sleep(delay_s)
    process.kill()
    process.wait()


def test_a_file_of_names_that_is_too_large_is_left_as_it_is(wall: Wall) -> None:
    make_networks(wall)
    wall.detached("--network", "back", "--name", "stuffed", *IDLE)
    wall("exec", "stuffed", "sh", "-c", "dd if=/dev/zero bs=1024 count=1030 2> /dev/null >> /etc/hosts", check=True)
    size = wall("exec", "stuffed", "stat", "-c", "%s", "/etc/hosts", check=True).stdout
    wall("network", "connect", "vault", "stuffed", check=True)
    wall("exec", "stuffed", *PING, "db", check=True)
    wall("network", "disconnect", "vault", "stuffed", check=True)
    wall("exec", "stuffed", *PING, "web", check=True)
    assert wall("exec", "stuffed", "stat", "-c", "%s", "/etc/hosts", check=True).stdout == size


def test_a_virtual_machine_says_what_stands_in_the_way_of_one_more_network(wall: Wall) -> None:
    make_networks(wall)
    wall("network", "create", "--subnet", "10.144.3.0/24", "third", check=True)
    wall.detached("--network", "back", "--name", "full", *IDLE)
    wall.detached("--network", "back", "--name", "fixed", "--read-only", *IDLE)
    wall("network", "connect", "vault", "full", check=True)
    if wall.isolation == "container":
        wall("network", "connect", "third", "full", check=True)
        wall("network", "connect", "vault", "fixed", check=True)
        return
    refused = wall("network", "connect", "third", "full")
    assert refused.exit_code == 125 and "whose 2 network cards are all in use" in refused.stderr
    assert "twinhull stop full" in refused.stderr
    refused = wall("network", "connect", "vault", "fixed")
    assert refused.exit_code == 125 and "the root of fixed is read-only" in refused.stderr
    wall("pause", "full", check=True)
    assert "twinhull unpause full" in wall("network", "disconnect", "vault", "full").stderr
    wall("unpause", "full", check=True)
    monitor = qmp.connect(wall("inspect", "full", check=True).json()[0]["directory"])
    with pytest.raises(GuestError, match="does not support hotplugging"):
        monitor.execute("device_add", driver="virtio-net-device", id="more")
    monitor.close()
