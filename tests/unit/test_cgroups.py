"""Cgroups in each mode: a v2 leaf always, v1 groups only for a limit, clear refusals."""

from __future__ import annotations

import pytest

from twinhull.errors import UnsupportedSpec
from twinhull.model import Facts
from twinhull.plan.cgroups import cgroup_ops
from twinhull.plan.ops import Op

V2 = Facts(cgroup2="/cg", cgroup2_controllers=("cpu", "memory", "pids"))
HYBRID = Facts(cgroup2="/cg/unified", cgroup1=(("memory", "/cg/memory"), ("cpu", "/cg/cpu")))
LINUX = {"cgroupsPath": "/twinhull/abc", "resources": {"memory": {"limit": 64, "swap": 128}}}
PLAIN = {"cgroupsPath": "/twinhull/abc"}


def test_without_limits_there_is_one_leaf_and_no_v1_group() -> None:
    assert cgroup_ops(PLAIN, HYBRID, "host").make == (Op("cgroup2", ("/cg/unified/twinhull/abc",)),)


def test_on_v2_the_parents_pass_the_controller_on_before_the_leaf_is_made() -> None:
    make = cgroup_ops(LINUX, V2, "host").make
    assert make == (
        Op("write", ("/cg/cgroup.subtree_control", "+memory")),
        Op("cgroup2", ("/cg/twinhull",)),
        Op("write", ("/cg/twinhull/cgroup.subtree_control", "+memory")),
        Op("cgroup2", ("/cg/twinhull/abc",)),
        Op("write", ("/cg/twinhull/abc/memory.max", "64")),
        Op("write", ("/cg/twinhull/abc/memory.swap.max", "64")),
    )


def test_on_a_hybrid_host_the_limit_is_a_v1_group_that_is_undone() -> None:
    groups = cgroup_ops(LINUX, HYBRID, "host")
    assert Op("cgroup1", ("/cg/memory/twinhull/abc",)) in groups.make
    assert Op("write", ("/cg/memory/twinhull/abc/memory.limit_in_bytes", "64")) in groups.make
    assert Op("remove-cgroup", ("/cg/memory/twinhull/abc",)) in groups.undo


def test_swap_is_limited_only_where_v1_accounts_it() -> None:
    values = [op.args for op in cgroup_ops(LINUX, HYBRID._replace(swap_limit=True), "host").make]
    assert ("/cg/memory/twinhull/abc/memory.memsw.limit_in_bytes", "128") in values


def test_a_limit_without_its_controller_is_refused() -> None:
    linux = {"cgroupsPath": "/x", "resources": {"pids": {"limit": 3}}}
    with pytest.raises(UnsupportedSpec, match="pids"):
        cgroup_ops(linux, HYBRID, "host")


def test_a_guest_has_cgroups_of_its_own_whatever_the_host_has() -> None:
    make = cgroup_ops(LINUX, Facts(), "guest").make
    assert Op("cgroup2", ("/sys/fs/cgroup/twinhull/abc",)) in make
