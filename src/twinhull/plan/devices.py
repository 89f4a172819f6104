"""The device rules of a spec as a BPF program of type CGROUP_DEVICE. Pure.

The kernel calls it for each open and mknod of a device with bpf_cgroup_dev_ctx {access_type,
major, minor} (linux/bpf.h) and refuses what returns 0. The last rule of the spec that matches
decides, so the program asks them from the last to the first.
"""

from __future__ import annotations

from _struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

INSTRUCTION = Struct("<BBhi")
LOAD_WORD, MOVE, MOVE_REG, AND, AND_REG, RIGHT = 0x61, 0xB4, 0xBC, 0x54, 0x5C, 0x74
JUMP_NOT_EQUAL, JUMP_NOT_EQUAL_REG, EXIT = 0x55, 0x5D, 0x95
TYPES = {"b": 1, "c": 2}
ACCESS = {"m": 1, "r": 2, "w": 4}
ALL_ACCESS = 7
R0, R1, R2, R3, R4, R5, R6 = range(7)


def instruction(code: int, target: int, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """One eBPF instruction."""
    return INSTRUCTION.pack(code, target | source << 4, offset, value)


def compile_devices(rules: Iterable[Mapping[str, Any]]) -> bytes:
    """Return the program for linux.resources.devices; what no rule names is refused."""
    program = [
        instruction(LOAD_WORD, R2, R1, 0),
        instruction(MOVE_REG, R3, R2),
        instruction(AND, R2, value=0xFFFF),  # device type
        instruction(RIGHT, R3, value=16),  # access asked for
        instruction(LOAD_WORD, R4, R1, 4),
        instruction(LOAD_WORD, R5, R1, 8),
    ]
    for rule in reversed(tuple(rules)):
        program += compile_rule(rule)
        if is_total(rule):  # what came after it would never run, and the verifier refuses that
            return b"".join(program)
    return b"".join([*program, instruction(MOVE, R0, value=0), instruction(EXIT, R0)])


def is_total(rule: Mapping[str, Any]) -> bool:
    """True if the rule speaks of every device and every access."""
    numbers = all(rule.get(key) in (None, -1) for key in ("major", "minor"))
    return numbers and rule.get("type", "a") == "a" and set(rule.get("access") or "rwm") == set("rwm")


def compile_rule(rule: Mapping[str, Any]) -> list[bytes]:
    """Return the test of one rule and its verdict; a test that fails jumps to the next rule."""
    access = sum(ACCESS[letter] for letter in set(rule.get("access") or "rwm"))
    tests: list[tuple[int, int, int, int]] = []  # code, target, source, value
    if (kind := rule.get("type", "a")) != "a":
        tests.append((JUMP_NOT_EQUAL, R2, 0, TYPES[kind]))
    if access != ALL_ACCESS:
        tests.append((JUMP_NOT_EQUAL_REG, R6, R3, 0))
    for register, key in ((R4, "major"), (R5, "minor")):
        number = rule.get(key)
        if number is not None and number != -1:
            tests.append((JUMP_NOT_EQUAL, register, 0, number))
    body: list[bytes] = []
    if access != ALL_ACCESS:
        body += [instruction(MOVE, R6, value=access), instruction(AND_REG, R6, R3)]
    for position, (code, target, source, value) in enumerate(tests):
        # Over the tests that remain and the two instructions of the verdict.
        body.append(instruction(code, target, source, len(tests) - position + 1, value))
    return [*body, instruction(MOVE, R0, value=int(bool(rule.get("allow")))), instruction(EXIT, R0)]
