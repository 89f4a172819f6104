"""Addresses for machines: a real dnsmasq, asked as a disk asks that knows nothing of us."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.kernel.test_network_names import wait_until_over
from tests.support.netlab import Lab, Workload, inside, sh
from twinhull.errors import HostUnfit
from twinhull.network import dhcp, dns


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """What udhcpc runs with an answer: it prints it."""
    path = tmp_path / "bound"
    path.write_text('#!/bin/sh\n[ "$1" = bound ] && echo "$ip/$mask $router $dns $hostname" || true\n')
    path.chmod(0o755)
    return path


def ask(workload: Workload, script: Path, tries: int = 5) -> str:
    """What a client on a workload's card is told, "" without an answer."""
    with inside(workload.namespace):
        words = f"busybox udhcpc -q -n -f -i eth0 -t {tries} -T 1 -s {script} 2>/dev/null"
        return sh(words, ok=False).strip()


def server(lab: Lab) -> int:
    return dns.pid_of(f"{dhcp.directory_of(lab.config, 'bridge')}/dnsmasq.pid")


def test_dhcp_answers_the_card_of_a_machine_and_no_other(lab: Lab, script: Path) -> None:
    machine, other = lab.start(), lab.start()
    place = machine.endpoint
    dhcp.serve(lab.config, place, "box")
    assert ask(machine, script) == f"{place.address}/{place.prefix} {place.gateway} {place.gateway} box"
    assert ask(other, script, tries=2) == ""


def test_the_server_runs_while_a_machine_has_a_record(lab: Lab, script: Path) -> None:
    one, two = lab.start(), lab.start()
    dhcp.serve(lab.config, one.endpoint, "one")
    pid = server(lab)
    dhcp.serve(lab.config, two.endpoint, "two")
    assert server(lab) == pid != 0
    assert ask(two, script).endswith("two")
    dhcp.withdraw(lab.config, one.endpoint)
    assert server(lab) == pid
    dhcp.withdraw(lab.config, two.endpoint)
    wait_until_over(pid)
    assert os.listdir(f"{dhcp.directory_of(lab.config, 'bridge')}/hosts") == []


def test_the_name_server_of_a_network_has_neither_the_port_nor_the_capabilities_of_dhcp(lab: Lab) -> None:
    workload = lab.start()
    dns.publish(lab.config, workload.endpoint, ["web"])
    pid = dns.pid_of(f"{dns.directory_of(lab.config, 'bridge')}/dnsmasq.pid")
    held = {
        line.split()[0]: line.split()[1]
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line[:3] == "Cap"
    }
    dhcp.serve(lab.config, workload.endpoint, "web")
    assert server(lab) not in (0, pid)
    net_raw = 1 << 13
    assert not int(held["CapEff:"], 16) & net_raw
    dns.withdraw(lab.config, workload.endpoint)
    dhcp.withdraw(lab.config, workload.endpoint)


def test_a_port_that_another_server_of_the_host_has_is_an_error_that_says_so(lab: Lab) -> None:
    workload = lab.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", dhcp.PORT))
        with pytest.raises(HostUnfit, match="DHCP server of network 'bridge' cannot start") as caught:
            dhcp.serve(lab.config, workload.endpoint, "x")
    assert "sport = 67" in caught.value.hint
