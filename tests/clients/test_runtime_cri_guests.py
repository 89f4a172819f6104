"""twinhull-oci-vm under containerd's CRI plugin, driven as a kubelet drives it: a pod with one container, a machine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.support.cri import RESIZE, Kubelet, api, containerd
from tests.support.oci import TWINHULL_OCI_VM
from twinhull.config import Config

PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def kubelet(guests: Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubelet]:
    """Calls to a containerd that has our runtime as a handler."""
    if not shutil.which("containerd") or not Path("/usr/lib/cni/ptp").exists():
        pytest.skip("containerd or containernetworking-plugins is not installed")
    with containerd(tmp_path_factory.mktemp("cri"), TWINHULL_OCI_VM) as made:
        yield made


@pytest.fixture
def pod(kubelet: Kubelet) -> Iterator[str]:
    """A pod of our runtime."""
    made = kubelet.run_pod("box")
    try:
        yield made
    finally:
        kubelet.remove_pod(made)


def test_a_machine_ends_with_its_status_and_its_log_has_both_streams(kubelet: Kubelet, pod: str) -> None:
    code, lines = kubelet.output(pod, "once", "sh", "-c", "uname -r; echo err >&2; exit 5")
    assert code == 5
    assert sorted(stream for stream, _ in lines) == ["stderr", "stdout"]
    assert dict(lines)["stdout"] != os.uname().release


def test_a_machine_has_the_pods_name_network_and_resolver(kubelet: Kubelet, pod: str) -> None:
    container = kubelet.run(pod, "long", "sleep", "1000")
    ip = kubelet.pod_status(pod).network.ip
    seen = kubelet.exec_sync(
        container, "sh", "-c", "hostname; cat /etc/hostname /etc/resolv.conf; ip address show eth0; ip route"
    )
    assert seen.exit_code == 0, seen.stderr
    assert seen.stdout.startswith(b"box\nbox\n")
    assert b"nameserver 192.0.2.53" in seen.stdout
    assert ip.encode() in seen.stdout
    assert routes(seen.stdout) == routes(in_namespace(kubelet, pod, "ip", "route"))


def in_namespace(kubelet: Kubelet, pod: str, *words: str) -> bytes:
    """What a program of the host writes in the pod's network namespace."""
    record = json.loads((Path("/run/containerd/runc/k8s.io") / pod / "record").read_bytes().rpartition(b"\0")[2])
    return subprocess.run(["nsenter", "--net", "--target", str(record["pid"]), *words], capture_output=True).stdout


def routes(text: bytes) -> set[tuple[str, ...]]:
    """The routes that any `ip route` shows: where to, and by way of whom."""
    lines = [line.split() for line in text.decode().splitlines() if b"10.213" in line.encode()]
    return {tuple(words[:3]) for words in lines if words[1] in ("via", "dev")}


def test_a_pods_address_leads_into_the_machine_and_out_of_it(kubelet: Kubelet, pod: str) -> None:
    ip = kubelet.pod_status(pod).network.ip
    script = "echo from inside | nc -l -p 8080; wget -q -O - http://10.213.77.1:18080/ 2>&1 | head -1"
    with socket.create_server(("0.0.0.0", 18080)) as outside:
        outside.settimeout(PATIENCE_S)
        kubelet.run(pod, "server", "sh", "-c", script)
        assert answer(ip, 8080) == b"from inside\n"
        taken, (peer, _) = outside.accept()
        taken.close()
    assert peer == ip


def answer(ip: str, port: int) -> bytes:
    """What somebody says who listens soon."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with socket.create_connection((ip, port), timeout=PATIENCE_S) as connection:
                return connection.recv(100)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_second_container_is_refused_and_one_after_the_first_is_not(kubelet: Kubelet, pod: str) -> None:
    first = kubelet.run(pod, "first", "sleep", "1000")
    with pytest.raises(grpc.RpcError) as caught:
        kubelet.run(pod, "second", "sleep", "1000")
    assert "a pod has one container in a virtual machine" in caught.value.details()
    assert kubelet.exec_sync(first, "true").exit_code == 0
    kubelet.stub.StopContainer(api.StopContainerRequest(container_id=first, timeout=0), timeout=PATIENCE_S)
    assert kubelet.output(pod, "third", "echo", "again")[0] == 0


def test_exec_has_streams_a_status_and_a_terminal_that_changes_its_size(kubelet: Kubelet, pod: str) -> None:
    container = kubelet.run(pod, "long", "sleep", "1000")
    with kubelet.exec(container, "sh", "-c", "read line; echo got $line; echo err >&2; exit 7", stdin=True) as session:
        session.send(b"text\n")
        done = session.end()
    assert (done.stdout, done.stderr, done.exit_code) == (b"got text\n", b"err\n", 7)
    with kubelet.exec(container, "sh", "-c", "tty; echo ready; read _; stty size", tty=True, stdin=True) as session:
        session.until(b"ready")
        session.send(b'{"Width": 91, "Height": 37}', RESIZE)
        time.sleep(0.5)
        session.send(b"\n")
        done = session.end()
    assert done.exit_code == 0
    assert b"37 91" in done.stdout


def test_a_probe_is_executed_and_ended_when_it_takes_too_long(kubelet: Kubelet, pod: str) -> None:
    container = kubelet.run(pod, "long", "sleep", "1000")
    done = kubelet.exec_sync(container, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.exit_code, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
    with pytest.raises(grpc.RpcError) as caught:
        kubelet.exec_sync(container, "sleep", "555", timeout=1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    deadline = time.monotonic() + PATIENCE_S
    while "sleep 555" in kubelet.exec_sync(container, "ps").stdout.decode():
        assert time.monotonic() < deadline


def test_attach_reaches_the_first_process(kubelet: Kubelet, pod: str) -> None:
    container = kubelet.create(pod, "reader", "sh", "-c", "read line; echo got $line; exit 4", stdin=True)
    kubelet.start(container)
    with kubelet.attach(container) as session:
        session.send(b"text\n")
        session.until(b"got text\n")
    assert kubelet.wait(container).exit_code == 4
    assert kubelet.log(pod, "reader") == [("stdout", "got text")]


def test_a_sysctl_of_the_pod_is_set_inside(kubelet: Kubelet) -> None:
    pod = kubelet.run_pod("sysctl", sysctls={"net.ipv4.ip_unprivileged_port_start": "0"})
    try:
        show = ("cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start")
        assert kubelet.output(pod, "show", *show) == (0, [("stdout", "0")])
    finally:
        kubelet.remove_pod(pod)


def test_the_nodes_network_is_refused(kubelet: Kubelet) -> None:
    node = {"namespace_options": {"network": api.NODE}}
    pod = kubelet.run_pod("node", hostname="", security_context=node)
    try:
        with pytest.raises(grpc.RpcError) as caught:
            kubelet.run(pod, "show", "true", linux={"security_context": node})
        assert "a virtual machine cannot have the host's network" in caught.value.details()
    finally:
        kubelet.remove_pod(pod)
