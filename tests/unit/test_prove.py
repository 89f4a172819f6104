"""Checks as they are shown and counted, and the border between observing and judging."""

from __future__ import annotations

import ast
import os
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import twinhull.prove.judge
from tests.style.test_architecture import EFFECTS, imported
from twinhull.cli.prove import Score
from twinhull.config import Config
from twinhull.prove import report
from twinhull.prove.claims import CLAIMS, chosen
from twinhull.prove.evidence import TOPICS, Check, Evidence, Ran, Verdict, gap, judged, merged
from twinhull.prove.judge.use_cases import several_types
from twinhull.prove.observe.machines import system_of
from twinhull.prove.observe.systems import namespaces
from twinhull.prove.session import shortened, toml

JUDGES = sorted(Path(twinhull.prove.judge.__path__[0]).glob("*.py"))
NOTHING = Evidence((), {}, {})
WORDS = st.lists(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1), min_size=1, max_size=12)


def checked(number: int, holds: str, otherwise: str = "", ran: tuple[Ran, ...] = ()) -> Check:
    verdict = Verdict(holds, "Because it was so.", otherwise)  # type: ignore[arg-type]  # any of the four
    return Check(number, CLAIMS[number - 1], NOTHING._replace(ran=ran), verdict)


@pytest.mark.parametrize("path", JUDGES, ids=lambda path: path.stem)
def test_judges_touch_nothing(path: Path) -> None:
    for name in imported(path):
        assert name.split(".")[0] not in EFFECTS
        assert "observe" not in name
        assert "session" not in name
    called = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
    assert not called & {"open", "input"}


def test_every_claim_has_evidence_a_sentence_and_a_refutation() -> None:
    assert len(CLAIMS) == 25
    for claim in CLAIMS:
        assert claim.observers
        assert claim.sentence.endswith(".")
        assert claim.refuted_by[0].islower()
        assert claim.topic in TOPICS


def test_a_topic_keeps_the_numbers_of_the_table() -> None:
    assert [number for number, _ in chosen("startup")] == [4, 5, 6]
    assert [number for number, _ in chosen()] == list(range(1, 26))


def test_evidence_is_put_together_once_and_a_gap_stays() -> None:
    ran = Ran("twinhull ps", "nothing")
    one = Evidence((ran,), {"host.boot-id": "a"}, {"vm.start_s": (1.0,)})
    both = merged([one, one, gap("no VM ran"), gap("no VM ran")])
    assert both.ran == (ran,)
    assert both.gap == "no VM ran"
    assert judged(CLAIMS[0], both) == Verdict("not measured", "no VM ran")


@pytest.mark.parametrize(("accelerator", "said"), [("tcg", "of TCG"), ("kvm", "of KVM"), ("", "could not be seen")])
def test_figures_of_a_guest_say_what_ran_it(accelerator: str, said: str) -> None:
    samples = {
        **{f"{side}.work_s": (1.0, 1.1, 1.2, 1.3, 1.4, 1.5) for side in ("host", "container")},
        "vm.work_s": (11.0, 11.1, 11.2, 11.3, 11.4, 11.5),
        **{f"{side}.idle_percent": (1.0,) * 6 for side in ("vm", "container")},
    }
    answer = judged(CLAIMS[9], Evidence((), {"vm.accelerator": accelerator}, samples))
    assert answer.holds == "holds"
    assert said in answer.why


def test_memory_is_said_to_be_what_is_its_own_as_it_is_measured() -> None:
    samples = {"vm.memory_bytes": (5e7, 5.1e7, 5.2e7, 5.3e7), "container.memory_bytes": (2e5, 2.1e5, 2.2e5, 2.3e5)}
    answer = judged(CLAIMS[10], Evidence((), {"vm.accelerator": "kvm"}, samples))
    assert "what is its own" in answer.why
    assert "PSS" not in answer.why


@given(WORDS)
def test_a_command_is_shown_as_a_shell_takes_it(words: list[str]) -> None:
    shown = report.command_text(shlex.join(words)).removeprefix("    $ ")
    done = subprocess.run(["sh", "-c", f"printf '%s\\0' {shown}"], capture_output=True, text=True, check=True)
    assert done.stdout.split("\0")[:-1] == words


def test_commands_of_words_that_fit_are_no_wider_than_the_page() -> None:
    shown = report.command_text(shlex.join(["twinhull", "run", *["--env=A=some-value"] * 20, "a b", "sh -c\nexit 1"]))
    assert max(map(len, shown.splitlines())) <= report.WIDTH
    assert len(shown.splitlines()) > 4


def test_what_a_command_said_is_one_line() -> None:
    assert shortened("one\n  two   words\n\n\x1b[31mred\n") == "one  two words  [31mred"
    assert len(shortened("long " * 100)) == 160


def test_a_command_that_was_shown_is_referred_to() -> None:
    ran = Ran("twinhull ps", "nothing")
    record = report.Record()
    assert "$ twinhull ps" in record.text(checked(3, "holds", ran=(ran,)))
    second = record.text(checked(9, "holds", ran=(ran, Ran("true", ""))))
    assert "$ twinhull ps" not in second
    assert "and what was run for 3" in second
    assert "nothing came out" in second


def test_the_summary_counts_and_says_what_would_change_the_others() -> None:
    checks = [
        checked(1, "holds", "never shown"),
        checked(2, "holds"),
        checked(7, "not here", "KVM"),
        checked(16, "not here", "KVM"),
        checked(17, "in part", "another system"),
        checked(18, "not measured"),
    ]
    lines = report.summary(checks, 61.4).splitlines()
    assert lines[1] == "2 hold, 1 in part, 2 not here, 1 not measured   (6 claims, 61 s)"
    assert [line.strip() for line in lines[3:]] == ["7, 16: KVM", "17: another system"]


def test_every_line_of_the_list_fits() -> None:
    text = report.listing(chosen())
    assert max(map(len, text.splitlines())) <= report.WIDTH
    assert [row["number"] for row in report.listing_json(chosen("os"))] == [1, 2, 3]


def test_the_score_counts_what_was_measured() -> None:
    score = Score()
    assert score.count("holds", "holds") == "Right. 1 of 1 right."
    assert score.count("holds", "in part") == "You said: holds. Measured: in part. 1 of 2 right."
    assert "does not count" in score.count("holds", "not measured")
    assert score.text() == "1 of 2 right."


def test_a_machines_layer_tells_its_system_or_nothing() -> None:
    details = ["Linux 6.1.0-31-cloud-amd64", "process 1 is systemd, 9 processes", "from the disk debian.qcow2"]
    assert system_of({"name": "Debian GNU/Linux 12", "details": details}) == {
        "system": "Debian GNU/Linux 12",
        "kernel": "Linux",
        "release": "6.1.0-31-cloud-amd64",
        "init": "systemd",
        "processes": "9",
    }
    assert system_of({"name": "unknown: no guest agent answers", "details": ["from the disk x"]}) == {}


@pytest.mark.parametrize(
    "told", ["process 1 is unknown, 0 processes", "process 1 is systemd, 9 processes; it is still starting"]
)
def test_a_machine_that_is_not_up_yet_is_looked_at_again(told: str) -> None:
    details = ["Linux 6.1.0-31-cloud-amd64", told, "from the disk debian.qcow2"]
    assert system_of({"name": "Debian GNU/Linux 12", "details": details}) == {}


def test_settings_are_written_where_they_differ() -> None:
    config = Config(state="/a", insecure_registries=("b:1",))
    assert toml(config, {"vm_spare": False}) == 'state = "/a"\ninsecure_registries = ["b:1"]\nvm_spare = false\n'
    elsewhere = {"state": Config().state, "vm_template": False}
    assert toml(config, elsewhere) == 'insecure_registries = ["b:1"]\nvm_template = false\n'


def test_every_kind_of_namespace_that_this_kernel_has_is_looked_at() -> None:
    kinds = {word.partition(":")[0] for word in namespaces(os.getpid())}
    assert kinds == set(os.listdir("/proc/self/ns")) - {"pid_for_children", "time_for_children"}


@pytest.mark.parametrize(
    ("releases", "said"),
    [
        ("6.18 6.1.0-50 6.1.0-56", "Linux 6.18, Linux 6.1.0-50 and Linux 6.1.0-56: three versions"),
        ("6.18 6.1 6.1", "Linux 6.18 and Linux 6.1: two versions"),
    ],
)
def test_as_many_versions_are_said_as_are_listed(releases: str, said: str) -> None:
    facts = {"container.release": "6.18"}
    for side, release in zip(("host", "vm", "machine"), releases.split(), strict=True):
        facts |= {f"{side}.kernel": "Linux", f"{side}.release": release, f"{side}.boot-id": side}
    found = several_types(Evidence((), facts, {}))
    assert found.holds == "in part"
    assert said in found.why
