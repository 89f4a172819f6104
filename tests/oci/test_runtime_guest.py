"""A virtual machine of our own, whose kernel has cgroup v2 alone, with the controllers that limits without root need.

The tests of that run inside, twinhull-oci's among them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.support.command import REPOSITORY, Twinhull

BUSYBOX = ("-v", "/bin/busybox:/usr/bin/busybox:ro")
RUNC = ("/usr/sbin/runc", "/usr/lib/x86_64-linux-gnu/libseccomp.so.2")  # where Debian has them
# The workload's own group gives its controllers to those of the containers: no process may stay in it.
PREPARE = (
    "mkdir /sys/fs/cgroup/own && for p in $(cat /sys/fs/cgroup/cgroup.procs); do echo $p; done "
    "> /run/processes; while read p; do echo $p > /sys/fs/cgroup/own/cgroup.procs; done < /run/processes; "
    "echo '+cpu +memory +pids' > /sys/fs/cgroup/cgroup.subtree_control"
)
INSIDE = [
    *(f"tests/oci/test_{name}_cgroup2.py" for name in ("runtime", "external", "vm")),
    *("tests/kernel/test_rootless_groups.py", "tests/oci/test_runtime_user_groups.py"),
]
PYTEST = "PYTHONDONTWRITEBYTECODE=1 exec .venv/bin/python -m pytest -q -p no:cacheprovider --basetemp=/tmp/pytest"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(700)]


def runc() -> tuple[str, ...]:
    """runc with its library, where it is installed; the library without it."""
    return tuple(word for path in RUNC if Path(path).exists() for word in ("-v", f"{path}:{path}:ro"))


@pytest.fixture
def guest(twinhull: Twinhull, python_layout: Path) -> Twinhull:
    """A machine called `v2` that sees this checkout at its own path, with this interpreter's version."""
    shared = ("-v", f"{REPOSITORY}:{REPOSITORY}:ro", *BUSYBOX, *runc(), "--tmpfs", "/run", "--tmpfs", "/tmp:exec")
    words = ("run", "-d", "--vm", "--privileged", "--memory", "700m", "--network", "none", "--name", "v2")
    twinhull(*words, *shared, f"oci:{python_layout}:python", "sleep", "3600", timeout_s=180, check=True)
    if twinhull("exec", "v2", f"python{sys.version_info[0]}.{sys.version_info[1]}", "-V").exit_code != 0:
        pytest.skip("the image has another Python than the tests")
    return twinhull


def test_everything_about_cgroup_v2_holds_where_there_is_no_other(guest: Twinhull) -> None:
    guest("exec", "v2", "sh", "-c", PREPARE)
    script = f"cd {REPOSITORY} && {PYTEST} {' '.join(INSIDE)}"
    done = guest("exec", "v2", "sh", "-c", script, timeout_s=500)
    assert done.exit_code == 0, done.stdout[-3000:]
    found = re.search(r"(\d+) passed in", done.stdout)
    assert found and int(found[1]) >= 22, done.stdout
    assert "skipped" not in done.stdout or not Path(RUNC[0]).exists()
