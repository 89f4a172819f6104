"""At a terminal: size, keys, signals, leaving and coming back, the same behind either wall."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import COMMAND
from tests.support.foreground import Terminal
from tests.support.vm import wait_until
from tests.support.wall import Wall

LEAVE = b"\x10\x11"  # ctrl-p ctrl-q
INTERRUPT, END = b"\x03", b"\x04"
# Says so when it waits: a key that comes while a shell forks may reach nobody.
INTERRUPTED = b"sh -c 'trap exit INT; echo %s; sleep 1000 & wait'\n"


@contextlib.contextmanager
def at_terminal(wall: Wall, *words: str, size: tuple[int, int] = (24, 80)) -> Iterator[Terminal]:
    """The command on a terminal of its own."""
    environment = wall.twinhull.environment()
    own = [f"{key}={environment[key]}" for key in ("TWINHULL_ROOT", "TWINHULL_CONFIG")]
    terminal = Terminal(["/usr/bin/env", *own, str(COMMAND), *words], 0, size)
    try:
        yield terminal
    finally:
        terminal.close()


def size_becomes(terminal: Terminal, rows: int, columns: int) -> None:
    """Ask for the size until it is this one; the shell's answer ends the loop."""
    script = f"until [ \"$(stty size)\" = '{rows} {columns}' ]; do sleep 0.05; done; echo si''ze\n"
    terminal.type(script.encode())
    terminal.read_until(b"size\r\n")


@pytest.mark.parity("`-it`: resizing, detach keys, attach again, ctrl-C, ctrl-D")
def test_a_terminal_is_resized_left_and_taken_again(wall: Wall) -> None:
    words = wall.words("-it", "--name", "shell", "busybox", "sh")
    with at_terminal(wall, *words, size=(20, 50)) as terminal:
        size_becomes(terminal, 20, 50)
        terminal.resize(33, 77)
        size_becomes(terminal, 33, 77)
        terminal.type(b"stays=he''re\n" + LEAVE)
        assert terminal.wait() == 0
    assert wall("ps", "--format", "json", check=True).json()[0]["status"] == "running"
    with at_terminal(wall, "attach", "shell", size=(25, 60)) as terminal:
        size_becomes(terminal, 25, 60)
        terminal.type(INTERRUPTED % b'sle""eping')
        terminal.read_until(b"sleeping\r\n")
        terminal.type(INTERRUPT)
        terminal.type(b"echo ${stays}$((4+3)); sh -c 'read x; exit 5'; echo en''ded $?\n")
        terminal.read_until(b"here7\r\n")
        terminal.type(END)
        terminal.read_until(b"ended")
        terminal.type(b"exit 6\n")
        assert terminal.wait() == 6
    assert wall("wait", "shell").stdout == "6\n"


@pytest.mark.parity("exec `-it`: size, detach keys, `--env-file`, exit status")
def test_exec_has_a_terminal_of_its_own(wall: Wall, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("FROM_FILE=fi\n")
    wall.detached("--name", "host", "busybox", "sleep", "1000")
    words = ("exec", "-it", "--env-file", str(tmp_path / "env"), "--detach-keys", "ctrl-x", "host", "sh")
    with at_terminal(wall, *words, size=(21, 51)) as terminal:
        size_becomes(terminal, 21, 51)
        terminal.resize(31, 71)
        size_becomes(terminal, 31, 71)
        terminal.type(b"echo ${FROM_FILE}le; tty\n" + INTERRUPTED % b'wai""ting')
        terminal.read_until(b"file\r\n")
        terminal.read_until(b"/dev/pts/")
        terminal.read_until(b"waiting\r\n")
        terminal.type(INTERRUPT)
        terminal.type(b"exit 9\n")
        assert terminal.wait() == 9
    with at_terminal(wall, *words) as terminal:
        terminal.type(b"echo re''ady; sleep 1001\n")
        terminal.read_until(b"ready\r\n")
        terminal.type(b"\x18")
        assert terminal.wait() == 0
    wait_until(lambda: "sleep 1001" in wall("exec", "host", "ps").stdout, "a start by the shell, which only said so")
    assert wall("exec", "host", "ps").stdout.count("sleep 1001") == 1, "who leaves does not end it"


@pytest.mark.parity("exec: stdin and its closing")
def test_the_end_of_stdin_reaches_a_process_that_joins(wall: Wall) -> None:
    wall.detached("--name", "host", "busybox", "sleep", "1000")
    text = "line\n" * 50_000
    assert wall("exec", "-i", "host", "wc", "-c", stdin=text).stdout.strip() == str(len(text))
    assert wall("exec", "host", "wc", "-c", stdin="unseen").stdout.strip() == "0"
