"""One container on several networks, which it joins and leaves while it runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.answers import fetch, free_port
from tests.support.command import Twinhull

BACK, VAULT = "10.144.1", "10.144.2"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twinhull]:
    """Two networks, of which one is internal, with somebody on each."""
    twinhull = Twinhull(tmp_path_factory.mktemp("several"))
    twinhull("network", "create", "--subnet", f"{BACK}.0/24", "back", check=True)
    twinhull("network", "create", "--subnet", f"{VAULT}.0/24", "--internal", "vault", check=True)
    twinhull("run", "--rm", "busybox", "true", check=True)  # the default network
    twinhull("run", "-d", "--network", "back", "--name", "web", "busybox", "sleep", "600", check=True)
    twinhull("run", "-d", "--network", "vault", "--name", "db", "busybox", "sleep", "600", check=True)
    yield twinhull
    twinhull.remove_all()


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
