"""start, state, kill, delete, pause and resume: the short verbs of `twinhull-oci`."""

from __future__ import annotations

import sys

from twinhull.cli.oci import identity_of, report, root_of
from twinhull.cli.oci_options import Options
from twinhull.errors import InvalidRequest
from twinhull.runtime.oci import life
from twinhull.runtime.oci import record as records

SIGNALS = {
    name: number
    for number, name in enumerate(
        """HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU
        URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS""".split(),
        1,
    )
} | {"IOT": 6, "CLD": 17, "POLL": 29, "RTMIN": 34, "RTMAX": 64}
LAST_SIGNAL = 64


def run_start(options: Options, given: Options, words: list[str]) -> int:
    """Let a created container's process run."""
    life.begin(root_of(options), identity_of(words), waits=True)
    return 0


def run_state(options: Options, given: Options, words: list[str]) -> int:
    """Print the state document."""
    root = root_of(options)
    document = records.document(root, records.load(root, identity_of(words)))
    sys.stdout.write(records.pretty(document))
    return 0


def run_kill(options: Options, given: Options, words: list[str]) -> int:
    """Send a signal."""
    if not 1 <= len(words) <= 2:
        raise InvalidRequest("kill takes a container id and a signal")
    number = signal_number(words[1] if len(words) == 2 else "TERM")
    life.kill(root_of(options), words[0], number, everyone=given.flag("all"))
    return 0


def signal_number(text: str) -> int:
    """9, KILL and SIGKILL are one.

    Raises:
        InvalidRequest: there is no such signal.
    """
    name = text.upper().removeprefix("SIG")
    base, sign, offset = name.partition("+") if "+" in name else name.partition("-")
    if name.isdecimal():
        number = int(name)
    elif sign and base in ("RTMIN", "RTMAX") and offset.isdecimal():
        number = SIGNALS[base] + int(offset) * (1 if sign == "+" else -1)
    else:
        number = SIGNALS.get(name, 0)
    if not 0 <= number <= LAST_SIGNAL or (number == 0 and name != "0"):
        raise InvalidRequest(f"unknown signal {text!r}")
    return number


def run_delete(options: Options, given: Options, words: list[str]) -> int:
    """Remove a container."""
    root = root_of(options)
    life.delete(root, identity_of(words), force=given.flag("force"), warn=lambda text: report(options, "warning", text))
    return 0


def run_pause(options: Options, given: Options, words: list[str]) -> int:
    """Freeze every process."""
    life.freeze(root_of(options), identity_of(words), frozen=True)
    return 0


def run_resume(options: Options, given: Options, words: list[str]) -> int:
    """Thaw them."""
    life.freeze(root_of(options), identity_of(words), frozen=False)
    return 0
