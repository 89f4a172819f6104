"""create, run and exec: the verbs of `twinhull-oci` that start processes."""

from __future__ import annotations

import os
import sys
from _signal import (  # type: ignore[import-not-found]  # has no stub; signal costs 3 ms
    SIG_BLOCK,
    SIG_DFL,
    SIG_UNBLOCK,
    SIGCHLD,
    SIGCONT,
    SIGKILL,
    SIGSTOP,
    pthread_sigmask,
    signal,
)

from twinhull import imports, jsontext
from twinhull.cli.oci import identity_of, report, root_of
from twinhull.cli.oci_options import Options
from twinhull.errors import InvalidRequest
from twinhull.host import files
from twinhull.host.facts import is_rootless
from twinhull.host.spawn import become
from twinhull.plan.bundle import known_capabilities, ungranted_capabilities
from twinhull.plan.defaults import ISOLATION_ANNOTATION as ISOLATION
from twinhull.plan.shape import PROCESS, check_object
from twinhull.runtime.oci import life
from twinhull.runtime.oci import record as records
from twinhull.runtime.oci.conversation import Init, Started
from twinhull.runtime.oci.create import create, execute, load_spec
from twinhull.runtime.oci.launcher import launcher
from twinhull.runtime.oci.streams import Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, NoReturn

SANDBOXES = ("io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType")
FORWARDED = tuple(number for number in range(1, 32) if number not in (SIGKILL, SIGSTOP, SIGCHLD, SIGCONT, 11, 21, 22))


def streams_of(options: Options, given: Options) -> Streams:
    """What the process gets besides its standard streams."""
    preserve = given.value("preserve-fds") or "0"
    if not preserve.isdecimal():
        raise InvalidRequest(f"--preserve-fds: {preserve!r} is no number")
    console, pid_file, pidfd = (
        path and os.path.abspath(path) for path in map(given.value, ("console-socket", "pid-file", "pidfd-socket"))
    )
    listening = listening_sockets(os.environ)
    fd, _, pid = options.value("init").partition(":")
    init = Init(int(fd), int(pid)) if pid else None
    return Streams(console, pid_file, int(preserve), init, listening, pidfd)


def listening_sockets(environment: Mapping[str, str]) -> int:
    """How many sockets our caller's service manager gave us from 3 on, by sd_listen_fds(3)."""
    count = environment.get("LISTEN_FDS", "")
    return int(count) if count.isdecimal() and environment.get("LISTEN_PID") == str(os.getpid()) else 0


def warner(options: Options) -> Callable[[str], None]:
    """Where warnings go."""
    return lambda text: report(options, "warning", text)


def check_console(spec: Any, given: Options, *, detached: bool) -> None:
    """A terminal needs somebody who holds its master.

    Raises:
        InvalidRequest: nobody would.
    """
    terminal = bool((spec.get("process") or {}).get("terminal"))
    if terminal and detached and not given.value("console-socket"):
        raise InvalidRequest(
            "process.terminal: cannot allocate tty if the runtime will detach without --console-socket"
        )


def run_create(options: Options, given: Options, words: list[str]) -> int:
    """Make a container; its process waits for start."""
    make(options, given, identity_of(words), detached=True)
    return 0


def make(options: Options, given: Options, identity: str, *, detached: bool) -> tuple[Any, Started]:
    """Make a container and return its configuration, too."""
    bundle = os.path.realpath(given.value("bundle") or ".")
    spec = load_spec(bundle, given.value("config"))
    check_console(spec, given, detached=detached)
    guest = isolation_of(options.value("isolation"), spec.get("annotations") or {}, called()) == "vm"
    streams, warn, grouped = streams_of(options, given), warner(options), options.value("cgroup-manager") != "disabled"
    if guest and not grouped:
        raise InvalidRequest("--cgroup-manager disabled: a virtual machine has a group of its own")
    made = create(root_of(options), identity, bundle, spec, streams, warn, guest=guest, grouped=grouped)
    if not grouped:
        if ((spec.get("linux") or {}).get("resources") or {}).get("devices"):
            warn("linux.resources.devices: not enforced without a control group (--cgroup-manager disabled)")
    elif not guest and (os.geteuid() or is_rootless()):
        for text in untaken(spec.get("linux") or {}, records.load(root_of(options), identity)):
            report(options, "warning", text, shown=False)  # Podman without root asks for both, always
    return spec, made


def untaken(linux: Mapping[str, Any], record: records.Record) -> Iterator[str]:
    """What a user without root asked of control groups, and has not."""
    if (linux.get("resources") or {}).get("devices"):
        yield "linux.resources.devices: not enforced for a user without root"
    if (path := linux.get("cgroupsPath")) and not record.unified and not record.legacy:
        yield f"linux.cgroupsPath: {path}: no such group can be made without root: the container stays in its caller's"


def called() -> str:
    """The name that we were called by; an installed wheel's is that of oci_script.py or oci_script_vm.py."""
    return os.path.basename(sys.argv[0]).removesuffix(".py").replace("_", "-")


def isolation_of(option: str, annotations: Mapping[str, str], name: str) -> str:
    """container or vm: what --isolation says, else the annotation, else our name. A pod's sandbox is a container.

    Raises:
        InvalidRequest: it is neither.
    """
    chosen = option or annotations.get(ISOLATION) or ("vm" if name.endswith("-vm") else "container")
    if chosen not in ("container", "vm"):
        raise InvalidRequest(f"{'--isolation' if option else ISOLATION}: {chosen!r} is neither container nor vm")
    return "container" if any(annotations.get(key) == "sandbox" for key in SANDBOXES) else chosen


def run_run(options: Options, given: Options, words: list[str]) -> int:
    """create, start and, unless detached, wait and delete; ends with the status of the process."""
    identity, root, detached = identity_of(words), root_of(options), given.flag("detach")
    warn, (spec, started) = warner(options), make(options, given, identity, detached=detached)
    if started.terminal >= 0 and not given.value("console-socket"):
        from twinhull.cli.oci_terminal import keep_newlines

        keep_newlines(started.terminal)
    # A signal that comes when the process runs already, and we do not look after it yet, is for it. Hooks of ours would
    # inherit this.
    if records.POSTSTART not in records.marks_of(spec) and not detached:
        pthread_sigmask(SIG_BLOCK, FORWARDED)
    try:
        tells = life.begin(root, identity, waits=detached)
    except BaseException:
        life.delete(root, identity, force=True, warn=warn)
        raise
    if detached:
        return 0
    elsewhere, keeps = bool(given.value("console-socket")), given.flag("keep")
    if not keeps and not tells and (started.terminal < 0 or elsewhere):
        leave(options, root, identity, started.pid)
    try:
        return attend(started, elsewhere)
    finally:  # also if what it writes cannot be shown any more
        if not keeps:
            life.delete(root, identity, force=True, warn=warn)


def leave(options: Options, root: str, identity: str, pid: int) -> NoReturn:
    """Let the launcher do the rest in our place, with a hundredth of the memory: wait, pass signals on, delete."""
    log = [word for name in ("log", "log-format") for word in (f"--{name}", options.value(name)) if options.value(name)]
    script = f"{os.path.dirname(__file__)}/oci_script.py"
    delete = [sys.executable, "-IS", script, "--root", root, *log, "delete", "--force", identity]
    imports.keep()
    become(launcher(), ["twinhull-oci", "oci-run", str(pid), root, identity, *delete])


def attend(started: Started, console_is_elsewhere: bool) -> int:
    """Stand in front of a process: pass signals on, show its terminal, return how it ended."""
    if started.terminal >= 0 and not console_is_elsewhere:
        from twinhull.cli.oci_terminal import relay

        forward(started.pid)
        pthread_sigmask(SIG_UNBLOCK, FORWARDED)
        return relay(started.terminal, started.pid)
    forward(started.pid)
    pthread_sigmask(SIG_UNBLOCK, FORWARDED)
    status = os.waitstatus_to_exitcode(os.waitpid(started.pid, 0)[1])
    for number in FORWARDED:
        signal(number, SIG_DFL)
    return 128 - status if status < 0 else status


def forward(pid: int) -> None:
    """Let signals of ours be a child's; relay takes that of the window's size for itself."""
    for number in FORWARDED:
        signal(number, lambda number, _: pass_on(pid, number))


def pass_on(pid: int, number: int) -> None:
    """Send a signal of ours to a child of ours, which nobody else can have reaped."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def run_exec(options: Options, given: Options, words: list[str]) -> int:
    """Start one more process; ends with its status, or with 255 if it could not start."""
    if not words:
        raise InvalidRequest("exec takes a container id and a command")
    root, identity = root_of(options), words[0]
    process = read_process(given) if given.value("process") else build_process(root, identity, given, words[1:])
    check_console({"process": process}, given, detached=given.flag("detach"))
    started = execute(
        root,
        identity,
        process,
        streams_of(options, given),
        subgroups=given.all("cgroup"),
        paused=given.flag("ignore-paused"),
    )
    sets = process.get("capabilities") or {}
    granted = known_capabilities(sets).get("permitted", [])  # --cap asks for no more than that
    if left := [name for name in ungranted_capabilities(sets) if name not in granted]:
        warner(options)(f"process.capabilities: cannot be granted: {' '.join(left)}")
    return 0 if given.flag("detach") else attend(started, bool(given.value("console-socket")))


def read_process(given: Options) -> Any:
    """The process section that a caller wrote to a file."""
    try:
        process = jsontext.loads(files.read(given.value("process")))
    except ValueError as error:
        raise InvalidRequest(f"{given.value('process')}: {error}") from None
    check_object(process, PROCESS, "process")
    return process


def build_process(root: str, identity: str, given: Options, command: list[str]) -> Any:
    """The container's own process section, with what the command line changes."""
    if not command:
        raise InvalidRequest("process args cannot be empty: exec takes a command or --process")
    records.load(root, identity)
    process = dict(records.config(root, identity)["process"])
    process["args"], process["terminal"] = command, given.flag("tty")
    names = {entry.partition("=")[0] for entry in given.all("env")}
    kept = (entry for entry in process.get("env") or () if entry.partition("=")[0] not in names)
    process["env"] = [*kept, *given.all("env")]
    if given.value("cwd"):
        process["cwd"] = given.value("cwd")
    if given.flag("no-new-privs"):
        process["noNewPrivileges"] = True
    for name, key in (("apparmor", "apparmorProfile"), ("process-label", "selinuxLabel")):
        if given.value(name):
            process[key] = given.value(name)
    if given.all("cap"):
        sets = process.get("capabilities") or {}
        kinds = ("bounding", "effective", "permitted", *(["ambient"] if sets.get("inheritable") else []))
        process["capabilities"] = {**sets, **{kind: [*(sets.get(kind) or ()), *given.all("cap")] for kind in kinds}}
    process["user"] = user_of(process.get("user") or {}, given)
    return process


def user_of(user: dict[str, Any], given: Options) -> dict[str, Any]:
    """--user UID[:GID] and --additional-gids."""
    changed = dict(user)
    uid, colon, gid = given.value("user").partition(":")
    groups = [word for text in given.all("additional-gids") for word in text.split(",")]
    for text in (*([uid] if uid else []), *([gid] if colon else []), *groups):
        if not text.isdecimal():
            raise InvalidRequest(f"--user and --additional-gids take numbers, not {text!r}")
    if uid:
        changed["uid"] = int(uid)
    if colon:
        changed["gid"] = int(gid)
    if groups:
        changed["additionalGids"] = [*(changed.get("additionalGids") or ()), *map(int, groups)]
    return changed
