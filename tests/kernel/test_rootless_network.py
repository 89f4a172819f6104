"""Networks of a user without root: bridges in a network namespace of his, joined to the world by slirp4netns."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.support.answers import free_port
from tests.support.rootless import Rootless, in_usual_place
from tests.support.vm import wait_until
from twinhull.host import memory

ECHO = """
#include <netinet/in.h>
#include <sys/socket.h>
int main(void)
{
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(9)}, from;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	bind(fd, (struct sockaddr *)&own, sizeof(own));
	for (char text[512];;) {
		socklen_t length = sizeof(from);
		ssize_t got = recvfrom(fd, text, sizeof(text), 0, (struct sockaddr *)&from, &length);
		sendto(fd, text, (size_t)got, 0, (struct sockaddr *)&from, length);
	}
}
"""
SERVE = "mkdir /w; echo {word} >/w/index.html; exec httpd -f -h /w -p 80"


@contextmanager
def listening(address: str) -> Iterator[int]:
    """A server of the host that says hello once to each who connects; gives its port."""
    with socket.create_server((address, 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.send(b"hello\n")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def own_address() -> str:
    """An address of this host that is not its loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this host has no route to anywhere")
        return str(probe.getsockname()[0])


def fetch(port: int, address: str = "127.0.0.1") -> str:
    """The last line that a web server of a workload says; "" if nobody listens."""
    try:
        with socket.create_connection((address, port), timeout=5) as connection:
            connection.send(b"GET / HTTP/1.0\r\n\r\n")
            text = b""
            while part := connection.recv(4096):
                text += part
    except OSError:
        return ""
    return text.decode().rpartition("\r\n")[2].strip() or text.decode()


def serving(rootless: Rootless, name: str, *flags: str) -> None:
    """Start a web server that says its name."""
    words = ("run", "-d", "--name", name, *flags, "busybox", "sh", "-c", SERVE.format(word=name))
    rootless(*words, check=True)


def test_the_world_is_reached_and_the_hosts_loopback_is_not(rootless: Rootless) -> None:
    address = own_address()
    with listening(address) as open_port, listening("127.0.0.1") as closed_port:
        done = rootless("run", "--rm", "busybox", "nc", "-w", "5", address, str(open_port))
        assert done.stdout == "hello\n", done.stderr
        for place in ("10.0.2.2", "127.0.0.1"):
            done = rootless("run", "--rm", "busybox", "nc", "-w", "2", place, str(closed_port))
            assert "hello" not in done.stdout


def test_workloads_find_each_other_by_name_and_networks_are_apart(rootless: Rootless) -> None:
    serving(rootless, "web")
    assert rootless("run", "--rm", "busybox", "wget", "-qO-", "http://web/", check=True).stdout == "web\n"
    rootless("network", "create", "back", check=True)
    serving(rootless, "inner", "--network", "back")
    words = ("run", "--rm", "--network", "back", "busybox", "timeout", "5", "wget", "-qO-")
    assert rootless(*words, "http://inner/", check=True).stdout == "inner\n"
    assert rootless(*words, "http://web/").exit_code != 0
    rootless("network", "connect", "back", "web", check=True)
    assert rootless(*words, "http://web/", check=True).stdout == "web\n"


def test_a_published_port_is_the_hosts_until_the_workload_ends(rootless: Rootless) -> None:
    everywhere, near = free_port(), free_port()
    serving(rootless, "web", "-p", f"{everywhere}:80", "-p", f"127.0.0.1:{near}:80")
    wait_until(lambda: fetch(everywhere) == "web", "an answer")
    assert (fetch(everywhere, own_address()), fetch(near)) == ("web", "web")
    assert fetch(near, own_address()) == ""
    rootless("stop", "-t", "0", "web", check=True)
    assert (fetch(everywhere), fetch(near)) == ("", "")
    rootless("start", "web", check=True)
    wait_until(lambda: fetch(near) == "web", "an answer")


def test_a_port_of_the_hosts_loopback_is_none_of_another_workloads(rootless: Rootless) -> None:
    everywhere, near = free_port(), free_port()
    serving(rootless, "web", "-p", f"{everywhere}:80", "-p", f"127.0.0.1:{near}:80")
    wait_until(lambda: fetch(near) == "web", "an answer")
    reach = "g=$(ip route | sed -n 's/default via \\([^ ]*\\) .*/\\1/p'); for a in $g 10.0.2.100 10.0.2.2; do "
    reach += "timeout 2 wget -qO- http://$a:{port}/ || echo no; done"
    for port, said in ((everywhere, ["web", "no", "no"]), (near, ["no", "no", "no"])):
        done = rootless("run", "--rm", "busybox", "sh", "-c", reach.format(port=port))
        assert done.stdout.split() == said, done.stderr


def test_a_workload_sees_the_addresses_of_its_clients(rootless: Rootless) -> None:
    port = free_port()
    words = "busybox nc -ll -p 80 -e cat /proc/net/tcp6".split()
    rootless("run", "-d", "--name", "web", "-p", f"{port}:80", *words, check=True)
    for address, seen in ((own_address(), own_address()), ("127.0.0.1", "10.0.2.2")):
        wait_until(partial(fetch, port, address), "an answer")
        assert f"FFFF0000{socket.inet_aton(seen)[::-1].hex().upper()}:" in fetch(port, address)


def test_any_port_is_one_that_the_host_has_free(rootless: Rootless) -> None:
    serving(rootless, "web", "-p", "80")
    (row,) = rootless("port", "web", "--format", "json", check=True).json()
    wait_until(lambda: fetch(int(row["host_port"])) == "web", "an answer")


def test_a_datagram_comes_in_and_its_answer_goes_out(rootless: Rootless) -> None:
    port, program = free_port(), rootless.home / "echo"
    subprocess.run(["gcc", "-static", "-o", program, "-x", "c", "-"], input=ECHO, text=True, check=True)
    flags = ("-p", f"127.0.0.1:{port}:9/udp", "-v", f"{program}:/echo:ro")
    rootless("run", "-d", "--name", "echo", *flags, "busybox", "/echo", check=True)

    def answered() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(1)
            client.sendto(b"over there", ("127.0.0.1", port))
            try:
                return client.recv(512) == b"over there"
            except OSError:
                return False

    wait_until(answered, "an answer")


def test_a_port_that_is_taken_or_roots_is_refused_and_nothing_stays(rootless: Rootless) -> None:
    with listening("127.0.0.1") as taken:
        done = rootless("run", "--rm", "-p", f"{taken}:80", "busybox", "true")
        assert (done.exit_code, f"port {taken} is in use by a process of the host" in done.stderr) == (125, True)
    done = rootless("run", "--rm", "-p", "81:80", "busybox", "true")
    assert (done.exit_code, "port 81 is root's" in done.stderr) == (125, True)
    done = rootless("run", "--rm", "-p", "[::1]:8080:80", "busybox", "true")
    assert "a port of an IPv6 address (::1) without root is not supported" in done.stderr
    serving(rootless, "web", "-p", "18980:80")
    assert "is in use by web" in rootless("run", "--rm", "-p", "18980:80", "busybox", "true").stderr
    assert rootless.names() == ["web"]


def test_a_restart_by_policy_opens_the_ports_again(rootless: Rootless) -> None:
    port = free_port()
    serving(rootless, "web", "--restart", "always", "-p", f"{port}:80")
    wait_until(lambda: fetch(port) == "web", "an answer")
    (server,) = [pid for pid in users_processes(rootless) if words_of(pid)[0] == "httpd"]
    os.kill(server, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{server}").exists(), "its end")
    wait_until(lambda: fetch(port) == "web", "an answer after the restart")


def test_ports_of_a_killed_shim_are_closed_by_the_next_command(rootless: Rootless) -> None:
    port = free_port()
    serving(rootless, "web", "-p", f"{port}:80")
    wait_until(lambda: fetch(port) == "web", "an answer")
    (alive,) = (rootless.root / "state/instances").glob("*/alive")
    os.kill(memory.holder(str(alive)), signal.SIGKILL)
    rootless("ps", check=True)
    wait_until(lambda: fetch(port) == "", "its end")
    assert rootless("ps", "-a", "--format", "json", check=True).json()[0]["status"] in ("exited", "lost")


def test_the_way_out_is_made_again_with_the_ports_and_ends_with_the_keeper(rootless: Rootless) -> None:
    port = free_port()
    serving(rootless, "web", "-p", f"{port}:80")
    (first,) = uplinks(rootless)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: uplinks(rootless) == [], "its end")
    rootless("run", "--rm", "busybox", "true", check=True)
    wait_until(lambda: fetch(port) == "web", "an answer")
    rootless("rm", "-f", "web", check=True)
    os.kill(rootless.keeper, signal.SIGKILL)
    wait_until(lambda: uplinks(rootless) == [], "its end")


def test_workloads_outlive_a_killed_keeper_and_get_another(rootless: Rootless) -> None:
    port = free_port()
    serving(rootless, "web", "-p", f"{port}:80")
    first, before = rootless.keeper, os.readlink(f"/proc/{rootless.keeper}/ns/net")
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: rootless.keeper == 0, "its end")
    assert rootless("run", "--rm", "busybox", "wget", "-qO-", "http://web/", check=True).stdout == "web\n"
    assert rootless.keeper not in (0, first)
    assert os.readlink(f"/proc/{rootless.keeper}/ns/net") == before
    wait_until(lambda: fetch(port) == "web", "an answer")


def test_without_the_program_a_bridge_is_refused_and_the_rest_works(rootless: Rootless) -> None:
    hide = "mount --bind /dev/null $(command -v slirp4netns)"
    rootless.command = (*in_usual_place(rootless.root, hide), *rootless.command[rootless.command.index("setpriv") :])
    done = rootless("run", "--rm", "busybox", "true")
    assert done.exit_code == 125
    assert "a network without root needs slirp4netns" in done.stderr
    assert "apt-get install -y slirp4netns" in done.stderr
    rootless("run", "--rm", "--network", "none", "busybox", "true", check=True)
    assert rootless.names() == []


def users_processes(rootless: Rootless) -> list[int]:
    """The processes of the user."""
    found = []
    for number in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if Path(f"/proc/{number}").stat().st_uid == rootless.account.pw_uid and words_of(int(number)) != [""]:
                found.append(int(number))
        except OSError:
            continue
    return found


def words_of(pid: int) -> list[str]:
    """A command line."""
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def uplinks(rootless: Rootless) -> list[int]:
    """The user's slirp4netns."""
    return [pid for pid in users_processes(rootless) if words_of(pid)[0] == "slirp4netns"]
