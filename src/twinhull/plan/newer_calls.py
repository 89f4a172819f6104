"""System calls that are newer than a seccomp profile answer ENOSYS, whatever its default refuses them with. Pure.

A C library that hears EPERM from a call it tries first does not fall back to the older one; of ENOSYS it knows what to
do. A profile knows a processor's calls up to the highest number that it names; the kernel hands numbers out upwards.
"""

from __future__ import annotations

from struct import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from twinhull.plan.filters import Profile

# libseccomp's numbers of processors: the kernel's, but for x32, whose calls are x86_64's with a bit of their own.
X86_64, X32, ARM = 0xC000003E, 0x4000003E, 0x40000028
X32_CALL = 0x40000000
ARM_PRIVATE = 0xF0000  # calls of its processor, numbered apart
ANY = 0xFFFFFFFF
ANSWER_ENOSYS = 0x00050000 | 38
PERMISSIVE = (0x7FFF0000, 0x7FFC0000, 0x7FF00000)  # allow, log, trace: a tracer answers for calls that it does not know
ACTION = 0xFFFF0000
# linux/bpf_common.h
LOAD, JUMP, JUMP_EQUAL, JUMP_ABOVE, JUMP_FROM, JUMP_BITS, RETURN = 0x20, 0x05, 0x15, 0x25, 0x35, 0x45, 0x06
NUMBER, PROCESSOR = 0, 4  # offsets in struct seccomp_data


def is_needed(profile: Profile) -> bool:
    """True if the default refuses, and not with ENOSYS anyway."""
    return profile.default != ANSWER_ENOSYS and profile.default & ACTION not in PERMISSIVE


def prologue(calls: Mapping[int, Iterable[int]]) -> bytes:
    """Return what stands before a filter: ENOSYS for what is newer, on to the filter with all else.

    Args:
        calls: libseccomp's number of a processor -> the numbers of the calls that the profile names; below 0 is none.
    """
    newest = {processor: newest_of(processor, numbers) for processor, numbers in calls.items()}
    sections = [
        section(processor, tests(processor, number))
        for processor, number in newest.items()
        if processor not in (X86_64, X32)
    ]
    # The last, for its numbers can be those of a processor, and each section leaves the number to the next one.
    if X86_64 in newest or X32 in newest:
        sections.append(section(X86_64, two_modes(newest.get(X86_64, X32_CALL), newest.get(X32, ANY))))
    return statement(LOAD, PROCESSOR) + b"".join(sections) if sections else b""


def newest_of(processor: int, numbers: Iterable[int]) -> int:
    """The highest of a processor's numbers; of a profile that names none, one that all are below."""
    last = ARM_PRIVATE if processor == ARM else ANY
    return max((number for number in numbers if 0 <= number < last), default=ANY)


def section(processor: int, inner: bytes) -> bytes:
    """For calls of this processor its tests; the others go by."""
    return statement(JUMP_EQUAL, processor, yes=1) + statement(JUMP, len(inner) // 8) + inner


def tests(processor: int, newest: int) -> bytes:
    """Tests of a call's number."""
    private = statement(JUMP_FROM, ARM_PRIVATE, yes=1) if processor == ARM else b""
    above = statement(JUMP_ABOVE, newest, no=1 + len(private) // 8)
    return statement(LOAD, NUMBER) + above + private + statement(RETURN, ANSWER_ENOSYS)


def two_modes(newest: int, newest_x32: int) -> bytes:
    """The same where a bit of the number says whose call it is."""
    return b"".join(
        (
            statement(LOAD, NUMBER),
            statement(JUMP_BITS, X32_CALL, yes=1),
            statement(JUMP_ABOVE, newest, yes=1, no=2),
            statement(JUMP_ABOVE, newest_x32, no=1),
            statement(RETURN, ANSWER_ENOSYS),
        )
    )


def statement(code: int, number: int, *, yes: int = 0, no: int = 0) -> bytes:
    """One struct sock_filter."""
    return pack("<HBBI", code, yes, no, number)
