"""How the command lines of other engines are called: Docker, Podman, crun and runc.

Promise: nothing here starts a service; an engine that does not answer is absent, with the reason.
"""

from __future__ import annotations

import json
import os
import resource
import shutil

from twinhull.compare.run import last_line
from twinhull.compare.subject import MeasurementFailed
from twinhull.host import files, spawn
from twinhull.host.facts import read_facts
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

ANSWER_S = "10"
# What Docker and Podman give a container where nothing else is said (moby's default of its systemd unit).
THEIR_FILES = 1 << 20
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")


class Client(NamedTuple):
    """One engine's command.

    Attributes:
        words: the command with the options that every call needs.
        flags: of each run.
    """

    name: str
    words: tuple[str, ...]
    flags: tuple[str, ...] = ()

    def call(self, *words: str) -> tuple[str, ...]:
        """Any other command."""
        return (*self.words, *words)

    def run(self, image: str, command: Sequence[str], *more: str) -> tuple[str, ...]:
        """Start a container."""
        return (*self.words, "run", *more, *self.flags, image, *command)


def docker(*options: str, flags: Sequence[str] = ()) -> Client:
    """Docker's client; `options` say where its daemon listens, if not where DOCKER_HOST does."""
    return Client("docker", ("docker", *options), (*limits(), *flags))


def podman(*options: str, flags: Sequence[str] = ()) -> Client:
    """Podman, without a network: its bridge would stay on this machine."""
    words = ["podman", *options]
    if not os.path.isdir("/run/systemd/system"):
        words += ["--cgroup-manager", "cgroupfs"]
    if read_facts().cgroup1 and shutil.which("runc"):
        words += ["--runtime", "runc"]  # crun of the same distribution refuses hybrid cgroups under Podman
    return Client("podman", tuple(words), ("--network", "none", *limits(), *flags))


def limits() -> tuple[str, ...]:
    """Ulimits that this machine can give: where our own are lower than theirs they could not raise them."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return LIMITS if hard != resource.RLIM_INFINITY and hard <= THEIR_FILES else ()


def absence(client: Client) -> str:
    """Why an engine cannot be used; "" if it answers."""
    if not shutil.which(client.words[0]):
        return "not installed"
    question = ("version", "--format", "{{.Server.Version}}") if client.name == "docker" else ("info",)
    done = spawn.run_tool(("timeout", ANSWER_S, *client.call(*question)))
    if done.returncode != 0 or not done.stdout.strip():
        return last_line(done.stderr) or "it does not answer"
    return ""


def bundle(tool: str, folder: str, root: str, process: dict[str, Any], *, memory_bytes: int = 0) -> None:
    """Write an OCI bundle for `tool`: its own default spec, with this root and what `process` says.

    Raises:
        MeasurementFailed: the tool did not write one.
    """
    files.make_directory(folder)
    done = spawn.run_tool((tool, "spec", "--bundle", folder))
    if done.returncode != 0:
        raise MeasurementFailed(f"{tool} spec: {last_line(done.stderr)}")
    path = f"{folder}/config.json"
    spec = json.loads(files.read(path))
    spec["root"] = {"path": root, "readonly": True}
    spec["process"].update({"terminal": False, **process})
    if memory_bytes:
        spec["linux"].setdefault("resources", {})["memory"] = {"limit": memory_bytes}
    files.write(path, json.dumps(spec).encode())
