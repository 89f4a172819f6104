"""runc's tests: files for bats, which make bundles around two images and call the runtime as a shell's function."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from scripts.conformance import images
from scripts.conformance.source import fetch_programs
from scripts.conformance.suite import Place, Result, Suite, remove_groups, run_test
from scripts.conformance.tap import tap_results

_RELEASE = "sid"
_LIBRARIES = "/usr/share/gocode"
_PROJECT = "github.com/opencontainers/runc/libcontainer/utils"
_HELPERS = ("fs-idmap", "pidfd-kill", "recvtty", "remap-rootfs", "seccompagent")
# Where the runc of these tests is, below their source: the machine's may be years older.
_RUNC = "runc-here/usr/bin/runc"
_TEST = re.compile(r'^@test "(?P<name>.*)" \{$', re.MULTILINE)
_CRIU = Path("/etc/criu/default.conf")
_NOT_RUN = {"mounts_sshfs.bats": "needs sshfs and FUSE"}
# Everything that a test started ends with the first process of its namespace, which takes in those without a parent.
# The terminal's input must not end: `script` would pass that on.
_SCRIPT = 'exec 3< <(sleep infinity); "$@" <&3 3<&- & wait $!'
_INIT = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", _SCRIPT, "bash"]


def build(source: Path) -> None:
    """Compile the programs that the tests call, make their images, and fetch the runc that they were written for."""
    binaries = source / "tests/cmd/_bin"
    if not (binaries / _HELPERS[-1]).exists():
        build_helpers(source, binaries)
    data = source / "tests/integration/testdata"
    images.busybox(data / "busybox.tar")
    images.debian(data / "debian.tar")
    script = source / "tests/integration/get-images.sh"
    script.write_text(f"echo BUSYBOX_IMAGE={data}/busybox.tar\necho DEBIAN_IMAGE={data}/debian.tar\n")
    script.chmod(0o755)
    if not (source / _RUNC).exists():
        fetch_runc(source)


def build_helpers(source: Path, binaries: Path) -> None:
    """Compile the helpers, with Debian's packages of Go libraries and the one file of runc's own library they take."""
    own = source / ".go"
    library = own / "src" / _PROJECT
    library.mkdir(parents=True, exist_ok=True)
    shutil.copy(source / "libcontainer/utils/cmsg.go", library)
    variables = {"GO111MODULE": "off", "GOPATH": f"{own}:{_LIBRARIES}", "GOCACHE": f"{own}/cache"}
    for name in _HELPERS:
        command = ["go", "build", "-tags", "seccomp", "-o", str(binaries / name), "."]
        subprocess.run(command, cwd=source / "tests/cmd" / name, env={**os.environ, **variables}, check=True)


def fetch_runc(source: Path) -> None:
    """Fetch the runc of the same release with its libraries, and have it take those."""
    files = fetch_programs(source.parent, _RELEASE, ("runc", "libc6", "libseccomp2"))
    partial = source / "runc-here.partial"
    shutil.copytree(files, partial, symlinks=True, dirs_exist_ok=True)
    libraries = source / Path(_RUNC).parts[0] / "usr/lib" / f"{os.uname().machine}-linux-gnu"
    loader = next((partial / "usr/lib").glob("*-linux-gnu/ld-linux-*.so.?")).name
    command = ["patchelf", "--set-interpreter", str(libraries / loader), "--set-rpath", str(libraries)]
    subprocess.run([*command, str(partial / "usr/bin/runc")], check=True)
    partial.rename(source / Path(_RUNC).parts[0])


def run(place: Place) -> Iterator[Result]:
    """Run each test by itself, in namespaces of its own; crun is not asked, for its texts are others."""
    if place.runtime.name == "crun":
        return
    runtime = place.source / _RUNC if place.runtime.name == "runc" else place.runtime
    kept = _CRIU.exists()
    for file in sorted((place.source / "tests/integration").glob("*.bats")):
        for name in names_of(file.read_text()):
            test = f"{file.name}: {name}"
            if not place.wants(test):
                continue
            if file.name in _NOT_RUN:
                yield Result(test, "skipped", _NOT_RUN[file.name])
                continue
            yield run_one(place, file, name, runtime)
    remove_groups("runc-cgroups-integration-test")
    if not kept:  # by a test of checkpoints: it names a log in the directory of whoever calls CRIU next
        _CRIU.unlink(missing_ok=True)


def names_of(text: str) -> list[str]:
    """The names of the tests in a file, as bats knows them."""
    return [re.sub(r"\\(.)", r"\1", found["name"]) for found in _TEST.finditer(text)]


def run_one(place: Place, file: Path, name: str, runtime: Path) -> Result:
    """Run one test of a file, on a terminal, which some want."""
    bats = shlex.join(["bats", "--tap", "--filter", f"^{re.escape(name)}$", str(file)])
    command = [*_INIT, "script", "--quiet", "--return", "--flush", "--command", bats, "/dev/null"]
    _, output = run_test(place, command, timeout=120, RUNC=str(runtime))
    found = list(tap_results(file.name, output.replace("\r", "")))
    told = output.replace("\r", "").partition("# --- teardown ---")[0].partition("# rmdir: ")[0]
    reason = "\n".join(line for line in told.splitlines() if line.startswith("#"))
    if not found:
        return Result(f"{file.name}: {name}", "failed", output)
    return Result(f"{file.name}: {name}", found[0].outcome, reason or found[0].text)


SUITE = Suite("runc", "runc", _RELEASE, build, run)
