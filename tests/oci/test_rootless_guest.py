"""Limits without root, in a virtual machine of our own: its kernel's cgroup v2 has the controllers that they need."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.oci.test_runtime_guest import BUSYBOX, PREPARE, PYTEST
from tests.support.command import REPOSITORY, Twinhull

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_the_limits_of_a_user_hold_where_his_group_has_controllers(twinhull: Twinhull, rootless_layout: Path) -> None:
    shared = ("-v", f"{REPOSITORY}:{REPOSITORY}:ro", *BUSYBOX, "--tmpfs", "/run", "--tmpfs", "/tmp:exec")
    words = ("run", "-d", "--vm", "--privileged", "--memory", "700m", "--network", "none", "--name", "v2")
    twinhull(*words, *shared, f"oci:{rootless_layout}:rootless", "sleep", "3600", timeout_s=180, check=True)
    if twinhull("exec", "v2", f"python{sys.version_info[0]}.{sys.version_info[1]}", "-V").exit_code != 0:
        pytest.skip("the image has another Python than the tests")
    twinhull("exec", "v2", "sh", "-c", PREPARE)
    script = f"cd {REPOSITORY} && {PYTEST} tests/kernel/test_rootless_groups.py tests/oci/test_runtime_user_groups.py"
    done = twinhull("exec", "v2", "sh", "-c", script, timeout_s=400)
    assert done.exit_code == 0, done.stdout[-3000:]
    assert re.search(r"9 passed in", done.stdout), done.stdout
