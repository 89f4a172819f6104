"""Our NamedTuple does what typing's does."""

from __future__ import annotations

import copy
import pickle
import typing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinhull import tuples

# What a type checker sees is typing's class: the one of the run time is reached as a value.
LIGHT: Any = tuples.NamedTuple


class Theirs(typing.NamedTuple):
    """A place."""

    x: int
    y: str = "y"
    cls: int = 3

    @property
    def double(self) -> int:
        """A property."""
        return self.x * 2

    def moved(self) -> Any:
        """A method that makes another."""
        return self._replace(x=self.x + 1)


class Ours(LIGHT):  # type: ignore[misc]  # see LIGHT
    """A place."""

    x: int
    y: str = "y"
    cls: int = 3

    @property
    def double(self) -> int:
        """A property."""
        return int(self.x * 2)

    def moved(self) -> Any:
        """A method that makes another."""
        return self._replace(x=self.x + 1)


class Derived(Ours):
    """More methods, the same fields."""

    z: int = 1


Pair = tuple[Any, Any]
VALUES = st.one_of(st.integers(), st.text(max_size=3), st.none())
NAMED = st.dictionaries(st.sampled_from(["x", "y", "cls", "self", "nosuch", "_fields"]), VALUES, max_size=4)


def outcome(make: typing.Callable[[], Any]) -> Any:
    """The values of what is made, or the kind of its error."""
    try:
        return tuple(make())
    except (TypeError, ValueError) as error:
        return type(error)


@given(st.lists(VALUES, max_size=5), NAMED)
def test_arguments_are_taken_or_refused_alike(values: list[Any], named: dict[str, Any]) -> None:
    ours, theirs = outcome(lambda: Ours(*values, **named)), outcome(lambda: Theirs(*values, **named))
    assert ours == theirs


@given(st.lists(VALUES, max_size=5), NAMED)
def test_made_and_replaced_alike(values: list[Any], named: dict[str, Any]) -> None:
    assert outcome(lambda: Ours._make(values)) == outcome(lambda: Theirs._make(values))
    assert outcome(lambda: Ours(1)._replace(**named)) == outcome(lambda: Theirs(1)._replace(**named))


@pytest.mark.parametrize("name", ["_fields", "_field_defaults", "__match_args__", "__slots__", "__doc__"])
def test_classes_say_the_same_of_themselves(name: str) -> None:
    assert getattr(Ours, name) == getattr(Theirs, name)


def test_values_look_and_compare_as_tuples() -> None:
    ours: Any = Ours(1, "b")
    theirs = Theirs(1, "b")
    assert ours == theirs == (1, "b", 3) and hash(ours) == hash(theirs) and ours < (2,)
    assert repr(ours) == repr(theirs).replace("Theirs", "Ours")
    assert ours._asdict() == theirs._asdict() and list(ours._asdict()) == list(theirs._asdict())
    assert (ours.x, ours.y, ours.cls, ours.double) == (theirs.x, theirs.y, theirs.cls, theirs.double)
    assert type(ours.moved()) is Ours and ours.moved() == theirs.moved()
    assert copy.copy(ours) == ours and pickle.loads(pickle.dumps(ours)) == ours
    match ours:
        case Ours(1, "b", 3):  # type: ignore[misc]  # see LIGHT
            found = True
    assert found


def test_values_are_frozen_and_have_no_dictionary() -> None:
    for name in ("x", "other"):
        with pytest.raises(AttributeError):
            setattr(Ours(1), name, 2)
    assert not hasattr(Ours(1), "__dict__")


def test_a_derived_class_has_the_fields_of_its_base() -> None:
    assert Derived._fields == Ours._fields and Derived(5).double == 10 and repr(Derived(5)).startswith("Derived(x=5")


@pytest.mark.parametrize(("values", "named"), [((), {}), ((1, 2, 3, 4), {}), ((1,), {"x": 1}), ((1,), {"z": 1})])
def test_a_refusal_names_the_class(values: tuple[int, ...], named: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="Ours"):
        Ours(*values, **named)


def test_a_field_without_default_may_not_follow_one_with() -> None:
    with pytest.raises(TypeError, match="second"):
        tuples.Fields("Wrong", (LIGHT,), {"__annotations__": {"first": "int", "second": "int"}, "first": 1})
