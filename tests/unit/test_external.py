"""The bundle of another OCI runtime: the default filter in the words of the specification, and what is left out."""

from __future__ import annotations

from typing import Any

import pytest

from twinhull.model import Facts, Image, Request
from twinhull.oci.spec import Identity, make_spec
from twinhull.plan import filters, seccomp
from twinhull.plan.compile import Network
from twinhull.plan.defaults import CAPABILITIES
from twinhull.plan.external import Runtime, default_section, external_spec
from twinhull.plan.ops import Op

RUNTIME = Runtime("/usr/bin/crun", "/bundle", "id")
IMAGE = Image("d", "c", "linux/amd64", '{"config": {"Cmd": ["sh"]}}', (), 0)


def bundle(request: Request, facts: Facts | None = None, network: Network | None = None) -> dict[str, Any]:
    spec = make_spec(IMAGE, request, Identity("id", "box"))
    return external_spec(spec, facts or Facts(), RUNTIME, network or Network((Op("netns"),)))


@pytest.mark.parametrize("more", [(), ("CAP_SYS_ADMIN", "CAP_SYS_PTRACE")])
def test_the_default_filter_means_the_same_as_a_section(more: tuple[str, ...]) -> None:
    held = [*CAPABILITIES, *more]
    ours, theirs = seccomp.profile(held), filters.parse(default_section(held))
    assert theirs.default == ours.default
    assert sorted(theirs.rules) == sorted(ours.rules)


def test_an_unconfined_workload_has_no_filter() -> None:
    assert "seccomp" not in bundle(Request("i", privileged=True))["linux"]


def test_the_network_is_the_one_that_was_made_the_hosts_or_none() -> None:
    assert {"type": "network", "path": "/bundle/netns"} in bundle(Request("i"))["linux"]["namespaces"]
    shared = bundle(Request("i", network="host"), network=Network())["linux"]["namespaces"]
    assert not [row for row in shared if row["type"] == "network"]


def test_capabilities_that_the_machine_lacks_are_left_out() -> None:
    sets = bundle(Request("i"), Facts(capabilities=1 << 0))["process"]["capabilities"]
    assert sets["bounding"] == ["CAP_CHOWN"]
