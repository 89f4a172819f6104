"""What compare does with a result: files, formats and exit codes, from a saved document, without root."""

from __future__ import annotations

import csv
import errno
import json
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.support import documents
from twinhull.cli import compare, outputs
from twinhull.cli.arguments import command_behind_image, make_parser
from twinhull.cli.verbs import VERBS
from twinhull.config import Config
from twinhull.errors import InvalidRequest

NOWHERE = Config("/no/such/state", "/no/such/run", "/no/such/launcher")  # nothing can be measured with it


@pytest.fixture
def saved(tmp_path: Path) -> str:
    path = tmp_path / "saved.json"
    path.write_text(json.dumps(documents.complete(seed=2, factor=1.5)))
    return str(path)


def run(*words: str) -> int:
    """The verb as the command line calls it; a saved document needs neither root nor state."""
    parser = make_parser("compare", VERBS["compare"])
    compare.configure_compare(parser)
    return compare.run_compare(parser.parse_args(list(words)), NOWHERE)


@pytest.mark.parametrize("form", outputs.FORMATS)
def test_every_format_is_made_of_a_saved_document(
    form: str, saved: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--from", saved, "--format", form) == 0
    shown = capsys.readouterr().out
    assert run("--from", saved, "--format", form, "--output", f"{tmp_path}/out") == 0
    assert (tmp_path / "out").read_text().rstrip("\n") == shown.rstrip("\n")
    assert capsys.readouterr().out == ""
    checks: dict[str, Any] = {
        "text": lambda text: text.index("> CONTAINER"),
        "json": json.loads,
        "csv": lambda text: list(csv.reader(text.splitlines()))[1],
        "markdown": lambda text: text.index("# twinhull compare busybox"),
        "junit": ElementTree.fromstring,
    }
    assert checks[form](shown) is not None


def test_json_that_was_written_is_read_again(saved: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("--from", saved, "--format", "json", "--output", f"{tmp_path}/again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == json.loads(Path(saved).read_text())
    assert run("--from", f"{tmp_path}/again.json", "--html", f"{tmp_path}/report.html") == 0
    assert (tmp_path / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.json", "report.html", "saved.json"]


def test_the_exit_code_is_that_of_the_conditions(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    so, not_so, unknown = (("--fail-if", f"{name} > {bound}") for name, bound in
                           (("vm.startup", "1ms"), ("vm.startup", "99s"), ("podman.startup", "1ms")))  # fmt: skip
    assert run("--from", saved, *not_so) == 0
    assert run("--from", saved, *not_so, *unknown) == 4
    assert run("--from", saved, *unknown, *so) == 3
    said = capsys.readouterr().err
    assert "fail-if vm.startup > 99s: not so, it is 2" in said
    assert "fail-if podman.startup > 1ms: not measured (podman.first_output_s: this run did not look at it)" in said


def test_conditions_of_a_saved_result_stay_and_are_judged_anew(
    saved: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "again.json"
    assert run("--from", saved, "--fail-if", "vm.startup > 1ms", "--format", "json", "--output", str(again)) == 3
    forged = json.loads(again.read_text())
    forged["conditions"][0] |= {"outcome": "not so", "value": 0.0}
    again.write_text(json.dumps(forged))
    capsys.readouterr()
    assert run("--from", str(again), "--format", "junit") == 0
    suite = ElementTree.fromstring(capsys.readouterr().out)
    (failure,) = suite.iter("failure")
    assert str(failure.get("message")).startswith("vm.startup > 1ms: so, it is 2")
    assert run("--from", str(again), "--format", "json", "--fail-if", "vm.startup > 99s") == 0
    shown = capsys.readouterr()
    assert [one["outcome"] for one in json.loads(shown.out)["conditions"]] == ["so", "not so"]
    assert "1ms" not in shown.err
    forged["conditions"][0]["expression"] = "nonsense"
    again.write_text(json.dumps(forged))
    with pytest.raises(InvalidRequest, match=r"again\.json is not what compare wrote: --fail-if"):
        run("--from", str(again))


def test_a_file_that_cannot_be_written_whole_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InvalidRequest, match=r"cannot write .*: No space left"):
        outputs.write(f"{tmp_path}/report.html", "x" * 100)
    assert list(tmp_path.iterdir()) == []


def test_changes_since_an_earlier_run_are_in_every_output(
    saved: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old.json"
    old.write_text(json.dumps(documents.complete(seed=1)))
    for form in ("text", "json", "markdown"):
        assert run("--from", saved, "--compare-with", str(old), "--format", form) == 0
        shown = capsys.readouterr().out
        assert "old.json" in shown
        assert "more" in shown


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--from", "no-such.json"), "cannot read no-such.json: No such file or directory"),
        (("--from", "/"), "cannot read /: Is a directory"),
        (("--compare-with", "no-such.json"), "cannot read no-such.json"),
        (("--html", "/no/such/directory/report.html"), "cannot write /no/such/directory/report.html"),
        (("--output", "/"), "cannot write /"),
        (("--fail-if", "vm.startpu > 1s"), "startpu is no quantity"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_measured(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        run(*words)
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("busybox", "--html", "report.html"), "--html behind IMAGE"),
        (("busybox", "--fail-if", "vm.startup > 1ms"), "--fail-if behind IMAGE"),
        (("busybox@sha256:12",), "bad digest"),
    ],
)
def test_what_would_be_taken_for_a_command_or_an_image_is_refused_at_once(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        run(*words)


@pytest.mark.parametrize("words", [("--full",), ("--port", "80"), ("--subjects", "vm"), ("busybox",)])
def test_a_saved_result_and_how_to_measure_exclude_each_other(words: tuple[str, ...], saved: str) -> None:
    with pytest.raises(InvalidRequest, match=f"--from and .*{words[0]} at once"):
        run("--from", saved, *words)


def test_flags_of_the_command_stand_behind_dashes() -> None:
    assert command_behind_image("compare", ["--", "--version"]) == ("--version",)
    assert command_behind_image("compare", ["echo", "--version"]) == ("echo", "--version")


def test_a_result_of_another_machine_is_refused(saved: str, tmp_path: Path) -> None:
    other = documents.complete()
    other["host"]["processor"] = "Other"
    (tmp_path / "old.json").write_text(json.dumps(other))
    for words in (("--from", saved), ()):  # measured elsewhere before, or about to be measured here
        with pytest.raises(InvalidRequest, match="processor Other then"):
            run(*words, "--compare-with", f"{tmp_path}/old.json")


def test_a_pipe_is_written_into_and_stays_one(saved: str, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    outputs.write(str(pipe), "made")
    assert os.read(reader, 100) == b"made"
    os.close(reader)
    assert pipe.is_fifo()


def test_what_a_link_leads_to_is_written_and_the_link_stays(saved: str, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    assert run("--from", saved, "--html", str(link)) == 0
    assert link.is_symlink()
    assert (tmp_path / "target").read_text().startswith("<!DOCTYPE html>")


def test_a_full_device_is_one_clear_line_and_stays_a_device() -> None:
    with pytest.raises(InvalidRequest, match="cannot write /dev/full: No space left"):
        outputs.write("/dev/full", "made")
    assert Path("/dev/full").is_char_device()


@pytest.mark.parametrize("path", ["/proc/x", "/", "/no/such/directory/x"])
def test_what_cannot_be_written_is_refused_before(path: str, saved: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot write"):
        run("--from", saved, "--html", path)


def test_two_results_do_not_share_a_file(saved: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="same file"):
        run("--from", saved, "--html", f"{tmp_path}/x", "--output", f"{tmp_path}/./x")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--port", "0"), "no such port: 0"),
        (("--port", "99999999999"), "no such port"),
        (("--subjects", ""), "names nothing"),
        (("--subjects", " , "), "names nothing"),
    ],
)
def test_a_port_or_subjects_that_are_none_are_refused(words: tuple[str, ...], text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        run(*words)


@pytest.mark.parametrize("flag", ["--html", "--output"])
def test_a_file_that_cannot_be_written_does_not_cost_the_result(
    flag: str, saved: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InvalidRequest, match="cannot write /dev/full: No space left"):
        run("--from", saved, "--format", "json", flag, "/dev/full")
    assert json.loads(capsys.readouterr().out)["image"]


def test_a_device_may_be_named_for_the_text_beside_a_report(saved: str, tmp_path: Path) -> None:
    assert run("--from", saved, "--output", os.devnull) == 0
    assert run("--from", saved, "--output", os.devnull, "--html", os.devnull) == 0


@pytest.mark.parametrize("flag", ["--html", "--output", "--from", "--compare-with"])
def test_an_empty_value_is_no_wish_but_a_variable_that_was_not_set(flag: str) -> None:
    with pytest.raises(InvalidRequest, match=f"argument {flag}: it is empty"):
        run(f"{flag}=")
    with pytest.raises(InvalidRequest, match="argument IMAGE: it is empty"):
        run("")
