"""NamedTuple without what the import of typing brings: 23 ms at each start, and 0.1 ms a class.

Promise: it behaves as `typing.NamedTuple`, which is what a type checker sees; tests compare the two.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Self

try:
    from _collections import _tuplegetter as field_getter  # type: ignore[import-not-found]  # has no stub
except ImportError:  # another interpreter than CPython

    def field_getter(index: int, _: None) -> property:
        """The field with this number."""
        return property(lambda self: self[index])


class Fields(type):
    """The type of named tuples: it reads the fields off the annotations of a class."""

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Fields:
        """Make the class; one derived from a class with fields keeps those."""
        if bases != (tuple,) and not hasattr(bases[0], "_fields"):
            fields = tuple(namespace.get("__annotations__", ()))
            defaults = {field: namespace[field] for field in fields if field in namespace}
            check_order(fields, defaults)
            namespace.update({field: field_getter(index, None) for index, field in enumerate(fields)})
            namespace.update(_fields=fields, _field_defaults=defaults, __match_args__=fields, __slots__=())
        return super().__new__(cls, name, bases, namespace)


class Row(tuple[object, ...], metaclass=Fields):
    """What all named tuples can do."""

    __slots__ = ()
    _fields: tuple[str, ...]
    _field_defaults: dict[str, Any]

    def __new__(cls, /, *values: Any, **named: Any) -> Self:
        """Take values in the order of the fields, or by name.

        Raises:
            TypeError: too many, too few, or a name that is none of the fields'.
        """
        if named or len(values) != len(cls._fields):
            values = complete(cls, values, named)
        return tuple.__new__(cls, values)

    @classmethod
    def _make(cls, values: Iterable[Any]) -> Self:
        made = tuple.__new__(cls, values)
        if len(made) != len(cls._fields):
            raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(made)}")
        return made

    def _replace(self, /, **named: Any) -> Self:
        made = self._make(map(named.pop, self._fields, self))
        if named:
            raise ValueError(f"Got unexpected field names: {list(named)!r}")
        return made

    def _asdict(self) -> dict[str, Any]:
        return dict(zip(self._fields, self, strict=True))

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)

    def __repr__(self) -> str:
        shown = ", ".join([f"{field}={value!r}" for field, value in zip(self._fields, self, strict=True)])
        return f"{self.__class__.__name__}({shown})"


def check_order(fields: tuple[str, ...], defaults: Mapping[str, Any]) -> None:
    """Only fields with a default may follow one.

    Raises:
        TypeError: another does.
    """
    for field in fields[len(fields) - len(defaults) :]:
        if field not in defaults:
            raise TypeError(f"non-default field {field!r} follows a field with a default")


def complete(cls: type[Row], values: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
    """Return a value for each field: those in order, then by name, then the defaults.

    Raises:
        TypeError: as a function of these parameters would.
    """
    fields, defaults = cls._fields, cls._field_defaults
    if len(values) > len(fields):
        raise TypeError(f"{cls.__name__}() takes {len(fields)} values but {len(values)} were given")
    if twice := [name for name in fields[: len(values)] if name in named]:
        raise TypeError(f"{cls.__name__}() got multiple values for argument {twice[0]!r}")
    rest = fields[len(values) :]
    if unknown := [name for name in named if name not in rest]:
        raise TypeError(f"{cls.__name__}() got an unexpected keyword argument {unknown[0]!r}")
    if missing := [name for name in rest if name not in named and name not in defaults]:
        raise TypeError(f"{cls.__name__}() missing {len(missing)} required arguments: {', '.join(missing)}")
    return values + tuple([named[name] if name in named else defaults[name] for name in rest])


if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:
    NamedTuple = Row
