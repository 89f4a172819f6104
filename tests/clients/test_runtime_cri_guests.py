"""twinhull-oci-vm under containerd's CRI plugin: a pod with one container, a machine, and its network."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path

import grpc
import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.cri import Kubelet, api, running
from tests.support.oci import TWINHULL_OCI_VM
from twinhull.config import Config

PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def runtime(guests: Config) -> Path:
    """The runtime of machines, which finds its templates."""
    return TWINHULL_OCI_VM


def test_a_machine_has_the_routes_of_its_pod(kubelet: Kubelet, pod: str) -> None:
    container = kubelet.run(pod, "long", "sleep", "1000")
    seen = kubelet.exec_sync(container, "ip", "route").stdout
    assert routes(seen) == routes(in_namespace(kubelet, pod, "ip", "route"))


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


def test_what_takes_more_memory_than_it_may_is_killed_and_the_reason_said(kubelet: Kubelet, pod: str) -> None:
    eats = "x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done"
    limit = {"memory_limit_in_bytes": 32 << 20}
    status = kubelet.wait(kubelet.run(pod, "eats", "sh", "-c", eats, linux={"resources": limit}))
    assert (status.exit_code, status.reason) == (137, "OOMKilled")


def test_a_port_is_not_forwarded_into_it_and_the_caller_is_told_at_once(kubelet: Kubelet, pod: str) -> None:
    """containerd connects to 127.0.0.1 of the pod's namespace: the program listens on that of the guest."""
    kubelet.run(pod, "server", "sh", "-c", "while true; do echo answer | nc -l -p 8080; done")
    assert answer(kubelet.pod_status(pod).network.ip, 8080) == b"answer\n"
    with pytest.raises((AssertionError, ConnectionClosed)):  # "connection refused", if it still comes through
        kubelet.forwarded(pod, 8080, b"request\n")


def test_the_nodes_network_is_refused(kubelet: Kubelet) -> None:
    node = {"namespace_options": {"network": api.NODE}}
    with (
        running(kubelet, "node", hostname="", security_context=node) as pod,
        pytest.raises(grpc.RpcError) as caught,
    ):
        kubelet.run(pod, "show", "true", linux={"security_context": node})
    assert "a virtual machine cannot have the host's network" in caught.value.details()
