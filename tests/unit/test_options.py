"""The rarer flags of run: what their words become, and which are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_privileges import asked
from tests.unit.test_spec import spec
from twinhull.cli import lists
from twinhull.errors import InvalidRequest
from twinhull.model import Device, Facts, Request, Volume
from twinhull.network.etc import changed, host_lines
from twinhull.oci.options import tmpfs
from twinhull.oci.spec import User, with_groups
from twinhull.plan.cgroups import cgroup_ops
from twinhull.plan.compile import Network, Root, compile_plan
from twinhull.store.instances import request_from, request_text

ALL = (
    *("--ulimit", "nofile=1:2", "--ulimit", "core=-1", "--sysctl", "net.core.somaxconn=9", "--tmpfs", "/run"),
    *("--shm-size", "1m", "--device", "/dev/a:/dev/b:rw", "--group-add", "7", "-c", "9", "--cpuset-cpus", "0"),
    *("--oom-score-adj", "-5", "--stop-timeout", "3", "--umask", "077", "--add-host", "a:10.0.0.1", "--dns", "::1"),
    *("--dns-search", "x", "--dns-option", "y", "--domainname", "z", "--mac-address", "02-00-00-00-00-0A"),
    *("--memory", "8m", "--memory-swap", "-1"),
)


def test_every_flag_becomes_a_field_and_comes_back_from_the_database() -> None:
    found = asked(*ALL)
    assert found.ulimits == (("nofile", 1, 2), ("core", -1, -1))
    assert found.devices == (Device("/dev/a", "/dev/b", "rw"),)
    assert (found.cpu_shares, found.oom_score_adj, found.stop_timeout, found.umask) == (9, -5, 3, 0o77)
    assert (found.mac, found.swap_bytes, found.hosts) == ("02:00:00:00:00:0a", -1, (("a", "10.0.0.1"),))
    assert request_from(request_text(found)) == found


@pytest.mark.parametrize(
    "words",
    [
        ("--ulimit", "nonsense=1"),
        ("--ulimit", "nofile=2:1"),
        ("--ulimit", "nofile=x"),
        ("--ulimit", "nofile=-2"),
        ("--ulimit", "nofile=-1:5"),
        ("--sysctl", "nonsense"),
        ("--sysctl", "net..x=1"),
        ("--tmpfs", "run"),
        ("--tmpfs", "/"),
        ("--tmpfs", "/run:nonsense"),
        ("--shm-size", "0"),
        ("--device", "dev"),
        ("--device", "/dev/a:/dev/b:/dev/c:r"),
        ("--memory-swap", "1g"),
        ("--cpu-shares", "1"),
        ("--cpuset-cpus", "0-99999"),
        ("--cpuset-cpus", "x"),
        ("--oom-score-adj", "1001"),
        ("--pids-limit", "99999999999"),
        ("--stop-timeout", "soon"),
        ("--umask", "9"),
        ("--add-host", "db"),
        ("--add-host", "db:nonsense"),
        ("--dns", "nonsense"),
        ("--domainname", "a b"),
        ("--mac-address", "01:00:00:00:00:00"),
        ("--mac-address", "02:00"),
        ("--label-file", "/nonexistent"),
    ],
)
def test_what_means_nothing_is_refused_with_its_flag(words: tuple[str, str]) -> None:
    with pytest.raises(InvalidRequest, match=words[0]):
        asked(*words)


def test_swap_is_at_least_the_memory_that_it_counts() -> None:
    with pytest.raises(InvalidRequest, match="less than --memory"):
        asked("--memory", "64m", "--memory-swap", "32m")
    limits = {"memory": {"limit": 1 << 26, "swap": -1}}
    facts = Facts(cgroup2="/c", cgroup2_controllers=("memory", "cpu", "cpuset"))
    values = [op.args for op in cgroup_ops({"cgroupsPath": "/t/x", "resources": limits}, facts, "host").make]
    assert ("/c/t/x/memory.swap.max", "max") in values


def test_weight_and_processors_are_limits_and_a_guest_has_its_own_processors() -> None:
    limits = {"cpu": {"shares": 1024, "cpus": "0"}}
    facts = Facts(cgroup2="/c", cgroup2_controllers=("cpu", "cpuset"))
    values = [op.args for op in cgroup_ops({"cgroupsPath": "/t/x", "resources": limits}, facts, "host").make]
    assert {("/c/t/x/cpu.weight", "39"), ("/c/t/x/cpuset.cpus", "0")} <= set(values)
    inside = cgroup_ops({"cgroupsPath": "/t/x", "resources": limits}, facts, "guest").make
    assert not any("cpuset" in str(op.args) for op in inside)


def test_a_setting_of_the_whole_kernel_is_refused_to_a_container() -> None:
    asking = Request("i", ("x",))
    net = asking._replace(sysctls=(("net.core.somaxconn", "1"),))
    for request in (asking._replace(sysctls=(("vm.swappiness", "1"),)), net._replace(network="host")):
        with pytest.raises(InvalidRequest, match="--sysctl"):
            spec(request)
    assert spec(net)["linux"]["sysctl"] == {"net.core.somaxconn": "1"}
    assert spec(Request("i", ("x",), sysctls=(("vm.x", "1"),), isolation="vm"))["linux"]["sysctl"] == {"vm.x": "1"}


def test_file_systems_in_memory_and_volumes_lie_in_the_order_of_their_depth() -> None:
    request = Request("i", ("x",), volumes=(Volume("/s", "/a/b/c"), Volume("/t", "/v")), tmpfs=(("/a", "size=1m"),))
    assert [mount["destination"] for mount in spec(request)["mounts"]][-3:] == ["/v", "/a", "/a/b/c"]
    assert tmpfs("/a", "exec,mode=700")["options"] == ["noexec", "nosuid", "nodev", "exec", "mode=700"]
    replaced = spec(Request("i", ("x",), tmpfs=(("/dev/shm", ""),)))["mounts"]
    assert [mount["source"] for mount in replaced if mount["destination"] == "/dev/shm"] == ["tmpfs"]


def test_groups_are_added_by_name_or_number_and_unknown_ones_are_refused() -> None:
    user = spec(Request("i", ("x",), groups=("wheel", "77")))["process"]["user"]
    assert sorted(user["additionalGids"]) == [10, 77]
    with pytest.raises(InvalidRequest, match="unable to find group"):
        spec(Request("i", ("x",), groups=("nobodys",)))
    for number in ("2147483648", "4294967295", "4294967296", "99999999999999999999"):
        with pytest.raises(InvalidRequest, match="range 0-2147483647"):
            spec(Request("i", ("x",), groups=(number,)))
    assert with_groups(User(groups=(10,)), ("10", "wheel"), "wheel:x:10:\n").groups == (10,)


def test_files_of_names_take_what_is_given() -> None:
    text = changed("nameserver 10.0.0.1\nsearch old\noptions ndots:0\n", ("9.9.9.9",), (".",), ())
    assert text == "options ndots:0\nnameserver 9.9.9.9\n"
    assert changed("domain old\n", (), ("new", "too"), ("rotate",)) == "search new too\noptions rotate\n"
    assert host_lines((("a", "10.0.0.1"), ("b", "host-gateway")), "10.0.0.9") == "10.0.0.1\ta\n10.0.0.9\tb\n"
    with pytest.raises(InvalidRequest, match="host-gateway"):
        host_lines((("b", "host-gateway"),), "")


def test_a_first_process_is_an_op_before_the_program() -> None:
    document = spec(asked("--init"))
    plan = compile_plan(document, Facts(), Root("/l", "1", "/u", "/w"), Network())
    names = [op.name for op in plan.child]
    assert names.index("init") < names.index("exec")


def test_labels_are_read_from_files(tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("# none\n\n a=1\nb\n")
    found = asked("--label-file", str(tmp_path / "labels"), "-l", "a=2")
    assert found.labels == (("a", "1"), ("b", ""), ("a", "2"))


def test_a_file_of_variables_that_never_ends_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="--env-file /dev/zero: more than"):
        lists.variables(["/dev/zero"], [])
