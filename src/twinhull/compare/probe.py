"""An image of two programs that look about and tell what they see: the launcher's probe, and known ways out.

Promise: it needs nothing of the image under comparison, so that the same facts come from an image
without a shell, and the image is removed when it has served.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile

from twinhull.compare import abandoned
from twinhull.compare.findings import parse_probe
from twinhull.compare.run import Service, last_line
from twinhull.compare.subject import MeasurementFailed, Subject, own_command
from twinhull.config import Config
from twinhull.engine import Engine, foreign
from twinhull.errors import HostUnfit
from twinhull.host import facts, files, spawn
from twinhull.runtime.container import foreign_launcher, launcher_path
from twinhull.scopes import contextmanager
from twinhull.store import archive as store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROBE, ESCAPES = "probe", "escapes"
ESCAPES_INSIDE = f"/{ESCAPES}"
TIMEOUT_S = 60.0
# argv[0] is the program's name, argv[1] the launcher's mode.
LOOK = (f"/{PROBE}", "probe")
WAIT = (*LOOK, "wait")


def image_name(title: str, members: dict[str, bytes]) -> str:
    """Named after its content and this process, which removes it at the end."""
    return f"twinhull/{title}:{hashlib.sha256(b''.join(members.values())).hexdigest()[:12]}-{os.getpid()}"


def escapes_path() -> str:
    """The program that tries known ways out, beside the launcher.

    Raises:
        HostUnfit: it was never built.
    """
    path = os.path.join(os.path.dirname(launcher_path("")), ESCAPES)
    if not os.access(path, os.X_OK):
        raise HostUnfit(f"the probes are not at {path}", hint="make launcher, or reinstall twinhull")
    return path


@contextmanager
def loaded(config: Config, platform: str = "") -> Iterator[str]:
    """Give the name of the probes' image; the image is here as long as the block lasts.

    Args:
        platform: of the image under comparison; for another processor than this machine's there is the probe alone.

    Raises:
        TwinhullError: it could not be made or loaded, or there is no probe for that platform.
    """
    architecture = foreign.guest_of(platform)
    if architecture:
        programs = {PROBE: files.read(foreign_launcher(config.launcher, architecture))}
    else:
        programs = {PROBE: files.read(launcher_path(config.launcher)), ESCAPES: files.read(escapes_path())}
    with image_of(config, programs, "probe", architecture or "") as name:
        yield name


@contextmanager
def image_of(config: Config, members: dict[str, bytes], title: str, architecture: str = "") -> Iterator[str]:
    """Give the name of an image with some files that is here as long as the block lasts.

    Args:
        architecture: as for `archive`.

    Raises:
        TwinhullError: it could not be made or loaded.
    """
    name = image_name(title, members)
    with Engine(config) as engine, abandoned.scratch("probe") as place:
        path = f"{place}/image.tar"
        files.write(path, archive(members, name, architecture))
        store.load(config, engine.home.db, path, platform=f"linux/{architecture}" if architecture else "")
    try:
        yield name
    finally:
        spawn.run_tool((*own_command(), "rmi", name))


def archive(members: dict[str, bytes], name: str, architecture: str = "") -> bytes:
    """A docker-archive (docker save) with one layer that holds programs.

    Args:
        architecture: that they are for, as images name it; "" is this machine's.
    """
    layer = tar(members, mode=0o755)
    config = {
        "architecture": architecture or facts.architecture(),
        "os": "linux",
        "config": {"Cmd": list(LOOK), "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created_by": "twinhull compare"}],
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    documents = {"config.json": json.dumps(config).encode(), "manifest.json": json.dumps(manifest).encode()}
    return tar({**documents, "layer.tar": layer}, mode=0o644)


def tar(members: dict[str, bytes], *, mode: int) -> bytes:
    """A tar archive of plain files without times or owners, so that the same content is the same image.

    A name that ends with a slash is a directory that everyone may write to.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as file:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            if name.endswith("/"):
                member.type, member.mode = tarfile.DIRTYPE, 0o1777
            file.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def look_inside(
    subject: Subject, image: str, command: Sequence[str] = (), *, timeout_s: float = TIMEOUT_S
) -> dict[str, str]:
    """What a program of the image (the probe) sees in a new instance of a subject.

    Raises:
        MeasurementFailed: it did not run, or did not come to its end.
    """
    timing = subject.run(image, command, Service(streams=()), timeout_s=timeout_s)
    if timing.total_s is None:
        raise MeasurementFailed(f"no answer within {timeout_s:.0f} s; it said last: {timing.complaint or 'nothing'}")
    if timing.exit_code != 0:
        raise MeasurementFailed(timing.complaint or f"the probe ended with {timing.exit_code}")
    return parse_probe(timing.output.decode(errors="replace"))


def look_outside(argv: Sequence[str]) -> dict[str, str]:
    """What one of these programs sees on the host itself.

    Raises:
        MeasurementFailed: it did not run.
    """
    done = spawn.run_tool(argv, timeout_s=TIMEOUT_S)
    if done.returncode != 0:
        raise MeasurementFailed(last_line(done.stderr) or f"the probe ended with {done.returncode}")
    return parse_probe(done.stdout)
