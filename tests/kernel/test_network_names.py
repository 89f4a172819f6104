"""Names between workloads: a real dnsmasq, asked as a workload asks."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support import netlab
from tests.support.netlab import Lab, Workload, inside, sh
from twinhull.errors import HostUnfit
from twinhull.network import dns

A, AAAA = 1, 28
NXDOMAIN = 3


def resolve(workload: Workload, name: str, kind: int = A) -> tuple[int, list[str]]:
    """Ask the gateway from inside a workload: (response code, addresses)."""
    with inside(workload.namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(netlab.TIMEOUT_S)
        sock.connect((workload.endpoint.gateway, 53))
        labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
        question = labels + b"\0" + struct.pack(">HH", kind, 1)
        sock.send(b"tw" + dns.RECURSIVE_QUESTION + question)
        answer = sock.recv(512)
    count = int.from_bytes(answer[6:8], "big")
    records = answer[12 + len(question) :]
    return answer[3] & 15, [socket.inet_ntoa(records[16 * n + 12 : 16 * n + 16]) for n in range(count)]


def wait_until_over(pid: int) -> None:
    """Wait until a process is gone, or a zombie that its new parent has yet to collect."""
    deadline = time.monotonic() + netlab.TIMEOUT_S
    with suppress(FileNotFoundError):
        while "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text():
            assert time.monotonic() < deadline, "the name server is still there"
            time.sleep(0.01)


def server(lab: Lab) -> int:
    return dns.pid_of(f"{dns.directory_of(lab.config, 'bridge')}/dnsmasq.pid")


def test_a_name_answers_when_publish_returns(lab: Lab) -> None:
    asker = lab.start()
    dns.publish(lab.config, asker.endpoint, ["asker"])
    for number in range(10):
        workload = lab.start()
        dns.publish(lab.config, workload.endpoint, [f"web{number}", f"{number:012x}"])
        assert resolve(asker, f"web{number}") == (0, [workload.endpoint.address])
        assert resolve(asker, f"{number:012x}") == (0, [workload.endpoint.address])


def test_an_ipv6_question_for_a_workload_is_answered_with_nothing_at_once(lab: Lab) -> None:
    workload = lab.start()
    dns.publish(lab.config, workload.endpoint, ["web"])
    assert resolve(workload, "web", AAAA) == (0, [])


def test_a_bare_name_that_nobody_has_never_leaves_the_host(lab: Lab) -> None:
    workload = lab.start()
    dns.publish(lab.config, workload.endpoint, ["web"])
    assert resolve(workload, "nosuch") == (NXDOMAIN, [])


def test_the_name_server_ends_with_the_last_workload(lab: Lab) -> None:
    first, second = lab.start(), lab.start()
    dns.publish(lab.config, first.endpoint, ["first"])
    dns.publish(lab.config, second.endpoint, ["second"])
    pid = server(lab)

    lab.stop(first)
    assert server(lab) == pid
    assert resolve(second, "first") == (NXDOMAIN, [])
    lab.stop(second)

    wait_until_over(pid)


def test_withdrawing_ends_it_as_well_and_twice_is_fine(lab: Lab) -> None:
    workload = lab.start()
    dns.publish(lab.config, workload.endpoint, ["web"])
    dns.withdraw(lab.config, workload.endpoint)
    assert server(lab) == 0
    dns.withdraw(lab.config, workload.endpoint)


def test_a_name_server_that_was_killed_comes_back_with_all_names(lab: Lab) -> None:
    first, second = lab.start(), lab.start()
    dns.publish(lab.config, first.endpoint, ["first"])
    os.kill(server(lab), signal.SIGKILL)
    dns.publish(lab.config, second.endpoint, ["second"])
    assert resolve(second, "first") == (0, [first.endpoint.address])


def test_many_first_workloads_at_once_share_one_name_server(lab: Lab) -> None:
    workloads = [lab.start() for _ in range(8)]
    host = os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    def publish(number: int) -> None:
        with inside(host):
            dns.publish(lab.config, workloads[number].endpoint, [f"web{number}"])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(publish, range(8)))
    os.close(host)

    assert resolve(workloads[0], "web7") == (0, [workloads[7].endpoint.address])
    listening = sh("ss -Hlnu sport = 53").splitlines()
    assert len(listening) == 1, listening


def test_a_start_that_fails_leaves_neither_name_nor_server(lab: Lab) -> None:
    workload = lab.start()
    with pytest.raises(KeyboardInterrupt), dns.publishing(lab.config, workload.endpoint, ["web"]):
        raise KeyboardInterrupt
    assert server(lab) == 0
    assert os.listdir(f"{dns.directory_of(lab.config, 'bridge')}/hosts") == []


def test_a_pid_file_that_names_another_process_is_not_believed(lab: Lab) -> None:
    workload = lab.start()
    dns.publish(lab.config, workload.endpoint, ["web"])
    pid_file = f"{dns.directory_of(lab.config, 'bridge')}/dnsmasq.pid"
    real = server(lab)
    Path(pid_file).write_text(f"{os.getpid()}\n")
    try:
        assert server(lab) == 0
        dns.end(pid_file)  # this test's own process must survive it
    finally:
        Path(pid_file).write_text(f"{real}\n")


def test_a_port_53_that_somebody_has_is_a_clear_error(lab: Lab) -> None:
    workload = lab.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", 53))
        with pytest.raises(HostUnfit, match="Address already in use"):
            dns.publish(lab.config, workload.endpoint, ["web"])


def test_the_name_server_is_not_root_and_holds_no_file_of_ours(lab: Lab) -> None:
    workload = lab.start()
    dns.publish(lab.config, workload.endpoint, ["web"])
    pid = server(lab)
    status = Path(f"/proc/{pid}/status").read_text()
    assert "\nUid:\t65534\t65534\t65534\t65534\n" in status
    targets = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    assert not [target for target in targets if str(lab.config.state) in target or "lock" in target]


def test_it_answers_on_the_bridge_and_nowhere_else(lab: Lab) -> None:
    workload = lab.start()
    dns.publish(lab.config, workload.endpoint, ["web"])
    listening = [line.split()[3] for line in sh("ss -Hlnu sport = 53").splitlines()]
    assert listening == [f"{workload.endpoint.gateway}:53"]
