"""A CRIU that knows this kernel: the machine's own, else that of Debian's newest release, kept in .cache."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from scripts.conformance.source import fetch_programs

CACHE = Path(__file__).parents[2] / ".cache/criu"
RELEASE = "sid"
LIBRARIES = """libc6 libcompel1 libbsd0 libmd0 libgnutls30t64 libnet9 libnftables1 libnl-3-200 libprotobuf-c1 libuuid1
libnftnl11 libmnl0 libxtables12 libjansson4 libgmp10 libidn2-0 libunistring5 libtasn1-6 libnettle8t64 libhogweed6t64
libp11-kit0 libffi8 libedit2 libtinfo6 libcap2 libzstd1 zlib1g libbrotli1""".split()


@cache
def criu() -> str:
    """Its path; a test that asks is skipped where there is none."""
    for found in (shutil.which("criu"), newest):
        path = found() if callable(found) else found
        if path and subprocess.run([path, "check"], capture_output=True).returncode == 0:
            return path
    pytest.skip("no CRIU that knows this kernel, neither the machine's nor Debian's newest")


def newest() -> str:
    """That of the newest release, with its own libraries and started by their loader; "" where it cannot be fetched."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            files = fetch_programs(CACHE, RELEASE, ("criu", *LIBRARIES))
        except subprocess.CalledProcessError:
            return ""
    libraries = next((files / "usr/lib").glob("*-linux-gnu"))
    loader = next(libraries.glob("ld-linux-*.so.?"))
    script = CACHE / "criu"
    script.write_text(f'#!/bin/sh\nexec {loader} --library-path {libraries} {files}/usr/sbin/criu "$@"\n')
    script.chmod(0o755)
    return str(script)
