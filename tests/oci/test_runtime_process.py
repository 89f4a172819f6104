"""What a process finds of itself: its limits, its environment, the descriptors of its caller."""

from __future__ import annotations

import pytest

from tests.support.oci import Container


@pytest.mark.parametrize("files", [10, 65])
def test_a_low_limit_of_open_files_is_in_nobodys_way_but_the_processs(container: Container, files: int) -> None:
    container.spec["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": files, "hard": files}]
    container.spec["process"]["oomScoreAdj"] = 100
    if files > 10:
        container.spec["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "cat >/hooked"]}]}
    hooked = "/hooked\n" if files > 10 else ""
    script = "ulimit -n; cat /proc/self/oom_score_adj; ls -d /hook* || true"
    assert container.output(script) == f"{files}\n100\n{hooked}"


def test_a_process_that_joins_has_the_low_limit_too(container: Container) -> None:
    container.spec["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 10}]
    container.begin()
    assert container.exec("/bin/sh", "-c", "ulimit -n").stdout == "10\n"
