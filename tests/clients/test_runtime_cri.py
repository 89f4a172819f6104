"""The runtime of either isolation under containerd's CRI plugin, driven as a kubelet drives it.

What only containers have is in test_runtime_cri_containers, what only machines are refused in test_runtime_cri_guests.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import grpc
import pytest

from tests.support.cri import RESIZE, Kubelet, running, wait_for
from tests.support.oci import TWINHULL_OCI_VM


def test_a_container_ends_with_its_status_and_its_log_has_both_streams(
    kubelet: Kubelet, pod: str, runtime: Path
) -> None:
    code, lines = kubelet.output(pod, "once", "sh", "-c", "uname -r; echo err >&2; exit 5")
    assert (code, sorted(stream for stream, _ in lines)) == (5, ["stderr", "stdout"])
    said = dict(lines)
    assert said["stderr"] == "err"
    assert (said["stdout"] == os.uname().release) == (runtime != TWINHULL_OCI_VM)


def test_a_container_has_the_pods_name_network_and_resolver(kubelet: Kubelet, pod: str) -> None:
    container = kubelet.run(pod, "long", "sleep", "1000")
    ip = kubelet.pod_status(pod).network.ip
    seen = kubelet.exec_sync(
        container, "sh", "-c", "hostname; cat /etc/hostname /etc/resolv.conf; ip address show eth0"
    )
    assert seen.exit_code == 0, seen.stderr
    assert seen.stdout.startswith(b"box\nbox\n")
    assert b"nameserver 192.0.2.53" in seen.stdout
    assert ip.encode() in seen.stdout


def test_exec_has_streams_and_a_status(kubelet: Kubelet, pod: str) -> None:
    container = kubelet.run(pod, "long", "sleep", "1000")
    with kubelet.exec(container, "sh", "-c", "read line; echo got $line; echo err >&2; exit 7", stdin=True) as session:
        session.send(b"text\n")
        done = session.end()
    assert (done.stdout, done.stderr, done.exit_code) == (b"got text\n", b"err\n", 7)


def test_exec_in_a_terminal_that_changes_its_size(kubelet: Kubelet, pod: str) -> None:
    container = kubelet.run(pod, "long", "sleep", "1000")
    with kubelet.exec(container, "sh", "-c", "tty; echo ready; read _; stty size", tty=True, stdin=True) as session:
        session.until(b"ready")
        session.send(b'{"Width": 91, "Height": 37}', RESIZE)
        time.sleep(0.5)
        session.send(b"\n")
        done = session.end()
    assert done.exit_code == 0 and b"/dev/pts/" in done.stdout and b"37 91" in done.stdout


def test_a_probe_is_executed_and_ended_when_it_takes_too_long(kubelet: Kubelet, pod: str) -> None:
    container = kubelet.run(pod, "long", "sleep", "1000")
    done = kubelet.exec_sync(container, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.exit_code, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
    with pytest.raises(grpc.RpcError) as caught:
        kubelet.exec_sync(container, "sleep", "555", timeout=1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    wait_for(lambda: "sleep 555" not in kubelet.exec_sync(container, "ps").stdout.decode())
    with pytest.raises(grpc.RpcError) as caught:
        kubelet.exec_sync(container, "nonesuch")
    assert "executable file not found in $PATH" in caught.value.details()


def test_attach_reaches_the_first_process(kubelet: Kubelet, pod: str) -> None:
    container = kubelet.create(pod, "reader", "sh", "-c", "read line; echo got $line; exit 4", stdin=True)
    kubelet.start(container)
    with kubelet.attach(container) as session:
        session.send(b"text\n")
        session.until(b"got text\n")
    assert kubelet.wait(container).exit_code == 4
    assert kubelet.log(pod, "reader") == [("stdout", "got text")]


def test_a_sysctl_of_the_pod_is_set(kubelet: Kubelet) -> None:
    with running(kubelet, "sysctl", sysctls={"net.ipv4.ip_unprivileged_port_start": "0"}) as pod:
        show = ("cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start")
        assert kubelet.output(pod, "show", *show) == (0, [("stdout", "0")])
