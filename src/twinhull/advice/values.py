"""Values of a compose file, each read as the kind that the specification says. Pure."""

from __future__ import annotations

import shlex

from twinhull.advice.interpolation import Malformed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Tree = dict[str, Any]
    Path = tuple[str | int, ...]

FALSE = frozenset(("", "0", "false", "no", "off"))


def within(service: Tree, path: Path, *keys: str) -> Tree:
    """A mapping inside others, {} if one of them is not there."""
    value: Any = service
    for number, key in enumerate(keys):
        value = mapping(value.get(key) or {}, (*path, *keys[: number + 1]), "a mapping")
    found: Tree = value
    return found


def pairs(value: Any, path: Path) -> Tree:
    """A mapping, from one or from a list of K=V."""
    if isinstance(value, dict):
        return value
    split = [text(entry, (*path, number)).partition("=") for number, entry in enumerate(sequence(value, path))]
    return {key: content if equals else None for key, equals, content in split}


def words(value: Any, path: Path) -> tuple[str, ...]:
    """A command: a list as it is, a text as a shell splits it."""
    if not isinstance(value, str):
        return tuple(map(plain, sequence(value, path)))
    try:
        return tuple(shlex.split(value))
    except ValueError as error:
        raise Malformed(path, f"{value!r}: {error}") from None


def mapping(value: Any, path: Path, what: str) -> Tree:
    """A mapping.

    Raises:
        Malformed: something else.
    """
    if not isinstance(value, dict):
        raise Malformed(path, f"{'.'.join(map(str, path))} must be {what}")
    return value


def sequence(value: Any, path: Path) -> list[Any]:
    """A list.

    Raises:
        Malformed: something else.
    """
    if not isinstance(value, list):
        raise Malformed(path, f"{'.'.join(map(str, path))} must be a list")
    return value


def text(value: Any, path: Path) -> str:
    """A text, from one or from a number.

    Raises:
        Malformed: a list or a mapping.
    """
    if isinstance(value, dict | list) or value is None:
        raise Malformed(path, f"{'.'.join(map(str, path))} must be a text")
    return plain(value)


def plain(value: Any) -> str:
    """A scalar as YAML writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def truth(value: Any) -> bool:
    """A boolean, also of a text that a variable gave."""
    return plain(value).lower() not in FALSE
