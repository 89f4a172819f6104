"""The program of a v2 group that says which devices can be opened: exchanged for another in one step, bpf(2).

The launcher attaches the first one; only who changes it later comes here.
"""

from __future__ import annotations

import os
from errno import ENOENT, ENOSPC
from struct import pack, pack_into, unpack_from

from twinhull.errors import LaunchError

CALLS = {"x86_64": 321, "aarch64": 280}
LOAD, ATTACH, FD_BY_ID, INFO_BY_FD, QUERY = 5, 8, 13, 15, 16
CGROUP_DEVICE_PROGRAM, CGROUP_DEVICE_ATTACHED = 15, 6
ALLOW_MULTI, REPLACE = 2, 4
INSTRUCTION_BYTES = 8
MAX_ATTACHED = 64  # the kernel's BPF_CGROUP_MAX_PROGS
INFO_BYTES, TAG = 64, slice(8, 16)  # of struct bpf_prog_info


def exchange_device_policy(group: str, former: bytes, program: bytes) -> None:
    """Let a program decide for a group in place of a former one, which is known by what it does; b"" is none.

    At each moment one of the two decides. A program of anybody else's stays.

    Raises:
        LaunchError: the kernel refused it, or the former one is not there; nothing was changed.
    """
    held: list[int] = []
    try:
        held.append(os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        held.append(load(program))
        flags, replaced = ALLOW_MULTI, 0
        if former:
            held.append(attached(held[0], former))
            flags, replaced = ALLOW_MULTI | REPLACE, held[-1]
        call(ATTACH, pack("=5I", held[0], held[1], CGROUP_DEVICE_ATTACHED, flags, replaced))
    except OSError as error:
        raise LaunchError("device-policy", group, error.errno or ENOENT) from None
    finally:
        for fd in held:
            os.close(fd)


def attached(group: int, program: bytes) -> int:
    """Return a descriptor of the attached program that is this one.

    Raises:
        OSError: there is none (ENOENT), or something that the kernel refuses.
    """
    same = load(program)
    try:
        wanted = tag(same)
    finally:
        os.close(same)
    for number in identities(group):
        fd = call(FD_BY_ID, pack("=I", number))
        if tag(fd) == wanted:
            return fd
        os.close(fd)
    raise OSError(ENOENT, os.strerror(ENOENT))


def load(program: bytes) -> int:
    """Return a descriptor of a program that the kernel has checked."""
    import ctypes

    text, license_text = ctypes.create_string_buffer(program, len(program)), ctypes.create_string_buffer(b"Apache-2.0")
    count = len(program) // INSTRUCTION_BYTES
    where = ctypes.addressof(text), ctypes.addressof(license_text)
    return call(LOAD, pack("=2I2Q", CGROUP_DEVICE_PROGRAM, count, *where), text, license_text)


def tag(fd: int) -> bytes:
    """What the kernel knows a program's text by."""
    import ctypes

    info = ctypes.create_string_buffer(INFO_BYTES)
    call(INFO_BY_FD, pack("=2IQ", fd, INFO_BYTES, ctypes.addressof(info)), info)
    return info.raw[TAG]


def identities(group: int) -> tuple[int, ...]:
    """The numbers of the programs that are attached to a group itself."""
    import ctypes

    numbers = (ctypes.c_uint32 * MAX_ATTACHED)()
    attributes = bytearray(pack("=4IQI", group, CGROUP_DEVICE_ATTACHED, 0, 0, ctypes.addressof(numbers), MAX_ATTACHED))
    answer = bytearray(len(attributes))
    call(QUERY, bytes(attributes), numbers, answer=answer)
    (count,) = unpack_from("=I", answer, len(attributes) - 4)
    if count > MAX_ATTACHED:
        raise OSError(ENOSPC, os.strerror(ENOSPC))
    return tuple(numbers[:count])


def call(command: int, attributes: bytes, *kept: object, answer: bytearray | None = None) -> int:
    """bpf(2). What the attributes point to is `kept` until it has returned; `answer` gets what they are then."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    held = ctypes.create_string_buffer(attributes, len(attributes))
    result: int = library.syscall(CALLS[os.uname().machine], command, held, len(attributes))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    if answer is not None:
        pack_into(f"={len(answer)}s", answer, 0, held.raw)
    return result
