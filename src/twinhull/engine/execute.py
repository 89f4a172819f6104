"""One more process inside a running workload."""

from __future__ import annotations

from twinhull import jsontext
from twinhull.engine.control import require_running, require_unpaused
from twinhull.engine.state import Home
from twinhull.errors import CommandNotExecutable, CommandNotFound, InvalidRequest, LaunchError, NotFound
from twinhull.host import files
from twinhull.host.facts import read_facts
from twinhull.host.seccomp import spec_filter
from twinhull.model import Instance
from twinhull.oci.spec import ENOENT, User, capability_sets, no_program, resolve_user
from twinhull.plan import codec
from twinhull.plan.compile import STDIN_CLIENT, STDIN_NONE
from twinhull.plan.defaults import CAPABILITY_NUMBERS
from twinhull.plan.frames import Flag, Kind
from twinhull.plan.ops import Op
from twinhull.plan.process import process_ops
from twinhull.runtime import sandbox
from twinhull.runtime.sandbox import Sandbox
from twinhull.store import images
from twinhull.tuples import NamedTuple

STREAM = 1


class ExecRequest(NamedTuple):
    """What `exec` asks for; empty means as the workload's main process has it."""

    command: tuple[str, ...]
    environment: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    tty: bool = False
    interactive: bool = False
    privileged: bool = False


def execute(home: Home, instance: Instance, request: ExecRequest, *, size: tuple[int, int] = (0, 0)) -> Sandbox:
    """Start the process; its frames are on stream STREAM of the returned conversation.

    Raises:
        Conflict: the workload does not run, or is paused.
        LaunchError: the program could not be executed, or the directory of work is not there (126, 127).
    """
    if request.command and not request.command[0]:
        raise no_program()
    if not request.command:
        raise InvalidRequest("no command specified", hint="twinhull exec NAME COMMAND")
    require_running(home, instance)
    if instance.isolation == "machine":  # the shim's process is QEMU, whose namespaces are no place for a program
        raise InvalidRequest(
            f"{instance.name} is a machine: its processes are its own system's",
            hint=f"twinhull machine attach {instance.name} is its console",
        )
    require_unpaused(home, instance)
    plan = exec_plan(home, instance, request, size)
    conversation = sandbox.connect(home.directory(instance.id))
    try:
        flags = Flag.STDIN_OPEN if request.interactive else 0
        conversation.send_plan(Kind.EXEC, STREAM, plan, flags)
        conversation.expect(Kind.STARTED, STREAM)
    except LaunchError as error:
        conversation.close()
        if error.op == "directory-of-work":
            raise no_directory(error) from None
        raise
    except BaseException:
        conversation.close()
        raise
    return conversation


def no_directory(error: LaunchError) -> LaunchError:
    """The error of a directory of work that is not there (127, as Docker) or is none (126)."""
    if error.errno == ENOENT:
        return CommandNotFound("exec -w", error.target, error.errno, hint="nothing is made inside what runs already")
    return CommandNotExecutable("exec -w", error.target, error.errno)


def exec_plan(home: Home, instance: Instance, request: ExecRequest, size: tuple[int, int]) -> bytes:
    """The encoded plan: join, then the process as the bundle has it, changed by the request."""
    spec = jsontext.loads(files.read(f"{home.directory(instance.id)}/config.json"))
    process = spec["process"]
    process["args"] = list(request.command)
    process["terminal"] = request.tty
    process["consoleSize"] = {"height": size[0], "width": size[1]}
    if request.workdir and not request.workdir.startswith("/"):
        raise InvalidRequest(f"the working directory {request.workdir!r} is not absolute")
    process["cwd"] = request.workdir or process["cwd"]
    process["env"] = merged(process["env"], request.environment, tty=request.tty)
    if request.user:
        user = find_user(home, instance, request.user)
        process["user"] = {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)}
        process["capabilities"] = capability_sets(user.uid, process["capabilities"]["bounding"])
    stdin = STDIN_CLIENT if request.interactive else STDIN_NONE
    program = spec_filter(home.config.state, spec)  # the workload's, whatever this process may do beyond it
    if request.privileged:
        every = [f"CAP_{name}" for name in CAPABILITY_NUMBERS]
        process["capabilities"] = capability_sets(process["user"]["uid"], every)
    ops = process_ops(process, read_facts(), seccomp=program)
    return codec.encode((Op("join"), Op("stdin", (stdin,)), *ops))


def merged(base: list[str], added: tuple[str, ...], *, tty: bool) -> list[str]:
    """The variables with `added` over them."""
    variables = {entry.partition("=")[0]: entry for entry in base}
    if tty:
        variables.setdefault("TERM", "TERM=xterm")
    variables.update({entry.partition("=")[0]: entry for entry in added if "=" in entry})
    return list(variables.values())


def find_user(home: Home, instance: Instance, text: str) -> User:
    """Resolve -u by the image's own files."""
    image = images.by_digest(home.db, instance.image_digest)
    if image is None:
        raise NotFound(f"the image of {instance.name} is gone", hint="give the user as a number")
    return resolve_user(text, image.passwd, image.group)
