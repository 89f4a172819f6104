"""The clocks of a start: what a trace says, the phases between its moments, and an answer on a real port."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinhull.compare import clocks, measure, run, startup, subjects
from twinhull.compare.answer import Answer
from twinhull.compare.findings import Findings, ImageFacts
from twinhull.compare.measure import behaviour
from twinhull.compare.run import Run, Service, Timing
from twinhull.compare.session import QUICK, Session
from twinhull.compare.subject import CommandLine
from twinhull.config import Config
from twinhull.errors import InvalidRequest

CONTAINER = {"settings": 0.01, "planned": 0.02, "ready": 0.03, "started": 0.031, "first": 0.04, "ended": 0.05}
COLD = {**CONTAINER, "processor": 0.1, "agent": 1.1, "ready": 1.5, "first": 1.6, "ended": 1.7, "clean": 1.8}


def test_a_trace_is_read_with_its_notes_and_a_step_that_came_twice_is_its_last() -> None:
    moments, notes = clocks.parse_trace("planned 5\nready 7 0a1b\nplanned 6\nbroken\nworse x\n")
    assert moments == {"planned": 6, "ready": 7}
    assert notes["ready"] == "0a1b"


def test_a_container_has_no_phase_of_a_machine_and_a_boot_has_them_all() -> None:
    assert clocks.phases(CONTAINER) == pytest.approx(
        {"interpreter": 0.01, "engine": 0.01, "init": 0.01, "app": 0.01, "exit": 0.01}
    )
    boot = clocks.phases(COLD)
    assert list(boot) == [phase.name for phase in clocks.PHASES]
    assert boot["vmm"] == pytest.approx(0.08)
    assert boot["kernel"] == pytest.approx(1.0)
    assert sum(boot.values()) == pytest.approx(1.8)


def test_a_restored_guest_has_no_kernel_to_start() -> None:
    found = clocks.phases({**CONTAINER, "resumed": 0.025})
    assert "kernel" not in found
    assert found["vmm"] == pytest.approx(0.005)
    assert clocks.clocks({**CONTAINER, "resumed": 0.025})["init_s"] == 0.025


@pytest.mark.parametrize("missing", ["settings", "planned", "ready", "first"])
def test_a_start_without_one_of_its_marks_has_no_phases(missing: str) -> None:
    assert clocks.phases({name: moment for name, moment in COLD.items() if name != missing}) == {}


@given(st.lists(st.floats(min_value=0, max_value=100), min_size=8, max_size=8))
def test_phases_add_up_and_none_is_negative(moments: list[float]) -> None:
    names = ("settings", "planned", "processor", "agent", "ready", "first", "ended", "clean")
    found = clocks.phases(dict(zip(names, moments, strict=True)))
    assert min(found.values()) >= 0
    assert sum(found.values()) == pytest.approx(max(moments))
    assert sum(clocks.shares(found).values()) == pytest.approx(1) or not any(moments)


def test_a_command_is_timed_to_its_first_byte_and_its_end() -> None:
    script = "sleep 0.1; echo hi; sleep 0.3; echo late >&2"
    timing = Run(("sh", "-c", script), lambda: None).wait(10, Service())
    assert timing.stdout_s is not None
    assert timing.total_s is not None
    assert 0.1 <= timing.stdout_s <= timing.total_s - 0.1
    assert timing.total_s >= 0.4
    assert (timing.output, timing.complaint, timing.exit_code) == (b"hi\n", "late", 0)


def test_a_service_is_ended_after_its_patience() -> None:
    ended: list[bool] = []
    timing = Run(("sh", "-c", "echo up; exec sleep 30"), lambda: ended.append(True)).wait(10, Service(patience_s=0.1))
    assert timing.total_s is None
    assert ended == [True]


def test_a_connection_that_is_dropped_is_no_answer_and_a_byte_is() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    place: tuple[str, int] = server.getsockname()
    began = time.monotonic()
    serving = threading.Thread(target=drop_then_greet, args=(server, began))
    serving.start()
    asked = Answer(lambda: place, began)
    asked.start()
    asked.join(10)
    serving.join(10)
    server.close()
    assert asked.moment_s is not None
    assert asked.moment_s >= 0.2


def drop_then_greet(server: socket.socket, began: float) -> None:
    while True:
        connection, _ = server.accept()
        with connection:
            if time.monotonic() - began > 0.2:
                connection.sendall(b"x")
                return


def test_a_port_that_never_answers_is_asked_until_told_to_stop() -> None:
    asked = Answer(lambda: None, time.monotonic())
    asked.start()
    asked.stop()
    assert not asked.is_alive()
    assert asked.moment_s is None


@pytest.mark.parametrize(
    ("timing", "expected"),
    [
        (Timing(0.1, None, 0.2, 0, b"", ""), Service(("stdout",), run.AFTER_OUTPUT_S)),
        (Timing(None, 0.1, None, 0, b"", ""), Service(("stderr",), 0.0)),
        (Timing(0.1, None, None, 0, b"", "", 0.3), Service(("stdout",), 0.0, 80, both=True)),
        (Timing(None, None, None, 0, b"", "", 0.3), Service((), 0.0, 80)),
    ],
)
def test_what_the_first_run_showed_is_what_later_runs_wait_for(timing: Timing, expected: Service) -> None:
    assert behaviour(timing, 80 if timing.answer_s else 0) == expected


def test_subjects_are_chosen_by_name_and_all_without_one() -> None:
    assert subjects.chosen("") == subjects.NAMES
    assert subjects.chosen(" container, plain") == ("container", "plain")
    assert subjects.chosen("container,vm_cold") == ("container", "vm", "vm_cold")


@pytest.mark.parametrize(
    ("text", "said"), [("container,lxc", "no subject 'lxc'"), ("docker", "nothing to compare with")]
)
def test_a_subject_that_is_none_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        subjects.chosen(text)


def test_a_service_that_writes_nothing_has_its_answer_and_a_reason_for_no_first_output() -> None:
    config = Config("/no/such/state", "/no/such/run", "/no/such/launcher")
    container = CommandLine("container", config, (), prefix="x", place="/no/such/place")
    session = Session([container], Findings(ImageFacts("busybox")), QUICK, lambda _: None, config)
    timing = Timing(None, None, None, 0, b"", "", answer_s=0.2)
    session.service = behaviour(timing, port=80)
    startup.record(session, container, timing)
    assert session.findings.samples == {"container.healthy_s": [0.2]}
    assert "writes nothing" in session.findings.gaps["container.first_output_s"]
    assert not session.failures


@pytest.mark.parametrize("status", [0, 1])
def test_a_command_that_writes_nothing_has_its_end_timed_and_is_no_failure(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config("/no/such/state", "/no/such/run", "/no/such/launcher")
    container = CommandLine("container", config, (), prefix="x", place="/no/such/place")
    session = Session([container], Findings(ImageFacts("busybox")), QUICK, lambda _: None, config)
    timing = Timing(None, None, 0.05, status, b"", "")
    assert measure.failure(session, timing) == "it wrote nothing"
    monkeypatch.setattr(CommandLine, "run", lambda *_, **__: timing)
    assert measure.warm_up(session, "busybox", ("true",)) == ("true",)
    startup.measure_startup(session, "busybox", ("true",))
    measure.measure_copies(session, "busybox", ("true",))
    assert session.findings.samples == {"container.total_s": [0.05] * QUICK.pairs}
    assert session.findings.gaps == dict.fromkeys(("container.first_output_s", "container.copies_s"), measure.NO_BYTE)
    assert not session.failures
