"""What of a bundle's config.json is of another type than the specification's is an error that names its field."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tests.support.oci import default_spec
from twinhull.errors import InvalidRequest
from twinhull.plan.fields import field_of
from twinhull.plan.shape import SPEC, TEXT, check_shape

SOURCE = Path(__file__).parents[2] / "src/twinhull"
READERS = [*(SOURCE / "plan").glob("*.py"), *(SOURCE / "runtime/oci").glob("*.py"), *(SOURCE / "host").glob("*.py")]
# Values of each type of JSON.
VALUES: list[Any] = [True, 5, -1, 1 << 70, 1.5, "text", "a\0b", [], [None], {}]
JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | some.text(),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(), inner, max_size=3),
    max_leaves=6,
)


def places(shape: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Each place that a config.json has, with what belongs there."""
    yield path, shape
    if isinstance(shape, list):
        yield from places(shape[0], (*path, 0))
    elif isinstance(shape, dict):
        for name, inner in shape.items():
            yield from places(inner, (*path, name.rstrip("!")))


PLACES = [(path, shape) for path, shape in places(SPEC) if path]


def sample(shape: Any) -> Any:
    """Something that belongs there, complete."""
    if isinstance(shape, range):
        return shape.start
    if isinstance(shape, list):
        return [sample(shape[0])]
    if isinstance(shape, dict):
        return {name.rstrip("!"): sample(inner) for name, inner in shape.items()}
    return "text" if shape is TEXT else True


def with_value(path: tuple[str | int, ...], value: Any) -> Any:
    """A config.json in which everything is there, and this at one place."""
    spec = sample(SPEC)
    at = spec
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return spec


def named(path: tuple[str | int, ...]) -> str:
    """The place as messages name it."""
    words = [f"[{step!r}]" if step in ("*", 0) else f".{step}" for step in path]
    return "".join(words).lstrip(".")


def belongs(value: Any, shape: Any) -> bool:
    if isinstance(shape, range):
        return type(value) is int and value in shape
    if isinstance(shape, list | dict):
        return type(value) is type(shape)
    return type(value) is (str if shape is TEXT else bool)


def test_what_is_complete_and_what_is_usual_goes_through() -> None:
    check_shape(sample(SPEC), SPEC)
    check_shape({**default_spec("x"), "unheard": {"of": 1}}, SPEC)


@pytest.mark.parametrize(("path", "shape"), PLACES, ids=[named(path) for path, _ in PLACES])
def test_each_field_refuses_what_does_not_belong_there_and_is_named(path: tuple[str | int, ...], shape: Any) -> None:
    for value in VALUES:
        spec = with_value(path, value)
        if not belongs(value, shape) or value == "a\0b":
            with pytest.raises(InvalidRequest, match=re.escape(named(path))):
                check_shape(spec, SPEC)


@given(some.sampled_from(PLACES), JSON)
def test_whatever_is_there_it_goes_through_or_is_refused_by_its_place(
    place: tuple[tuple[str | int, ...], Any], value: Any
) -> None:
    path, _ = place
    said = ""
    try:
        check_shape(with_value(path, value), SPEC)
    except InvalidRequest as error:
        said = error.message
    assert not said or said.startswith(named(path))


def test_what_has_to_be_there_is_missed() -> None:
    for path, shape in PLACES:
        for name in shape if isinstance(shape, dict) else ():
            if name.endswith("!"):
                inner = sample(shape)
                del inner[name.rstrip("!")]
                with pytest.raises(InvalidRequest, match=re.escape(f"{named(path)}.{name.rstrip('!')}: it must be")):
                    check_shape(with_value(path, inner), SPEC)


def test_no_field_is_known_and_then_left_out() -> None:
    """Each name that the shape has is read, or refused, by what makes a plan of a bundle."""
    read = "".join(path.read_text() for path in READERS if path.name != "shape.py")
    spelled = {"throttleReadBpsDevice": "throttle{way}", "throttleReadIOPSDevice": "throttle{way}"}
    spelled |= {key.replace("Read", "Write"): value for key, value in spelled.items()}
    names = {str(path[-1]) for path, _ in PLACES if path[-1] not in ("*", 0)}
    assert not [name for name in sorted(names) if spelled.get(name, name) not in read]


@pytest.mark.parametrize(
    ("op", "target", "field"),
    [
        ("filesystem", "/sys", "mounts[3]"),
        ("bind", "/nonesuch", "mounts[4].source"),
        ("write", "/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us 5", "linux.resources.cpu.quota"),
        ("write", "/sys/fs/cgroup/x/memory.high", "linux.resources.unified['memory.high']"),
        ("write", "/proc/self/uid_map", ""),
        ("label", "exec", "process.selinuxLabel"),
        ("sysctl", "net.ipv4.x", "linux.sysctl"),
        ("exec", "/bin/x", ""),
    ],
)
def test_what_the_kernel_refuses_is_named_by_the_op(op: str, target: str, field: str) -> None:
    spec = copy.deepcopy(default_spec("x"))
    spec["mounts"].append({"destination": "/t", "source": "/nonesuch"})
    spec["linux"]["resources"]["unified"] = {"memory.high": "1"}
    assert field_of(op, target, spec) == field
