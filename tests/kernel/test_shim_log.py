"""The log: what the workload wrote, as JSON lines, whoever listens."""

from __future__ import annotations

import re
import shlex

from tests.support.shim import Supervise, wait_until
from twinhull.engine import logs
from twinhull.plan.frames import Kind

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")


def printf(text: str) -> tuple[str, ...]:
    return ("sh", "-c", f"printf {shlex.quote(text)}")


def test_each_line_is_a_record_with_its_stream_and_its_time(supervise: Supervise) -> None:
    shim, _ = supervise.run("sh", "-c", "echo one; echo two; sleep 0.1; echo bad >&2; sleep 0.1; printf end")
    records = shim.log()
    assert [(record["log"], record["stream"]) for record in records] == [
        ("one\n", "stdout"),
        ("two\n", "stdout"),
        ("bad\n", "stderr"),
        ("end", "stdout"),
    ]
    assert all(TIME.fullmatch(record["time"]) for record in records)


def test_what_json_cannot_hold_is_escaped(supervise: Supervise) -> None:
    shim, ended = supervise.run(*printf(r'"q" \\ \t\b\f\r\033[1m \001\037\177 é€😀\n'))
    assert shim.logged() == ended.stdout.decode()


def test_bytes_that_are_not_utf_8_become_the_replacement_character(supervise: Supervise) -> None:
    shim, ended = supervise.run(*printf(r"a\377b\300\257c\355\240\200d\360\237e\342\202\n\342"))
    assert ended.stdout == b"a\xffb\xc0\xafc\xed\xa0\x80d\xf0\x9fe\xe2\x82\n\xe2"
    bad = "\ufffd"
    assert shim.logged() == f"a{bad}b{bad}{bad}c{bad}{bad}{bad}d{bad}{bad}e{bad}{bad}\n{bad}"


def test_a_character_that_comes_in_two_pieces_is_whole(supervise: Supervise) -> None:
    script = r"printf '\360\237'; sleep 0.05; printf '\230'; sleep 0.05; printf '\200!\303'; sleep 0.05; printf A"
    shim, _ = supervise.run("sh", "-c", script)
    assert shim.logged() == "😀!\ufffdA"


def test_a_long_line_is_split_at_16_kib_and_never_inside_a_character(supervise: Supervise) -> None:
    shim, ended = supervise.run("sh", "-c", "i=0; while [ $i -lt 3000 ]; do printf 'xäöü€😀yz'; i=$((i+1)); done")
    assert shim.logged() == ended.stdout.decode()
    assert max(len(record["log"].encode()) for record in shim.log()) <= 16 << 10
    assert not any("\ufffd" in record["log"] for record in shim.log())


def test_a_workload_that_writes_nothing_has_no_log(supervise: Supervise) -> None:
    shim, _ = supervise.run("true")
    assert not (shim.directory / "log").exists()


def test_the_log_is_rotated_once_at_its_limit_and_stays_whole_lines(supervise: Supervise) -> None:
    shim, _ = supervise.run("seq", "1", "5000", flags=("--log-max", "20000"))
    for name in ("log", "log.1"):
        assert 0 < (shim.directory / name).stat().st_size <= 20000
    numbers = [int(record["log"]) for record in shim.log("log.1") + shim.log()]
    assert numbers == list(range(numbers[0], 5001))
    said = [line.text for line in logs.read(str(shim.directory))]
    assert said[0] == logs.EARLIER.text and len(said) == len(numbers) + 1, "nobody is told what is gone"
    assert [line.text for line in logs.read(str(shim.directory), tail=1)] == ["5000\n"]


def test_nothing_is_said_to_be_gone_where_nothing_is(supervise: Supervise) -> None:
    shim, _ = supervise.run("seq", "1", "400", flags=("--log-max", "20000"))
    assert (shim.directory / "log.1").exists(), "the older file is kept, once"
    assert [line.text for line in logs.read(str(shim.directory))] == [f"{number}\n" for number in range(1, 401)]


def test_the_log_goes_on_without_any_client(supervise: Supervise) -> None:
    shim = supervise("sh", "-c", "read go; seq 1 100000", stdin=2)
    client = shim.start()
    client.feed(b"go\n")
    client.close()
    shim.reap()
    assert shim.logged() == "".join(f"{number}\n" for number in range(1, 100001))


def test_the_log_never_waits_for_a_later_client(supervise: Supervise) -> None:
    shim = supervise("sh", "-c", "read go; seq 1 1000000; sleep 1000", stdin=2)
    first = shim.start()
    later = shim.attach()
    first.feed(b"go\n")
    first.send(Kind.DETACH)
    log = shim.directory / "log"
    assert wait_until(lambda: log.exists() and b'"1000000' in log.read_bytes()[-200:])
    ended = later.collect(pay=False)
    assert "faster than it was read" in ended.refusal


def test_a_full_disk_loses_records_but_not_the_workload(supervise: Supervise) -> None:
    shim = supervise("sh", "-c", "seq 1 1000; exit 4")
    (shim.directory / "log").symlink_to("/dev/full")
    ended = shim.start().collect()
    assert ended.code == 4
    assert ended.stdout.endswith(b"1000\n")
