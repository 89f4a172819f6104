"""`twinhull stack` on workloads that run."""

from __future__ import annotations

import os

import pytest

from tests.support.command import Twinhull


def test_a_containers_stack_ends_on_the_hosts_kernel(twinhull: Twinhull) -> None:
    twinhull("run", "-d", "--network", "none", "--name", "below", "busybox", "sleep", "60", check=True)

    layers = twinhull("stack", "below", "--format", "json", check=True).json()

    assert [layer["level"] for layer in layers] == ["Infrastructure", "Host OS", "Engine", "App"]
    assert f"Linux {os.uname().release}" in layers[1]["details"]
    assert f"kernel seen inside: {os.uname().release}, the same as the host's" in layers[2]["details"]
    assert "sleep" in layers[2]["details"][0]
    assert layers[3]["name"] == "busybox"


@pytest.mark.slow
def test_a_vms_stack_has_a_hypervisor_and_another_kernel(twinhull: Twinhull) -> None:
    run = ("run", "-d", "--vm", "--network", "none", "--name", "below", "busybox", "sleep", "60")
    twinhull(*run, timeout_s=110, check=True)

    layers = {layer["level"]: layer for layer in twinhull("stack", "below", "--format", "json", check=True).json()}

    assert list(layers) == ["Infrastructure", "Host OS", "Hypervisor", "Guest OS", "App"]
    assert layers["Hypervisor"]["name"].startswith("QEMU ")
    assert layers["Hypervisor"]["details"][0].startswith(("KVM", "TCG"))
    assert layers["Guest OS"]["name"].startswith("Linux ")
    assert layers["Guest OS"]["name"] != f"Linux {os.uname().release}"


def test_a_workload_that_ended_has_no_stack(twinhull: Twinhull) -> None:
    twinhull("run", "--network", "none", "--name", "gone", "busybox", "true", check=True)

    done = twinhull("stack", "gone")

    assert done.exit_code == 125
    assert done.stderr.startswith("twinhull: gone does not run: it is exited")
