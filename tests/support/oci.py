"""OCI runtimes side by side: a bundle with a root of static busybox, and the command lines that drive it.

`container` is twinhull-oci, and with TWINHULL_PEERS the other runtimes that are here as well: they say whether a test
reads the specification as everybody does. The front is the part of twinhull-oci that does the short verbs in C. crun
refuses the hybrid cgroup layout, so it runs where no v2 is mounted.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import share_kernels, share_templates
from tests.support.launch import make_image
from twinhull.config import Config
from twinhull.runtime import holder

ROOT = Path(__file__).parents[2]
TWINHULL_OCI = ROOT / ".venv/bin/twinhull-oci"
TWINHULL_OCI_VM = ROOT / ".venv/bin/twinhull-oci-vm"
WITHOUT_V2 = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$0" "$@"'
RUNTIMES = {
    "runc": ["runc"],
    "crun": ["unshare", "-m", "sh", "-c", WITHOUT_V2, "crun"],
    "twinhull-oci": [str(TWINHULL_OCI)],
    "twinhull-oci-vm": [str(TWINHULL_OCI_VM)],
    "twinhull-oci without its front": [os.path.realpath(sys.executable), "-IS", str(TWINHULL_OCI)],
}
PEERS = bool(os.environ.get("TWINHULL_PEERS"))
HERE = [name for name in RUNTIMES if name == "twinhull-oci" or (PEERS and shutil.which(name))]
WITHOUT_FRONT = "twinhull-oci without its front"
PATIENCE_S = 10.0
Result = subprocess.CompletedProcess[str]
OUTER, OUTER_SIZE = 100_000, 65_536  # the numbers of a user namespace of the tests, on the host


class Container:
    """One container of one runtime, in a bundle of its own."""

    def __init__(self, runtime: str, scratch: Path, image: Path) -> None:
        self.runtime, self.scratch = runtime, scratch
        self.id = f"t{os.getpid()}{time.monotonic_ns() % 10**9}"
        self.bundle = scratch / "bundle"
        self.bundle.mkdir()
        shutil.copytree(image, self.bundle / "rootfs", symlinks=True)
        self.spec = default_spec(self.id)
        self.log = scratch / "log"

    @property
    def ours(self) -> bool:
        """True for twinhull-oci."""
        return self.runtime.startswith("twinhull-oci")

    def argv(self, *words: str) -> list[str]:
        """The command line of the runtime, with a state directory of the test's own."""
        general = ["--root", str(self.scratch / "state"), "--log", str(self.log), "--log-format", "json"]
        return [*RUNTIMES[self.runtime], *general, *words]

    def do(self, *words: str, check: bool = True, stdin: str = "") -> Result:
        """Run a command of the runtime; outputs go to files, for the container's processes inherit them."""
        out, err = self.scratch / "out", self.scratch / "err"
        with out.open("w") as stdout, err.open("w") as stderr:
            done = subprocess.run(self.argv(*words), input=stdin, stdout=stdout, stderr=stderr, text=True, timeout=60)
        result = subprocess.CompletedProcess(done.args, done.returncode, out.read_text(), err.read_text())
        if check:
            assert result.returncode == 0, f"{words}: {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result

    def map_users(self) -> None:
        """Map its users to OUTER and on, and give that root the container's root and the way there."""
        for kind in ("uid", "gid"):
            self.spec["linux"][f"{kind}Mappings"] = [{"containerID": 0, "hostID": OUTER, "size": OUTER_SIZE}]
        rootfs = self.bundle / "rootfs"
        for path in (rootfs, *rootfs.iterdir()):
            os.lchown(path, OUTER, OUTER)
        for path in (self.scratch, *self.scratch.parents):
            if path.is_relative_to("/tmp") and path != Path("/tmp"):
                path.chmod(0o755)

    def write(self) -> None:
        """Write config.json."""
        (self.bundle / "config.json").write_text(json.dumps(self.spec))

    def args(self, *words: str) -> Container:
        """Set the command."""
        self.spec["process"]["args"] = list(words)
        return self

    def sh(self, script: str) -> Container:
        """Set the command to a script."""
        return self.args("/bin/sh", "-c", script)

    def run(self, *, check: bool = True) -> Result:
        """Run the container to its end."""
        self.write()
        return self.do("run", "--bundle", str(self.bundle), self.id, check=check)

    def output(self, script: str) -> str:
        """What a script writes."""
        return self.sh(script).run().stdout

    def create(self, *options: str, check: bool = True) -> Result:
        """Create it."""
        self.write()
        return self.do("create", "--bundle", str(self.bundle), *options, self.id, check=check)

    def start(self) -> None:
        """Start it."""
        self.do("start", self.id)

    def begin(self) -> Container:
        """Create and start it."""
        self.create()
        self.start()
        return self

    def state(self) -> dict[str, Any]:
        """The state document."""
        found: dict[str, Any] = json.loads(self.do("state", self.id).stdout)
        return found

    def await_status(self, wanted: str) -> dict[str, Any]:
        """Return the state once the status is this."""
        deadline = time.monotonic() + PATIENCE_S
        while (state := self.state())["status"] != wanted:
            assert time.monotonic() < deadline, state
            time.sleep(0.02)
        return state

    def exec(self, *words: str, check: bool = True) -> Result:
        """Run one more process to its end."""
        return self.do("exec", self.id, *words, check=check)

    def errors(self) -> list[str]:
        """The messages of level error in the log."""
        rows = [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []
        return [row["msg"] for row in rows if row["level"] == "error"]

    def remove(self) -> None:
        """Remove it in any state."""
        self.do("delete", "--force", self.id, check=False)


def default_spec(identity: str) -> dict[str, Any]:
    """A container as `spec` writes it, without a terminal, with a cgroup of our own name."""
    plain = ["nosuid", "noexec", "nodev"]
    held = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/sleep", "1000"],
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": held, "effective": held, "permitted": held},
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": False},
        "hostname": "inside",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            },
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*plain, "ro"]},
        ],
        "linux": {
            "cgroupsPath": f"/twinhull-test/{identity}",
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
        },
    }


@pytest.fixture(scope="session")
def busybox_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root of static busybox."""
    path = tmp_path_factory.mktemp("oci") / "image"
    make_image(path)
    return path


@pytest.fixture(params=HERE)
def container(
    request: pytest.FixtureRequest, tmp_path: Path, busybox_image: Path, nothing_is_left_behind: None
) -> Iterator[Container]:
    """A container of each runtime that is here."""
    made = Container(request.param, tmp_path, busybox_image)
    yield made
    made.remove()


@pytest.fixture
def ours(tmp_path: Path, busybox_image: Path, nothing_is_left_behind: None) -> Iterator[Container]:
    """A container of twinhull-oci: what Debian's older runtimes do not have, or do otherwise."""
    made = Container("twinhull-oci", tmp_path, busybox_image)
    yield made
    made.remove()


@pytest.fixture(scope="module")
def guests(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, busybox_image: Path
) -> Iterator[Config]:
    """A state directory of twinhull-oci-vm, with the templates that its machines start from."""
    root = tmp_path_factory.mktemp("guests")
    share_kernels(root)
    share_templates(root, request)
    config = Config(state=str(root / "state"), run=str(root / "run"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWINHULL_ROOT", str(root))
        patch.setenv("TWINHULL_CONFIG", str(root / "none.toml"))
        make_template(root / "first", busybox_image)
        yield config
    holder.end_all(config)


def make_template(scratch: Path, image: Path) -> None:
    """Have the first start; the template's holder is there from then on, so that no test is said to leave it."""
    scratch.mkdir()
    Container("twinhull-oci-vm", scratch, image).args("/bin/true").run()


@pytest.fixture
def machine(guests: Config, tmp_path: Path, busybox_image: Path, nothing_is_left_behind: None) -> Iterator[Container]:
    """A container of twinhull-oci-vm."""
    made = Container("twinhull-oci-vm", tmp_path, busybox_image)
    yield made
    made.remove()
    holder.end_all(guests)  # a machine of another kind has made another template
