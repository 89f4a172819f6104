"""The device policy: the BPF program decides as the rules say, for every device and access."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from twinhull.plan.defaults import DEVICE_RULES
from twinhull.plan.devices import ACCESS, INSTRUCTION, TYPES, compile_devices

numbers = st.sampled_from([None, 0, 1, 5, 136])
rules = st.lists(
    st.fixed_dictionaries(
        {
            "allow": st.booleans(),
            "type": st.sampled_from(["a", "b", "c"]),
            "access": st.sampled_from(["r", "w", "m", "rw", "rwm"]),
            "major": numbers,
            "minor": numbers,
        }
    ),
    max_size=6,
)


def verdict(program: bytes, kind: int, access: int, major: int, minor: int) -> int:
    """Interpret the few instructions the compiler uses."""
    context = {0: kind | access << 16, 4: major, 8: minor}
    registers = dict.fromkeys(range(7), 0)
    counter = 0
    while True:
        code, pair, offset, value = INSTRUCTION.unpack_from(program, counter * 8)
        target, source = pair & 15, pair >> 4
        counter += 1
        match code:
            case 0x61:
                registers[target] = context[offset]
            case 0xB4:
                registers[target] = value
            case 0xBC:
                registers[target] = registers[source]
            case 0x54:
                registers[target] &= value
            case 0x5C:
                registers[target] &= registers[source]
            case 0x74:
                registers[target] >>= value
            case 0x55:
                counter += offset if registers[target] != value else 0
            case 0x5D:
                counter += offset if registers[target] != registers[source] else 0
            case 0x95:
                return registers[0]
            case _:
                raise AssertionError(f"instruction {code:#x}")


def expected(listed: Sequence[Mapping[str, Any]], kind: str, access: str, major: int, minor: int) -> int:
    """The last rule that names the device and covers the access decides; nothing decided is no."""
    for rule in reversed(listed):
        named = rule.get("type", "a") in ("a", kind)
        named = named and rule.get("major") in (None, major) and rule.get("minor") in (None, minor)
        if named and set(access) <= set(rule["access"]):
            return int(bool(rule["allow"]))
    return 0


@given(
    rules,
    st.sampled_from(["b", "c"]),
    st.sampled_from(["r", "w", "m", "rw"]),
    st.sampled_from([0, 1, 5, 136, 7]),
    st.sampled_from([0, 1, 5, 3]),
)
def test_the_program_decides_as_the_rules(
    listed: list[dict[str, Any]], kind: str, access: str, major: int, minor: int
) -> None:
    bits = sum(ACCESS[letter] for letter in access)
    program = compile_devices(listed)
    assert verdict(program, TYPES[kind], bits, major, minor) == expected(listed, kind, access, major, minor)


def test_the_default_policy_opens_null_and_refuses_the_hosts_disk() -> None:
    program = compile_devices(DEVICE_RULES)
    assert verdict(program, TYPES["c"], ACCESS["r"] | ACCESS["w"], 1, 3) == 1
    assert verdict(program, TYPES["b"], ACCESS["r"], 8, 0) == 0
    assert verdict(program, TYPES["b"], ACCESS["m"], 8, 0) == 1, "package scripts make nodes"
    assert verdict(program, TYPES["c"], ACCESS["r"], 10, 232) == 0, "kvm"
