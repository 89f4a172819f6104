"""Containers that another OCI runtime makes (`--runtime`): which, and what its errors mean."""

from __future__ import annotations

import os
from errno import EACCES, ECHILD, ENOENT, ETIMEDOUT

from twinhull import jsontext
from twinhull.engine.state import Home
from twinhull.errors import CommandNotExecutable, CommandNotFound, HostUnfit, InvalidRequest, LaunchError, TwinhullError
from twinhull.host import files
from twinhull.host.facts import read_facts
from twinhull.model import Instance, Request
from twinhull.plan.compile import Network, Root
from twinhull.plan.external import Runtime, compile_external, external_spec
from twinhull.plan.ops import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SILENT = {ETIMEDOUT: "it did not end in time", ECHILD: "the process that it made is not its caller's"}
STEPS = ("runtime", "hook")  # the ops that run it
NOT_FOUND = ("executable file not found", "no such file or directory")
NOT_EXECUTABLE = (
    "permission denied",
    "is a directory",
    "exec format error",
    "open executable: operation not permitted",
)


def resolved(request: Request) -> Request:
    """The request with the path of its runtime.

    Raises:
        InvalidRequest: a virtual machine has none.
        HostUnfit: it is not there.
    """
    if request.isolation == "vm":
        raise InvalidRequest(
            f"--runtime {request.runtime}: an OCI runtime makes containers, not virtual machines",
            hint="leave --runtime or --vm out",
        )
    for folder in ("",) if "/" in request.runtime else os.get_exec_path():
        path = os.path.abspath(os.path.join(folder, request.runtime))
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return request._replace(runtime=path)
    raise HostUnfit(f"--runtime {request.runtime}: no such program", hint="apt-get install crun, or give its path")


def runtime_of(home: Home, instance: Instance, request: Request) -> Runtime:
    """The runtime of a workload, with its bundle."""
    return Runtime(request.runtime, home.directory(instance.id), instance.id)


def make_plan(
    runtime: Runtime, spec: dict[str, Any], root: Root, network: Network, stdin: int
) -> tuple[Plan, Mapping[str, Any]]:
    """Make what the bundle has beside config.json; return the plan and the content of that.

    Raises:
        UnsupportedSpec: the request asks for what only our own launcher does.
    """
    facts = read_facts()
    changed = external_spec(spec, facts, runtime, network)
    files.make_directory(f"{runtime.bundle}/rootfs", 0o755)
    for name in ("runtime.log", "pid"):
        files.remove_file(f"{runtime.bundle}/{name}")
    return compile_external(changed, facts, root, network, runtime, stdin=stdin), changed


def explain(error: LaunchError, runtime: Runtime) -> TwinhullError:
    """Say why the runtime did not make or start a container, in its own words where it has any."""
    if error.op not in STEPS:
        return error
    said = complaint(runtime.log)
    lowered = said.lower()
    if any(text in lowered for text in NOT_FOUND) and "exec" in lowered:
        return told(CommandNotFound(error.op, runtime.program, ENOENT), runtime, said)
    if any(text in lowered for text in NOT_EXECUTABLE) and "exec" in lowered:
        return told(CommandNotExecutable(error.op, runtime.program, EACCES), runtime, said)
    return told(error, runtime, said or SILENT.get(error.errno, "it failed without a word"))


def told(error: LaunchError, runtime: Runtime, said: str) -> LaunchError:
    """The error in the runtime's words."""
    error.message = f"{os.path.basename(runtime.program)}: {said}"
    return error


def complaint(path: str) -> str:
    """The last error of a log: a JSON object a line, as every OCI runtime writes it."""
    try:
        lines = files.read(path).decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return ""
    for line in reversed(lines):
        try:
            row = jsontext.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and row.get("level", "error") in ("error", "fatal"):
            return "".join(letter if letter.isprintable() else " " for letter in str(row.get("msg", ""))).strip()
    return ""
