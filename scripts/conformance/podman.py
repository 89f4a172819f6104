"""Podman's system tests, as root and as another user: files for bats. Podman's settings name the runtime."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from scripts.conformance import images
from scripts.conformance.runc import names_of
from scripts.conformance.suite import Place, Result, Suite, remove_groups, run_test
from scripts.conformance.tap import tap_results

_IMAGE = "quay.io/libpod/testimage:20220615"
_ARCHIVE = "test/system/testimage.tar"
# The files whose tests make containers; the others are about images, builds, registries, systemd and the command line.
_FILES = """
030-run 032-sig-proxy 035-logs 040-ps 045-start 050-stop 055-rm 075-exec 080-pause 130-kill
160-volumes 170-run-userns 180-blkio 190-run-ipcns 200-pod 220-healthcheck 260-sdnotify 280-update
400-unprivileged-access 420-cgroups 450-interactive 500-networking 520-checkpoint 700-play
""".split()
# What takes control groups, systemd or CRIU.
_NOT_FOR_USERS = "180-blkio 220-healthcheck 260-sdnotify 280-update 420-cgroups 520-checkpoint".split()
# Podman's own limits may be above what this machine grants; of a new pod it takes the soft one for the hard one.
_SETTINGS = """[containers]
default_ulimits = ["nofile=8192:8192", "nproc=8192:8192"]
init_path = "/usr/libexec/podman/catatonit"
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "{name}"
[engine.runtimes]
{name} = ["{path}"]
"""
_STORAGE = """[storage]
driver = "overlay"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
"""
# What a test needs that is not here, by what Podman says without it.
_NEEDS = {
    "pinging container registry": "a registry",
    "/run/systemd/journal/socket": "journald",
    "/run/systemd/private": "systemd",
    "systemd not running on this host": "systemd",
    "buildah: command not found": "buildah",
}
_REGISTRIES = 'unqualified-search-registries = ["docker.io"]\n'
_POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}\n'
# Each test has a machine of its own: what it started ends with the first process, and links, sockets, the store and
# what the runtime keeps in /run go with the namespaces. Input that never ends, and a terminal, as for runc's tests.
_MACHINE = """
set -e
for folder in /run /dev/shm /etc/cni/net.d /var/lib/cni /var/lib/containers; do
    mkdir -p $folder
    mount -t tmpfs tmpfs $folder
done
mkdir -p /run/lock
mount --bind "$SCRATCH/settings" /etc/containers
ip link set lo up
"""
# For a controller that is nowhere mounted Podman makes directories that it cannot remove: it does not hear of those.
_ROOT = """
export store=/var/lib/containers enter= as=
cp --archive "$SCRATCH/store/." $store
awk '$2 != 0' /proc/cgroups >/run/controllers
mount --bind /run/controllers /proc/cgroups
"""
# One who has no row in the files of this machine; in his user namespace no /proc could be mounted beside one with a
# file that is covered. /run is not where his home may be, for Podman hides that from his networks.
_USER = """
mount --make-rshared /
user=tester number=21750 homes=/var/lib/containers
export HOME=$homes/$user USER=$user XDG_RUNTIME_DIR=/run/user/$user TMPDIR=$homes/tmp
export store=$HOME/.local/share/containers enter="podman unshare"
export as="setpriv --reuid=$number --regid=$number --clear-groups"
chown $number:$number "$SCRATCH/store"
mkdir -p ${store%/*} $XDG_RUNTIME_DIR $TMPDIR
cp --archive "$SCRATCH/store" $store
chown $number:$number $HOME $HOME/.local $HOME/.local/share $store $XDG_RUNTIME_DIR $TMPDIR
chmod 1777 /dev/shm
row() { cp --archive $1 /run/row && echo $2 >>/run/row && mv /run/row /run/${1##*/} && mount --bind /run/${1##*/} $1; }
row /etc/passwd $user:x:$number:$number::$HOME:/bin/sh
row /etc/group $user:x:$number:
row /etc/subuid $user:100000000:65536
row /etc/subgid $user:100000000:65536
mknod --mode=666 /run/tun c 10 200
mount --bind /run/tun /dev/net/tun
cd $HOME
"""
_RUN = """
set +e
exec 3< <(sleep infinity); $as "$@" <&3 3<&- & wait $!
"""
_INIT = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--net", "--ipc", "bash", "-c"]
_KEEP = 'podman import "$@" && $enter cp --archive "$store/." "$SCRATCH/store"'


def build(source: Path) -> None:
    """Make the one image of the tests."""
    images.testimage(source / _ARCHIVE)


def run(place: Place) -> Iterator[Result]:
    """Run each test of the files in which the runtime matters, by itself, as root."""
    yield from run_files(place, _FILES, _MACHINE + _ROOT + _RUN)
    remove_groups("libpod_parent")


def run_as_user(place: Place) -> Iterator[Result]:
    """Run those that a user without root may ask for as one."""
    yield from run_files(place, [name for name in _FILES if name not in _NOT_FOR_USERS], _MACHINE + _USER + _RUN)


def run_files(place: Place, files: list[str], script: str) -> Iterator[Result]:
    """Run the tests of these files in machines that the script makes."""
    machine = [*_INIT, script, "bash"]
    prepare(place, machine)
    for file in (place.source / f"test/system/{name}.bats" for name in files):
        for name in names_of(file.read_text()):
            if place.wants(f"{file.name}: {name}"):
                yield run_one(place, machine, file, name)


def prepare(place: Place, machine: list[str]) -> None:
    """Write Podman's settings, and put the image into a store that all tests share."""
    settings = place.scratch / "settings"
    settings.mkdir()
    (place.scratch / "store").mkdir()
    text = _SETTINGS.format(name=place.runtime.name, path=place.runtime)
    files = {"containers.conf": text, "storage.conf": _STORAGE, "registries.conf": _REGISTRIES, "policy.json": _POLICY}
    for name, content in files.items():
        (settings / name).write_text(content)
    changes = ["--change", 'CMD ["/bin/echo", "This container is intended for podman CI testing"]']
    changes += ["--change", "WORKDIR /home/podman", "--change", "ENV PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"]
    command = [*machine, "sh", "-c", _KEEP, "sh", *changes, str(place.source / _ARCHIVE), _IMAGE]
    status, output = run_test(place, command, timeout=120, SCRATCH=str(place.scratch))
    if status:
        raise RuntimeError(f"podman import: {output}")


def run_one(place: Place, machine: list[str], file: Path, name: str) -> Result:
    """Run one test of a file."""
    bats = shlex.join(["bats", "--tap", "--filter", f"^{re.escape(name)}$", str(file)])
    command = [*machine, "script", "--quiet", "--return", "--flush", "--command", bats, "/dev/null"]
    # Some tests have Podman read settings of their own instead.
    variables = {"PODMAN": f"podman --runtime={place.runtime} --cgroup-manager=cgroupfs", "PODMAN_TIMEOUT": "60"}
    _, output = run_test(place, command, timeout=300, SCRATCH=str(place.scratch), **variables)
    found = list(tap_results(file.name, output.replace("\r", "")))
    if not found:
        return Result(f"{file.name}: {name}", "failed", output)
    missing = [what for said, what in _NEEDS.items() if said in output]
    if found[0].outcome == "failed" and missing:
        return Result(f"{file.name}: {name}", "skipped", f"needs {missing[0]}")
    return Result(f"{file.name}: {name}", found[0].outcome, reason_of(output))


def reason_of(output: str) -> str:
    """What a test showed of its failure, or said of its skip."""
    lines = output.replace("\r", "").partition("# # [teardown]")[0].splitlines()
    told = [line for line in lines if re.match(r"# #\|", line)] or [line for line in lines if " # skip" in line]
    return "\n".join(told or lines)


SUITE = Suite("podman", "libpod", "bookworm", build, run)
USER_SUITE = Suite("podman-user", "libpod", "bookworm", build, run_as_user)
