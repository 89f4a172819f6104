"""An image of one program that looks about and tells what it sees: the launcher's probe.

Promise: it needs nothing of the image under comparison, so that the same facts come from an image
without a shell, and the image is removed when it has served.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import tarfile
import tempfile

from twinhull.compare.findings import parse_probe
from twinhull.compare.run import Service, last_line
from twinhull.compare.subject import MeasurementFailed, Subject, own_command
from twinhull.config import Config
from twinhull.engine import Engine
from twinhull.host import files, spawn
from twinhull.runtime.container import launcher_path
from twinhull.scopes import contextmanager
from twinhull.store import archive as store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = "probe"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
TIMEOUT_S = 60.0
WAIT = ("wait",)


def image_name(program: bytes) -> str:
    """Named after the program's content and this process, which removes it at the end."""
    return f"twinhull/probe:{hashlib.sha256(program).hexdigest()[:12]}-{os.getpid()}"


@contextmanager
def loaded(config: Config) -> Iterator[str]:
    """Give the image's name; the image is here as long as the block lasts.

    Raises:
        TwinhullError: it could not be made or loaded.
    """
    program = files.read(launcher_path(config.launcher))
    name = image_name(program)
    with Engine(config) as engine, tempfile.TemporaryDirectory(prefix="twinhull-probe-") as place:
        path = f"{place}/probe.tar"
        files.write(path, archive(program, name))
        store.load(config, engine.home.db, path)
    try:
        yield name
    finally:
        spawn.run_tool((*own_command(), "rmi", name))


def archive(program: bytes, name: str) -> bytes:
    """A docker-archive (docker save) with one layer that holds one static program."""
    layer = tar({PROGRAM: program}, mode=0o755)
    config = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        # argv[0] is the program's name, argv[1] the launcher's mode.
        "config": {"Entrypoint": [f"/{PROGRAM}", "probe"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created_by": "twinhull compare"}],
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    documents = {"config.json": json.dumps(config).encode(), "manifest.json": json.dumps(manifest).encode()}
    return tar({**documents, "layer.tar": layer}, mode=0o644)


def tar(members: dict[str, bytes], *, mode: int) -> bytes:
    """A tar archive of plain files without times or owners, so that the same content is the same image."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as file:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            file.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def look_inside(subject: Subject, image: str, *, timeout_s: float = TIMEOUT_S) -> dict[str, str]:
    """What the probe sees in a new instance of a subject.

    Raises:
        MeasurementFailed: it did not run, or did not come to its end.
    """
    timing = subject.run(image, (), Service(streams=()), timeout_s=timeout_s)
    if timing.total_s is None:
        raise MeasurementFailed(f"no answer within {timeout_s:.0f} s; it said last: {timing.complaint or 'nothing'}")
    if timing.exit_code != 0:
        raise MeasurementFailed(timing.complaint or f"the probe ended with {timing.exit_code}")
    return parse_probe(timing.output.decode(errors="replace"))


def look_outside(launcher: str) -> dict[str, str]:
    """What the same program sees on the host itself.

    Raises:
        MeasurementFailed: it did not run.
    """
    done = spawn.run_tool((launcher, "probe"), timeout_s=TIMEOUT_S)
    if done.returncode != 0:
        raise MeasurementFailed(last_line(done.stderr) or f"the probe ended with {done.returncode}")
    return parse_probe(done.stdout)
