"""Plans of typical requests, compared with the files beside: a changed plan is a diff that is read.

`make golden` writes them anew.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from twinhull.model import Facts, Image, Request, Volume
from twinhull.oci.spec import Identity, make_spec
from twinhull.plan.compile import Network, Root, compile_plan
from twinhull.plan.external import Runtime, compile_external, external_spec
from twinhull.plan.ops import Op, render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.plan.compile import Place

PLANS = Path(__file__).parent / "plans"
CONFIG = {"config": {"Cmd": ["sh"], "Env": ["PATH=/usr/bin:/bin"], "WorkingDir": "/srv"}}
IMAGE = Image("sha256:d", "sha256:c", "linux/amd64", json.dumps(CONFIG), (), 0, "app:x:7:8::/home/app:/bin/sh\n", "")
V2 = Facts(cgroup2="/sys/fs/cgroup", cgroup2_controllers=("cpu", "memory", "pids"))
HYBRID = Facts(
    cgroup2="/sys/fs/cgroup/unified",
    cgroup1=(("memory", "/sys/fs/cgroup/memory"), ("cpu", "/sys/fs/cgroup/cpu"), ("pids", "/sys/fs/cgroup/pids")),
)
NETWORK = Network((Op("netns"),), (), (Op("network", (b"messages", 4)),))
CASES: dict[str, tuple[Request, Facts, Place]] = {
    "container-default": (Request("i"), V2, "host"),
    "container-limits-v2": (Request("i", memory_bytes=64 << 20, cpus=0.5, pids_limit=50), V2, "host"),
    "container-limits-hybrid": (Request("i", memory_bytes=64 << 20, cpus=0.5, pids_limit=50), HYBRID, "host"),
    "container-user-volume-readonly": (
        Request("i", ("id",), user="app", volumes=(Volume("/data", "/data", True),), readonly=True),
        V2,
        "host",
    ),
    "container-terminal-userns": (Request("i", tty=True, user_namespace=True, network="host"), V2, "host"),
    "container-runtime-terminal": (Request("i", tty=True, runtime="/usr/bin/crun"), HYBRID, "host"),
    "vm-default": (Request("i", isolation="vm"), HYBRID, "guest"),
    "vm-limits-volume": (
        Request("i", isolation="vm", memory_bytes=64 << 20, volumes=(Volume("/data", "/data"),)),
        HYBRID,
        "guest",
    ),
}


def compiled(name: str) -> str:
    request, facts, place = CASES[name]
    identity = Identity("abc", "box", (("/instances/abc/hosts", "/etc/hosts"),) if place == "host" else ())
    spec = make_spec(IMAGE, request, identity)
    upper = "tmpfs" if place == "guest" else "/instances/abc/upper"
    root = Root("/layers", "3:2:1", upper, "/instances/abc/work")
    network = NETWORK if place == "guest" else NETWORK._replace(inside=())
    if request.runtime:
        runtime = Runtime(request.runtime, "/instances/abc", "abc")
        plan = compile_external(external_spec(spec, facts, runtime, network), facts, root, network, runtime)
    else:
        plan = compile_plan(spec, facts, root, network, place=place, seccomp=b"\0" * 16)
    return "".join(
        f"# {stage}\n{render(ops)}" for stage, ops in zip(plan._fields, (plan.host, plan.child, plan.undo), strict=True)
    )


@pytest.mark.parametrize("name", CASES)
def test_the_plan_is_the_one_that_was_read(name: str) -> None:
    path, found = PLANS / f"{name}.txt", compiled(name)
    if os.environ.get("TWINHULL_GOLDEN") == "write":
        path.write_text(found)
    assert found == path.read_text()


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in PLANS.iterdir()} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_compiling_twice_gives_the_same_plan(name: str) -> None:
    assert compiled(name) == compiled(name)
