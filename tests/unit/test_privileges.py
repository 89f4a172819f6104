"""Capabilities, --security-opt and seccomp profiles: what words and files become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_spec import spec
from twinhull.cli.parser import Parser
from twinhull.cli.run import configure_create, request_of
from twinhull.config import Config
from twinhull.errors import InvalidRequest, UnsupportedSpec
from twinhull.model import Request
from twinhull.oci.privileges import capabilities
from twinhull.plan import defaults, filters, seccomp
from twinhull.plan.seccomp_profile import holds, section
from twinhull.store.instances import request_from, request_text

ALLOW = filters.ACTIONS["SCMP_ACT_ALLOW"]


def asked(*words: str) -> Request:
    parser = Parser("create")
    configure_create(parser)
    return request_of(parser.parse_args([*words, "i", "x"]), Config())


def sets(**values: Any) -> tuple[str, ...]:
    return capabilities(Request("i")._replace(**values))


def test_adding_and_dropping_capabilities_is_as_in_docker() -> None:
    assert sets() == defaults.CAPABILITIES
    assert sets(cap_add=("chown", "CAP_SYS_TIME")) == (*defaults.CAPABILITIES, "CAP_SYS_TIME")
    assert sets(cap_drop=("ALL",), cap_add=("kill",)) == ("CAP_KILL",)
    assert "CAP_CHOWN" not in sets(cap_add=("all",), cap_drop=("chown",))
    assert len(sets(cap_add=("ALL",))) == len(sets(privileged=True)) == len(defaults.CAPABILITY_NUMBERS)
    assert sets(cap_drop=("CHOWN",), cap_add=("CHOWN",))[-1] == "CAP_CHOWN"


@pytest.mark.parametrize(
    "words",
    [
        ("--cap-add", "NONE"),
        ("--cap-drop", "CAP_"),
        ("--security-opt", "nonsense"),
        ("--security-opt", "no-new-privileges=maybe"),
        ("--security-opt", "apparmor=mine"),
        ("--security-opt", "seccomp="),
        ("--security-opt", "seccomp=/nonexistent"),
    ],
)
def test_what_there_is_not_is_refused(words: tuple[str, str]) -> None:
    with pytest.raises(InvalidRequest, match=words[0]):
        asked(*words)


def test_options_become_fields_and_come_back_from_the_database(tmp_path: Path) -> None:
    profile = tmp_path / "p"
    profile.write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    words = ("no-new-privileges:true", "apparmor=unconfined", "label=disable", f"seccomp={profile}")
    options = [word for option in words for word in ("--security-opt", option)]
    found = asked(*options, "--cap-add", "ALL", "--privileged")
    assert (found.no_new_privileges, found.seccomp, found.unmasked) == (True, profile.read_text(), False)
    assert request_from(request_text(found)) == found
    assert asked("--security-opt", "seccomp=builtin").seccomp == ""
    profile.write_text("[]")
    with pytest.raises(InvalidRequest, match="no defaultAction"):
        asked("--security-opt", f"seccomp={profile}")


def test_a_privileged_spec_hides_nothing_and_no_user_namespace_has_it() -> None:
    found = spec(Request("i", ("x",), privileged=True))
    assert found["linux"]["maskedPaths"] == found["linux"]["readonlyPaths"] == []
    assert found["annotations"][seccomp.ANNOTATION] == "unconfined"
    assert not any("ro" in mount["options"] for mount in found["mounts"])
    guest = spec(Request("i", ("x",), privileged=True, isolation="vm"))
    assert [mount["type"] for mount in guest["mounts"] if mount["destination"] == "/dev"] == ["devtmpfs"]
    with pytest.raises(InvalidRequest, match="userns"):
        spec(Request("i", ("x",), privileged=True, user_namespace=True))


def names(found: filters.Profile) -> set[str]:
    """The calls that are allowed whatever their arguments."""
    return {rule.name for rule in found.rules if rule.action == ALLOW and not rule.comparisons}


def test_a_capability_opens_its_system_calls_and_no_other() -> None:
    plain = names(seccomp.profile(defaults.CAPABILITIES))
    assert not {"mount", "clone", "clone3", "reboot"} & plain
    assert names(seccomp.profile(["CAP_SYS_TIME"])) - plain == {"clock_settime", "settimeofday"}
    assert {"mount", "clone", "clone3", "unshare"} <= names(seccomp.profile(["CAP_SYS_ADMIN"]))
    assert seccomp.opening(defaults.CAPABILITIES) == ()


def test_a_profile_keeps_the_rules_that_are_meant_for_the_workload() -> None:
    rules = [
        {"names": ["a"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"name": "b", "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["c"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390x"]}},
        {"names": ["d"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "5.10"}},
    ]
    mapped = [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}]
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "archMap": mapped, "syscalls": rules}
    found = section(profile, ["CAP_CHOWN"], "5.9.1-x")
    assert [row["names"] for row in found["syscalls"]] == [["b"]]
    assert found["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert filters.parse(found).default == filters.ACTIONS["SCMP_ACT_ERRNO"] | 1
    assert [row["names"][0] for row in section(profile, ["CAP_SYS_ADMIN"], "")["syscalls"]] == ["a", "d"]
    assert not holds({"excludes": {"minKernel": "5.9"}}, [], "6.1-amd64")
    with pytest.raises(UnsupportedSpec, match="listener"):
        section({**profile, "listenerPath": "/x"}, [], "")
