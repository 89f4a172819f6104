"""Exceptions pass through our `with` blocks as through contextlib's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from twinhull import scopes

MAKERS: list[Any] = [scopes.contextmanager, contextlib.contextmanager]
ERRORS = [None, ValueError("block"), StopIteration("block"), KeyboardInterrupt(), GeneratorExit(), RuntimeError("x")]


def plain(seen: list[str]) -> Iterator[str]:
    """Nothing but what goes in and out."""
    seen.append("in")
    yield "given"
    seen.append("out")


def cleaning(seen: list[str]) -> Iterator[str]:
    """What is released is released always."""
    try:
        yield "given"
    finally:
        seen.append("released")


def swallowing(seen: list[str]) -> Iterator[str]:
    """The block's error ends here."""
    try:
        yield "given"
    except BaseException as error:
        seen.append(type(error).__name__)


def translating(seen: list[str]) -> Iterator[str]:
    """Another error in its place."""
    try:
        yield "given"
    except BaseException as error:
        raise LookupError("other") from error


def again(seen: list[str]) -> Iterator[str]:
    """The same error, raised by name."""
    try:
        yield "given"
    except BaseException as error:
        seen.append("again")
        raise error


def twice(seen: list[str]) -> Iterator[str]:
    """A mistake: two yields."""
    try:
        yield "given"
    except BaseException:
        seen.append("caught")
    yield "once more"


def never(seen: list[str]) -> Iterator[str]:
    """A mistake: no yield."""
    seen.append("never")
    yield from ()


def outcome(maker: Any, function: Any, error: BaseException | None) -> tuple[Any, ...]:
    """What a block saw and what came out of it."""
    seen: list[str] = []
    try:
        with maker(function)(seen) as given:
            seen.append(given)
            if error is not None:
                raise error
    except BaseException as raised:
        cause = type(raised.__cause__)
        return seen, type(raised), str(raised), raised is error, cause
    return (seen,)


@pytest.mark.parametrize("function", [plain, cleaning, swallowing, translating, again, twice, never])
@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_what_a_block_raises_comes_out_as_from_contextlib(function: Any, error: BaseException | None) -> None:
    ours, theirs = (outcome(maker, function, error) for maker in MAKERS)
    assert ours == theirs


def test_the_head_keeps_its_name_and_its_documentation() -> None:
    made = scopes.contextmanager(cleaning)
    assert (made.__name__, made.__doc__) == (cleaning.__name__, cleaning.__doc__)


def test_arguments_arrive() -> None:
    @scopes.contextmanager
    def between(first: int, *, second: int) -> Iterator[tuple[int, int]]:
        yield first, second

    with between(1, second=2) as given:
        assert given == (1, 2)
