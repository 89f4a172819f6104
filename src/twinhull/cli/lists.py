"""What flags of `run` read from files and write to them: variables, labels, the id."""

from __future__ import annotations

import os

from twinhull.errors import InvalidRequest

MAX_CHARACTERS = 4 << 20  # execve(2) takes no more than 6 MiB of words and variables


def variables(paths: list[str], texts: list[str]) -> list[str]:
    """Files first, then -e; a name alone takes our own value, or unsets the image's.

    Raises:
        InvalidRequest: a file that cannot be read, or a variable without a name.
    """
    found: list[str] = []
    for path in paths:
        lines = lines_of(path, "--env-file")
        named = [line.lstrip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if bad := next((line for line in named if any(map(str.isspace, line.partition("=")[0]))), ""):
            raise InvalidRequest(f"--env-file {path}: a variable's name has no spaces: {bad!r}", hint="NAME=VALUE")
        found += named
    found += texts
    for text in found:
        if not text.partition("=")[0].strip():
            raise InvalidRequest(f"invalid environment variable: {text!r}", hint="write NAME=VALUE")
    return [text if "=" in text else inherited(text) for text in found]


def inherited(name: str) -> str:
    """NAME=VALUE with our own value, NAME without one."""
    value = os.environ.get(name)
    return name if value is None else f"{name}={value}"


def labels_in(paths: list[str]) -> list[str]:
    """The lines of every --label-file.

    Raises:
        InvalidRequest: one cannot be read.
    """
    found: list[str] = []
    for path in paths:
        found += (line.strip() for line in lines_of(path, "--label-file") if line.strip() and line.strip()[0] != "#")
    return found


def lines_of(path: str, flag: str) -> list[str]:
    """The lines of a text file.

    Raises:
        InvalidRequest: it cannot be read, is no text, or is longer than what a program can be given.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MAX_CHARACTERS + 1)
    except OSError as error:
        raise InvalidRequest(f"{flag} {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{flag} {path}: not UTF-8") from error
    if len(text) > MAX_CHARACTERS:
        raise InvalidRequest(f"{flag} {path}: more than {MAX_CHARACTERS} characters", hint="is it the file you meant?")
    return text.splitlines()


class Cidfile:
    """The file of --cidfile, which must not be there: it would name another workload.

    Raises:
        InvalidRequest: it is there, or its directory is not.
    """

    def __init__(self, path: str) -> None:
        if os.path.lexists(path):
            raise InvalidRequest(f"--cidfile {path}: it is there, and may name another workload", hint=f"rm {path}")
        if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
            raise InvalidRequest(f"--cidfile {path}: no such directory")
        self.path = path

    def write(self, identity: str) -> None:
        """Leave the id there."""
        with open(self.path, "x", encoding="ascii") as file:
            file.write(identity)
