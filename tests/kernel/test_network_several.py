"""One workload on several networks, in a container and in a virtual machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kernel.test_network_command import fetch, free_port
from tests.support.command import Twinhull
from twinhull.errors import GuestError
from twinhull.runtime import qmp

BACK, VAULT = "10.144.1", "10.144.2"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twinhull]:
    """Two networks, of which one is internal, with somebody on each."""
    twinhull = Twinhull(tmp_path_factory.mktemp("several"))
    twinhull("network", "create", "--subnet", f"{BACK}.0/24", "back", check=True)
    twinhull("network", "create", "--subnet", f"{VAULT}.0/24", "--internal", "vault", check=True)
    twinhull("run", "--rm", "busybox", "true", check=True)  # the default network
    made = ("run", "--rm", "--vm", "--network", "back", "--network", "vault", "busybox", "true")
    twinhull(*made, check=True, timeout_s=180)  # the template for guests with two cards
    twinhull("run", "-d", "--network", "back", "--name", "web", "busybox", "sleep", "600", check=True)
    twinhull("run", "-d", "--network", "vault", "--name", "db", "busybox", "sleep", "600", check=True)
    yield twinhull
    twinhull.remove_all()


@pytest.mark.parametrize("isolation", ["container", "vm"])
def test_a_workload_on_two_networks_has_a_link_and_the_names_of_each(home: Twinhull, isolation: str) -> None:
    words = ("--network", f"name=vault,ip={VAULT}.77", "--network", f"name=back,alias=both,ip={BACK}.77")
    script = (
        "ip addr; ip route; ping -c 1 -W 9 web; ping -c 1 -W 9 db; ping -c 1 -W 9 both; nslookup nosuch; "
        "touch /tmp/up; sleep 600"
    )
    run = ("run", "-d", "--isolation", isolation, *words, "--name", "two", "busybox", "sh", "-c", script)
    home(*run, check=True, timeout_s=180)
    try:
        wait = "until [ -e /tmp/up ]; do sleep 0.1; done"
        home("exec", "two", "sh", "-c", wait, check=True)
        said = home("logs", "two", check=True).stdout
        assert f"{VAULT}.77/24 scope global eth0" in said
        assert f"{BACK}.77/24 scope global eth1" in said
        assert f"default via {BACK}.1 dev eth1" in said, "the internal network is no way out"
        assert all(f" bytes from {address}: " in said for address in (f"{BACK}.3", f"{VAULT}.3", f"{BACK}.77")), said
        assert "can't find nosuch: NXDOMAIN" in said
        seen = home("exec", "web", "nslookup", "db")
        assert seen.exit_code != 0, "one network was told the names of another"
        assert f"{BACK}.77" in home("exec", "web", "nslookup", "two", check=True).stdout
        assert f"{VAULT}.77" in home("exec", "db", "nslookup", "two", check=True).stdout
    finally:
        home("rm", "--force", "two", check=True)


def test_a_running_container_joins_and_leaves_networks(home: Twinhull) -> None:
    port = free_port()
    serve = "while :; do echo hello | nc -l -p 80; done"
    words = ("--name", "one", "-p", f"{port}:80", "--add-host", "host:host-gateway")
    home("run", "-d", *words, "busybox", "sh", "-c", serve, check=True)
    try:
        home("network", "connect", "--alias", "third", "--ip", f"{BACK}.88", "back", "one", check=True)
        home("network", "connect", "vault", "one", check=True)
        refused = home("network", "connect", "back", "one")
        assert (refused.exit_code, "is on network 'back' already" in refused.stderr) == (125, True), refused
        for name in ("web", "db"):
            home("exec", "one", "ping", "-c", "1", "-W", "9", name, check=True)
        assert f"{BACK}.88" in home("exec", "web", "nslookup", "third", check=True).stdout
        assert f"\n{BACK}.88\t" in home("exec", "one", "cat", "/etc/hosts", check=True).stdout

        home("network", "disconnect", "bridge", "one", check=True)
        assert f"default via {BACK}.1 " in home("exec", "one", "ip", "route", check=True).stdout
        assert fetch(port) == "hello\n", "the port did not move to the next network"
        for name in ("web", "db"):
            home("exec", "one", "ping", "-c", "1", "-W", "9", name, check=True)
        home("network", "disconnect", "back", "one", check=True)
        assert home("exec", "web", "nslookup", "third").exit_code != 0
        home("exec", "one", "ping", "-c", "1", "-W", "9", "db", check=True)
        home("network", "disconnect", "vault", "one", check=True)
        links = home("exec", "one", "ip", "addr", check=True).stdout
        assert "eth" not in links
        home("network", "connect", "bridge", "one", check=True)
        assert fetch(port) == "hello\n"
        home("network", "disconnect", "bridge", "one", check=True)

        home("network", "connect", "back", "one", check=True)
        home("restart", "-t", "0", "one", check=True)
        (found,) = home("inspect", "one", check=True).json()
        assert [place["network"] for place in found["networks"]] == ["back"], "a restart forgot the networks"
        assert fetch(port) == "hello\n"
    finally:
        home("rm", "--force", "one", check=True)


def test_a_virtual_machine_joins_when_it_does_not_run_for_its_board_takes_no_card(home: Twinhull) -> None:
    home("run", "-d", "--vm", "--network", "back", "--network", "vault", "--name", "two", "busybox", "sleep", "600")
    try:
        for verb in (("connect", "bridge"), ("disconnect", "vault")):
            refused = home("network", *verb, "two")
            assert (refused.exit_code, "takes no network card while it runs" in refused.stderr) == (125, True), refused
        (found,) = home("inspect", "two", check=True).json()
        monitor = qmp.connect(found["directory"])
        with pytest.raises(GuestError, match="does not support hotplugging"):
            monitor.execute("device_add", driver="virtio-net-device", id="more")
        monitor.close()
        home("stop", "-t", "0", "two", check=True)
        home("network", "disconnect", "vault", "two", check=True)
        home("network", "connect", "bridge", "two", check=True)
        home("start", "two", check=True)
        (found,) = home("inspect", "two", check=True).json()
        assert [place["network"] for place in found["networks"]] == ["back", "bridge"]
        assert "eth1" in home("exec", "two", "ip", "route", check=True).stdout
    finally:
        home("rm", "--force", "two", check=True)


def test_networks_that_exclude_each_other_are_refused(home: Twinhull) -> None:
    for words, text in (
        (("--network", "back", "--network", "back"), "named twice"),
        (("--network", "none", "--network", "back"), "exclude each other"),
        (("--network", "none", "--ip", "10.0.0.1"), "no aliases and no address"),
        (("--network", "name=back,color=red"), "unknown option 'color'"),
        (("--network", "back", "--network-alias", "a b"), "invalid alias"),
    ):
        refused = home("run", "--rm", *words, "busybox", "true")
        assert (refused.exit_code, text in refused.stderr) == (125, True), refused


@pytest.mark.parametrize("isolation", ["container", "vm"])
def test_a_network_with_ipv6_gives_addresses_names_and_ports_of_it(home: Twinhull, isolation: str) -> None:
    home("network", "create", "--ipv6", "--subnet", "fd33:aa55:1::/64", "six", check=True)
    port = free_port()
    serve = "while :; do echo hello | nc -l -p 80; done"
    words = ("--network", "six", "--network", "back", "--ip6", "fd33:aa55:1::beef", "--name", "sixth")
    home(
        "run",
        "-d",
        "--isolation",
        isolation,
        *words,
        "-p",
        f"[::1]:{port}:80",
        "busybox",
        "sh",
        "-c",
        serve,
        check=True,
        timeout_s=180,
    )
    try:
        ping = ("run", "--rm", "--network", "six", "busybox", "ping6", "-c", "1", "-W", "9", "sixth")
        assert "fd33:aa55:1::beef" in home(*ping, check=True).stdout
        assert "default via fd33:aa55:1::1" in home("exec", "sixth", "ip", "-6", "route", check=True).stdout
        assert fetch(port, "::1") == "hello\n"
        taken = home("run", "--rm", "--network", "six", "--ip6", "fd33:aa55:1::beef", "busybox", "true")
        assert (taken.exit_code, "is in use by sixth" in taken.stderr) == (125, True), taken
        plain = home("run", "--rm", "--network", "back", "--ip6", "fd33:aa55:1::9", "busybox", "true")
        assert (plain.exit_code, "has no IPv6" in plain.stderr) == (125, True), plain
    finally:
        home("rm", "--force", "sixth", check=True)
        home("network", "rm", "six", check=True)
