"""What a full comparison adds, each section by itself: load, portability, and what only one side can do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import privileges
from tests.support.command import REPOSITORY, Twinhull
from tests.support.registry import Registry
from twinhull import config as settings
from twinhull.compare import inside, load, only, portability, probe, subjects
from twinhull.compare.findings import Findings, ImageFacts
from twinhull.compare.session import QUICK, Session

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
IMAGE = "twinhull/busybox"
NOISE = 0.3  # a container may differ by this much from a plain process on a busy machine
SLOWER = 0.6  # an emulated processor is slower than this, published figures say 0.05 to 0.3


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """One state directory and one look inside for all."""
    if privileges.missing():
        pytest.skip("needs what the kernel tests need")
    root = tmp_path_factory.mktemp("full")
    command = Twinhull(root)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in command.environment().items():
            patch.setenv(name, value)
        config = settings.load()
        command("run", "--rm", IMAGE, "true", check=True)
        # Guests with a volume have a template of their own: it is made before anyone looks for leaks.
        with_volume = ("--memory", "192m", "--network", "none", "-v", f"{root}:/volume")
        command("run", "--rm", "--vm", *with_volume, IMAGE, "true", check=True, timeout_s=120)
        found = Session(
            subjects.our_own(config, str(root)),
            Findings(ImageFacts(IMAGE, command=("echo", "hi"))),
            QUICK,
            lambda _: None,
            config,
        )
        with probe.loaded(config) as found.probe_image:
            inside.observe_inside(found)
            assert found.findings.gaps == {}
            yield found
        command.remove_all()


def test_what_only_one_side_can_do_is_so(session: Session) -> None:
    only.try_only(session)

    assert {one["side"] for one in session.findings.only} == {"vm", "container"}
    unmet = [one for one in session.findings.only if not one["works"]]
    assert [one for one in unmet if one["what"] != "use modules that the host's kernel does not have"] == []


def test_what_works_on_the_host_is_refused_to_a_workload_but_for_the_network(session: Session) -> None:
    open_ways = {"raw-packets", "metadata", "host-service"}
    for one in session.findings.probes:
        for side in ("container", "vm"):
            result = one["outcomes"][side]["result"]
            assert result in ("refused", "absent") or one["name"] in open_ways, one
    control = [one["outcomes"]["plain"]["result"] for one in session.findings.probes]
    assert control.count("works") >= 10


def test_an_image_moves_to_a_fresh_state_directory_and_through_a_registry(session: Session, registry: Registry) -> None:
    portability.measure_portability(session, IMAGE, registry.address)
    found = session.findings.portability

    assert found["archive_bytes"] > 0
    assert found["save_s"] > 0
    assert 0 < found["first_start_s"]["container"] < found["first_start_s"]["vm"]
    assert found["registry"]["works"], found["registry"]
    assert [one["name"] for one in found["engines"]] == ["docker", "podman", "crun"]
    assert all(one["works"] or one["why"] for one in found["engines"])
    (other,) = found["processors"]
    assert other["why"] or set(other["sides"]) == {"container", "vm"}
    assert all(one["works"] is (one["start_s"] is not None) is (one["why"] == "") for one in other["sides"].values())


def test_a_registry_that_does_not_answer_is_said_so(tmp_path: Path) -> None:
    found = portability.round_trip(IMAGE, "127.0.0.1:1", str(tmp_path))
    assert not found["works"]
    assert "none answers" in found["why"]


def test_under_load_a_guest_of_tcg_is_several_times_slower_and_a_container_is_not(session: Session) -> None:
    shared = REPOSITORY / "build/tools"  # fetched once for all runs of the tests
    if shared.exists():
        Path(session.config.state, "tools").symlink_to(shared)
    load.measure_load(session, [one for one in load.LOADS if one.name in ("cpu", "throughput")], repeats=2)
    if not shared.exists():
        shutil.copytree(f"{session.config.state}/tools", shared)

    assert session.findings.gaps.get("load") is None
    for row in session.findings.load:
        assert row["gap"] == ""
        assert set(row["subjects"]) == {"plain", "container", "vm"}
    cpu = session.findings.load[0]["subjects"]
    assert cpu["container"]["ratio_low"] - NOISE < 1 < cpu["container"]["ratio_high"] + NOISE
    if session.findings.accelerator == "tcg":
        assert cpu["vm"]["ratio_high"] < SLOWER
