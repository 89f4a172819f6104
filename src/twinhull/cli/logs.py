"""logs: what workloads wrote."""

from __future__ import annotations

import re
import sys
import time

from twinhull.cli.options import duration
from twinhull.cli.progress import prepared
from twinhull.cli.render import timestamp
from twinhull.errors import InvalidRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config

# As the log has them, to the nanosecond, so that what -t shows can be given back.
IN_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
EPOCH = re.compile(r"\d{9,}(\.\d*)?")
TIMES = "a time (2026-01-31T12:00:00), or so long ago (90s, 1h30m)"


def configure_logs(parser: Parser) -> None:
    """Flags of logs."""
    add = parser.add_argument
    add("-f", "--follow", action="store_true", help="go on until it ends")
    add("-n", "--tail", default="all", metavar="N", help="so many lines from the end")
    add("-t", "--timestamps", action="store_true", help="with the time of each line")
    add("--since", default="", metavar="TIME", help=f"what is not older: {TIMES}")
    add("--until", default="", metavar="TIME", help="what is not newer: the same")
    add("name", metavar="NAME")


def run_logs(arguments: Arguments, config: Config) -> int:
    """Print what the workload wrote, each stream on its own."""
    tail, now = tail_count(arguments.tail), time.time()
    since, until = moment(arguments.since, "--since", now), moment(arguments.until, "--until", now)
    outputs = {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer}
    found = prepared(config).logs(arguments.name, follow=arguments.follow, tail=tail, since=since, until=until)
    for line in found:
        prefix = f"{line.time} " if arguments.timestamps else ""
        output = outputs[line.stream]
        output.write((prefix + line.text).encode("utf-8", "surrogateescape"))
        output.flush()
    return 0


def tail_count(text: str) -> int:
    """Lines from the end, -1 for all, as any number below 0 has it.

    Raises:
        InvalidRequest: neither a number nor "all".
    """
    if text == "all":
        return -1
    if not text.removeprefix("-").isdecimal():
        raise InvalidRequest(f"invalid number of lines: {text!r}", hint="a number, or all")
    return max(int(text), -1)


def moment(text: str, flag: str, now: float) -> str:
    """An RFC 3339 time in UTC: from one, or a date, of the local zone without one; seconds since 1970; or an age.

    Raises:
        InvalidRequest: it is none of these.
    """
    if not text or IN_UTC.fullmatch(text):
        return text
    if EPOCH.fullmatch(text):
        return timestamp(float(text))
    if text[:4].isdecimal() and text[4:5] == "-":
        from datetime import datetime

        try:
            return timestamp(datetime.fromisoformat(text).timestamp())
        except ValueError:
            raise InvalidRequest(f"{flag} {text}: not a time", hint=TIMES) from None
    try:
        return timestamp(now - duration(text, flag) / 1000)
    except InvalidRequest:
        raise InvalidRequest(f"{flag} {text}: not a time", hint=TIMES) from None
