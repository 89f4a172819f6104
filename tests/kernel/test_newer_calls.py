"""What a seccomp filter answers to calls that are newer than its profile, asked of the kernel."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from twinhull.host.seccomp import compile_profile
from twinhull.plan import filters, seccomp

# Loads the filter in its input, then makes one call: of the processor's own, or of x86's by its instruction.
CALL = """
import ctypes, mmap, os, sys
program, kind, number = sys.stdin.buffer.read(), sys.argv[1], int(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))
code = mmap.mmap(-1, 4096, prot=7)
code.write(b"\\x53\\xb8" + number.to_bytes(4, "little") + b"\\xcd\\x80\\x5b\\xc3")
legacy = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
libc.prctl(38, 1, 0, 0, 0)
assert libc.prctl(22, 2, ctypes.byref(Program(len(program) // 8, program)), 0, 0) == 0
print(-legacy() if kind == "x86" else ctypes.get_errno() if libc.syscall(number) < 0 else 0, flush=True)
os._exit(0)
"""
EPERM, ENOENT, ENOSYS = 1, 2, 38
SIGSYS = 31
X32_CALL, UNKNOWN, UNSHARE, GETPID, GETPPID, CLOSE, GETPID_X86 = 1 << 30, 1000, 272, 39, 110, 3, 20
ALL = ["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the calls are made in x86's ways")


def answer(profile: filters.Profile, number: int, kind: str = "native") -> int:
    """The errno, 0 for success, or the signal below 0."""
    words = [sys.executable, "-c", CALL, kind, str(number)]
    done = subprocess.run(words, input=compile_profile(profile), capture_output=True, timeout=60)
    return int(done.stdout) if done.returncode == 0 else done.returncode


def section(default: str, **more: Any) -> filters.Profile:
    """All that Python calls, unless it is the default."""
    names = [name for name in seccomp.ALLOWED if name not in ("getpid", "close")]
    rules = [{"names": [*names, "personality", "clone"], "action": "SCMP_ACT_ALLOW"}]
    return filters.parse({"defaultAction": default, "syscalls": rules, **more})


def test_the_default_profile_knows_what_it_names() -> None:
    assert answer(seccomp.profile(()), UNKNOWN) == ENOSYS
    assert answer(seccomp.profile(()), UNSHARE) == EPERM


@pytest.mark.parametrize("default", ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"])
def test_a_section_that_refuses_answers_enosys_to_what_is_newer(default: str) -> None:
    assert answer(section(default), UNKNOWN) == ENOSYS
    assert answer(section(default), GETPID) == (EPERM if default == "SCMP_ACT_ERRNO" else -SIGSYS)


def test_a_call_is_known_that_is_named_with_the_default_action() -> None:
    named = {"names": ["getpid", "futex_waitv"], "action": "SCMP_ACT_ERRNO"}
    few = filters.parse({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [named, *READS]})
    assert answer(few, 449) == EPERM
    assert answer(few, 450) == ENOSYS


READS = [
    {"names": ["write", "exit_group", "rt_sigaction", "munmap", "brk", "mmap", "futex"], "action": "SCMP_ACT_ALLOW"}
]


def test_each_architecture_has_a_newest_call_of_its_own() -> None:
    profile = section("SCMP_ACT_ERRNO", architectures=ALL)
    assert answer(profile, X32_CALL | UNKNOWN) == ENOSYS
    assert answer(profile, X32_CALL | GETPID) == EPERM
    assert answer(profile, X32_CALL | CLOSE) == EPERM  # a number that is also libseccomp's for x86
    assert answer(profile, UNKNOWN, "x86") == ENOSYS
    assert answer(profile, GETPID_X86, "x86") == EPERM


def test_an_errno_that_is_asked_for_stays_with_what_is_known() -> None:
    profile = section("SCMP_ACT_ERRNO", defaultErrnoRet=ENOENT)
    assert (answer(profile, GETPID), answer(profile, UNKNOWN)) == (ENOENT, ENOSYS)


@pytest.mark.parametrize("default", ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG"])
def test_what_lets_calls_through_is_as_it_was(default: str) -> None:
    refused = [{"names": ["getpid"], "action": "SCMP_ACT_ERRNO"}]
    profile = filters.parse({"defaultAction": default, "syscalls": refused})
    assert (answer(profile, GETPID), answer(profile, GETPPID)) == (EPERM, 0)
