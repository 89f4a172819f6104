"""Restart policies: what a workload's shim may do when the workload ends by itself, and what came of it.

Promise: what a user ends stays ended, at whatever moment that is asked. docs/decisions/restart.md has the reasons.

Files of a workload's directory: `restart`, the policy with the command that starts it again (launcher/restart.h);
`restarts`, written by the shim; `stopped`, there once a user has asked for the end; `restart.error`, why the last
restart came to nothing.
"""

from __future__ import annotations

import os
import sys

from twinhull import jsontext
from twinhull.errors import InvalidRequest
from twinhull.host import files, locks
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.config import Config
    from twinhull.model import Request

POLICIES = ("no", "on-failure", "always", "unless-stopped")
STARTER = "import sys; sys.path.insert(0, sys.argv[1]); from twinhull.engine.starting import main; main(*sys.argv[2:])"
SIGKILL = 9


class Restarts(NamedTuple):
    """What came of a policy since a user's last start.

    Attributes:
        done: restarts so far, the one to come among them.
        delay_ms: before the last of them.
        waiting: one is to come.
        pid: of the shim that waits with nothing else left to do, 0 before that.
    """

    done: int = 0
    delay_ms: int = 0
    waiting: bool = False
    pid: int = 0


def parse(text: str) -> str:
    """A policy as it is kept: "" for none, "on-failure:3".

    Raises:
        InvalidRequest: there is no such policy.
    """
    name, colon, most = text.partition(":")
    if name not in POLICIES:
        raise InvalidRequest(f"--restart {text}: no such policy", hint=f"one of {', '.join(POLICIES)}; on-failure:N")
    if not colon:
        return "" if name == "no" else name
    if name != "on-failure":
        raise InvalidRequest(
            f"--restart {text}: only on-failure has a number of attempts", hint="--restart on-failure:3"
        )
    if not (most.isascii() and most.isdecimal()) or len(most) > 9:
        raise InvalidRequest(f"--restart {text}: not a number of attempts", hint="--restart on-failure:3")
    return f"{name}:{int(most)}" if int(most) else name


def check(request: Request) -> None:
    """Refuse what cannot be.

    Raises:
        InvalidRequest: no such policy, or a workload that is to be deleted when it ends.
    """
    parse(request.restart or "no")
    if request.restart and request.remove:
        raise InvalidRequest(
            "conflicting options: --restart and --rm", hint="what is deleted when it ends cannot start again"
        )


def write(config: Config, identity: str, policy: str) -> None:
    """Tell the shim; it reads this when the workload ends."""
    path = f"{config.instance(identity)}/restart"
    if not policy:
        files.remove_file(path)
        return
    name, _, most = policy.partition(":")
    files.write(
        f"{path}.new", b"".join(word.encode() + b"\0" for word in (name, most or "0", *command(config, identity)))
    )
    os.rename(f"{path}.new", path)


def command(config: Config, identity: str) -> tuple[str, ...]:
    """PATH, the program and the words that start a workload again."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    settings = jsontext.dumps(config._replace(trace="")._asdict())
    words = ("twinhull-restart", "-IS", "-c", STARTER, package, settings, identity)
    return (os.environ.get("PATH", os.defpath), sys.executable or "/usr/bin/python3", *words)


def begin(directory: str) -> None:
    """A user starts it: nothing of what was before counts."""
    for name in ("restart", "restarts", "restart.error", "stopped"):
        files.remove_file(f"{directory}/{name}")


class Armed(NamedTuple):
    """A start that is about to be made, with what came of the policy before: what has not started is no run."""

    config: Config
    identity: str
    before: Restarts

    def disarm(self) -> None:
        """Let its shim end, which else waits for the lock of whoever waits for it."""
        write(self.config, self.identity, "")
        take_back(self.config.instance(self.identity))

    def restore(self) -> None:
        """Once its shim is gone, which may have taken this for an end: count as before."""
        directory = self.config.instance(self.identity)
        if self.before == Restarts():
            files.remove_file(f"{directory}/restarts")
        else:
            save(directory, self.before)


def arm(config: Config, identity: str, policy: str) -> Armed:
    """Tell the shim of a workload that is about to run."""
    before = read(config.instance(identity))
    write(config, identity, policy)
    return Armed(config, identity, before)


def read(directory: str) -> Restarts:
    """What came of the policy of a workload."""
    try:
        done, delay_ms, waiting, pid = map(int, files.read(f"{directory}/restarts").split())
    except (FileNotFoundError, ValueError):
        return Restarts()
    return Restarts(done, delay_ms, bool(waiting), pid)


def save(directory: str, state: Restarts) -> None:
    """Say what is so now; the lock is held."""
    files.write(f"{directory}/restarts.new", b"%d %d %d %d\n" % state)
    os.rename(f"{directory}/restarts.new", f"{directory}/restarts")


def is_waiting(directory: str) -> bool:
    """True between an end and the start that follows it: the shim waits, or what it has started holds the lock."""
    if read(directory).waiting:
        return locks.is_held(f"{directory}/alive") or locks.is_held(f"{directory}/lock")
    begins = not os.path.exists(f"{directory}/exit") and not locks.is_held(f"{directory}/alive")
    return begins and locks.is_held(f"{directory}/lock")


def forbid(directory: str) -> None:
    """Let the shim not start it again: one that has more to do than to wait looks before it waits."""
    files.write(f"{directory}/stopped", b"")


def take_back(directory: str) -> bool:
    """End the wait for a restart, if there is one; the lock is held."""
    state = read(directory)
    if not state.waiting:
        return False
    waited = locks.is_held(f"{directory}/alive")
    save(directory, state._replace(waiting=False, pid=0))
    if state.pid and waited:
        end(state.pid, directory)
    return waited


def end(pid: int, directory: str) -> None:
    """Kill a shim that waits; the number is its own as long as it holds its lock."""
    from signal import pidfd_send_signal

    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if locks.is_held(f"{directory}/alive"):
            pidfd_send_signal(process, SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(process)
    with locks.locked(f"{directory}/alive"):
        pass


def is_due_at_boot(directory: str, request: str) -> bool:
    """True of a workload that shall run after a boot, by its request as it is written down."""
    wanted = jsontext.loads(request).get("restart", "")
    if wanted == "unless-stopped":
        return not os.path.exists(f"{directory}/stopped")
    return bool(wanted == "always")


def described(directory: str, policy: str) -> dict[str, object]:
    """The policy and what came of it, for programs."""
    name, _, most = (policy or "no").partition(":")
    try:
        error = files.read(f"{directory}/restart.error").decode("utf-8", "replace") or None
    except FileNotFoundError:
        error = None
    return {"policy": name, "attempts": int(most or 0), "count": read(directory).done, "error": error}
