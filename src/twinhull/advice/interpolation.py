"""Variables in the values of a compose file, by Compose's rules. Pure.

Promise: $VAR and ${VAR} with - :- + :+ ? :? and what is nested in them; "$$" is a dollar sign, and a
dollar sign before anything else stays. Keys are left alone, as Compose does.
"""

from __future__ import annotations

from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

OPERATORS = (":-", ":?", ":+", "-", "?", "+")
MAX_DEPTH = 16
MAX_CHARACTERS = 1 << 20  # of one value: nested defaults may repeat each other


class Malformed(Exception):
    """A compose file says something that means nothing.

    Attributes:
        path: leads to the place, key by key.
        file: the file, "" for the one that was asked about.
    """

    def __init__(self, path: tuple[str | int, ...], message: str, file: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.message = message
        self.file = file

    def of(self, file: str) -> Malformed:
        """The same in a file that another one reads, unless it is in one further on."""
        return Malformed(self.path, self.message, self.file or file)


class Variable(NamedTuple):
    """One reference: the operator "" substitutes and nothing else."""

    name: str
    operator: str
    operand: str


def tree(value: Any, variables: Mapping[str, str], path: tuple[str | int, ...] = ()) -> Any:
    """A document with every variable in its values replaced; parts that aliases share stay shared.

    Raises:
        Malformed: a variable that must be set is not, a brace is not closed, or a part contains itself.
    """
    return replaced(value, variables, path, {})


def replaced(value: Any, variables: Mapping[str, str], path: tuple[str | int, ...], done: dict[int, Any]) -> Any:
    """One part; `done` has those that were seen before, None while they are under way."""
    if isinstance(value, str):
        return interpolate(value, variables, path)
    if not isinstance(value, dict | list):
        return value
    if id(value) in done:
        if done[id(value)] is None:
            raise Malformed(path, "an alias refers to what contains it")
        return done[id(value)]
    done[id(value)] = None
    result: Any
    if isinstance(value, dict):
        result = {str(key): replaced(part, variables, (*path, str(key)), done) for key, part in value.items()}
    else:
        result = [replaced(part, variables, (*path, number), done) for number, part in enumerate(value)]
    done[id(value)] = result
    return result


def interpolate(text: str, variables: Mapping[str, str], path: tuple[str | int, ...] = (), depth: int = 0) -> str:
    """One value.

    Raises:
        Malformed: see `tree`.
    """
    if depth > MAX_DEPTH:
        raise Malformed(path, "variables nested too deep")
    parts, rest = [], text
    while rest:
        plain, dollar, rest = rest.partition("$")
        parts.append(plain)
        if not dollar:
            break
        if rest[:1] == "$":
            parts.append("$")
            rest = rest[1:]
        elif rest[:1] == "{":
            inner, rest = braced(rest[1:], path)
            parts.append(value_of(reference(inner, path), variables, path, depth))
        elif name := leading_name(rest):
            parts.append(variables.get(name, ""))
            rest = rest[len(name) :]
        else:
            parts.append("$")
    result = "".join(parts)
    if len(result) > MAX_CHARACTERS:
        raise Malformed(path, "a value grows beyond a megabyte")
    return result


def braced(text: str, path: tuple[str | int, ...]) -> tuple[str, str]:
    """Return (inside, behind) of what follows "${".

    Raises:
        Malformed: it is not closed.
    """
    open_braces = 1
    for index, letter in enumerate(text):
        if letter == "{" and index and text[index - 1] == "$":
            open_braces += 1
        elif letter == "}":
            open_braces -= 1
            if not open_braces:
                return text[:index], text[index + 1 :]
    raise Malformed(path, "a variable's brace is not closed")


def reference(inner: str, path: tuple[str | int, ...]) -> Variable:
    """Read NAME, or NAME with an operator and its operand.

    Raises:
        Malformed: neither.
    """
    name = leading_name(inner)
    rest = inner[len(name) :]
    operator = next((mark for mark in OPERATORS if rest.startswith(mark)), "")
    if not name or (rest and not operator):
        raise Malformed(path, f"${{{inner}}} is no variable")
    return Variable(name, operator, rest[len(operator) :])


def value_of(variable: Variable, variables: Mapping[str, str], path: tuple[str | int, ...], depth: int) -> str:
    """What a reference stands for.

    Raises:
        Malformed: it must be set, and is not.
    """
    value = variables.get(variable.name)
    present = bool(value) if variable.operator.startswith(":") else value is not None
    kind = variable.operator.lstrip(":")
    if kind == "+":
        return interpolate(variable.operand, variables, path, depth + 1) if present else ""
    if present or not kind:
        return value or ""
    operand = interpolate(variable.operand, variables, path, depth + 1)
    if kind == "?":
        raise Malformed(path, f"the variable {variable.name} must be set{f': {operand}' if operand else ''}")
    return operand


def leading_name(text: str) -> str:
    """The letters, digits and underscores that a text begins with, if they make a name."""
    end = 0
    while end < len(text) and text[end].isascii() and (text[end].isalnum() or text[end] == "_"):
        end += 1
    return "" if text[:1].isdigit() else text[:end]


def dotenv(text: str) -> dict[str, str]:
    """The variables of a .env file: NAME=VALUE lines, quotes taken off, comments behind a blank too."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        name, value = name.strip(), value.strip()
        if not equals or leading_name(name) != name or not name:
            continue
        if value[:1] in ("'", '"') and value.find(value[0], 1) > 0:
            value = value[1 : value.find(value[0], 1)]
        else:
            value = value.partition(" #")[0].rstrip()
        found[name] = value
    return found
