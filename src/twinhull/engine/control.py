"""Verbs on a workload that runs: signals, waiting, stopping, removing."""

from __future__ import annotations

import os
import time

from twinhull.engine.reconcile import discard, examine, finish, forget
from twinhull.engine.state import Home, exit_record, is_frozen, is_to_restart, status
from twinhull.errors import Conflict, InvalidRequest, LaunchError, NotFound, SupervisorLost, TwinhullError
from twinhull.host import files, locks
from twinhull.model import Instance
from twinhull.plan.defaults import STOP_TIMEOUT_S
from twinhull.plan.frames import ExitStatus
from twinhull.runtime import sandbox
from twinhull.scopes import contextmanager
from twinhull.store import instances

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SIGKILL = 9
END_TIMEOUT_S = 30.0
POLL_S = 0.002


def signal_number(text: str) -> int:
    """Return the number for "TERM", "SIGTERM", "sigterm", "15" or "RTMIN+3".

    Raises:
        InvalidRequest: no such signal.
    """
    import _signal  # type: ignore[import-not-found]  # has no stub; signal makes enumerations at import, 8 ms

    name = text.upper()
    if name.isdecimal() and 0 < int(name) < _signal.NSIG:
        return int(name)
    name = name if name.startswith("SIG") else f"SIG{name}"
    base, sign, offset = name[:8], name[8:9], name[9:]
    number = getattr(_signal, name, None)
    if (base, sign) in (("SIGRTMIN", "+"), ("SIGRTMAX", "-")) and offset.isdecimal():
        number = int(getattr(_signal, base)) + int(sign + offset)
        if _signal.SIGRTMIN <= number <= _signal.SIGRTMAX:
            return number
    elif isinstance(number, int) and not name.startswith("SIG_"):
        return number
    raise InvalidRequest(f"invalid signal: {text}", hint="a name such as TERM, SIGKILL or RTMIN+3, or 1 to 64")


def require_running(home: Home, instance: Instance) -> None:
    """Refuse a verb that needs a running workload.

    Raises:
        Conflict: it is not running.
    """
    state = status(home, instance)
    if state == "restarting":
        raise Conflict(f"workload {instance.name} is restarting", hint=f"twinhull logs {instance.name} says why")
    if state not in ("running", "paused"):
        raise Conflict(
            f"workload {instance.name} is not running (it is {state})", hint=f"{instance.program} start {instance.name}"
        )


def require_unpaused(home: Home, instance: Instance) -> None:
    """Refuse a verb that a frozen workload would never answer.

    Raises:
        Conflict: it is paused.
    """
    if status(home, instance) == "paused":
        raise Conflict(f"workload {instance.name} is paused", hint=f"twinhull unpause {instance.name}")


def release(instance: Instance, conversation: sandbox.Sandbox) -> None:
    """Let a paused workload meet the signal that was sent to it: as in Docker it goes on, if the signal lets it."""
    if not is_frozen(instance.id):
        return
    try:
        conversation.freeze(frozen=False)
    except LaunchError:
        pass  # it has ended of the signal


def has_policy(home: Home, instance: Instance) -> bool:
    """True if it may start again by itself."""
    return '"restart"' in instance.request or os.path.exists(f"{home.directory(instance.id)}/restart")


def kill(home: Home, instance: Instance, signal: int) -> None:
    """Send a signal to the main process.

    One that means the end is the end of a restart policy too: KILL, and as in Docker the signal that the workload
    names for its end, or any if it names none.
    """
    if not has_policy(home, instance) or not is_final(home, instance, signal):
        send(home, instance, signal)
        return
    if status(home, instance) != "restarting":
        require_running(home, instance)
    with for_good(home, instance):
        while status(home, instance) in ("running", "paused"):
            try:
                send(home, instance, signal)
                return
            except (Conflict, SupervisorLost):
                time.sleep(POLL_S)  # it ends at this moment


def is_final(home: Home, instance: Instance, signal: int) -> bool:
    """True if a signal says that the workload shall end."""
    named = instances.request_from(instance.request).stop_signal
    return signal in (SIGKILL, signal_number(named) if named else image_stop_signal(home, instance, signal))


def send(home: Home, instance: Instance, signal: int) -> None:
    """Send a signal to the main process; return after KILL when it has ended."""
    require_running(home, instance)
    conversation = sandbox.connect(home.directory(instance.id))
    try:
        conversation.signal(signal)
        release(instance, conversation)
        conversation.settle()
    except SupervisorLost:
        pass  # it has ended of this signal, or at the same moment
    finally:
        conversation.close()
    if signal == SIGKILL:
        wait_for_shim(home, instance)


def stop(home: Home, instance: Instance, *, signal: str = "", timeout_s: float | None = None) -> None:
    """Ask the main process to end, and end it after `timeout_s` seconds: negative never; without, what the workload
    was made with (10; a machine 30). Not running is fine.

    A machine is asked by its power button, unless a signal for its QEMU is named.
    """
    with locks.locked(f"{home.directory(instance.id)}/lock"):
        ran = stop_locked(home, instance, signal=signal, timeout_s=timeout_s)
    if ran:
        finish(home, instance.id)


def stop_locked(home: Home, instance: Instance, *, signal: str = "", timeout_s: float | None = None) -> bool:
    """End what runs; the lock is held. Returns whether it ran; then it has to be finished."""
    if status(home, instance) not in ("running", "paused", "restarting"):
        return False
    forbid_restart(home, instance)
    if instance.isolation == "machine" and not signal:
        switch_off(home, instance, timeout_s)
    else:
        seconds = stop_seconds(instance) if timeout_s is None else timeout_s
        ask_to_end(home, instance, stop_signal(home, instance, signal), seconds)
    wait_for_shim(home, instance)
    forbid_restart(home, instance)
    return True


def forbid_restart(home: Home, instance: Instance) -> None:
    """From here on it does not start by itself, and waits for no start; the lock is held."""
    if has_policy(home, instance):
        from twinhull.engine import policy

        policy.forbid(home.directory(instance.id))
        policy.take_back(home.directory(instance.id))


@contextmanager
def for_good(home: Home, instance: Instance) -> Iterator[None]:
    """What ends in the block does not start again by itself; whoever else is stopping it need not be waited for."""
    if not has_policy(home, instance):
        yield
        return
    from twinhull.engine import policy

    policy.forbid(home.directory(instance.id))
    take_back(home, instance)
    yield
    take_back(home, instance)  # it had ended at the same moment


def take_back(home: Home, instance: Instance) -> None:
    """End the wait for a restart, if there is one."""
    from twinhull.engine import policy

    directory = home.directory(instance.id)
    if policy.is_waiting(directory):
        with locks.locked(f"{directory}/lock"):
            policy.take_back(directory)


def stop_seconds(instance: Instance) -> float:
    """How long a workload has to end, as it was made."""
    wanted = instances.request_from(instance.request).stop_timeout
    return float(STOP_TIMEOUT_S if wanted is None else wanted)


def stop_signal(home: Home, instance: Instance, signal: str) -> int:
    """The signal that was named now, when the workload was made, or by its image."""
    wanted = signal or instances.request_from(instance.request).stop_signal
    return signal_number(wanted) if wanted else image_stop_signal(home, instance)


def switch_off(home: Home, instance: Instance, timeout_s: float | None) -> None:
    """Press a machine's power button, wait, kill."""
    from twinhull.machine import power

    seconds = float(power.STOP_TIMEOUT_S) if timeout_s is None else timeout_s
    directory = home.directory(instance.id)
    try:
        conversation = sandbox.connect(directory)
    except SupervisorLost:
        return  # it ended meanwhile
    try:
        ended = power.switch_off(directory, conversation, seconds)
    finally:
        conversation.close()
    if not ended:
        ask_to_end(home, instance, SIGKILL, END_TIMEOUT_S)


def ask_to_end(home: Home, instance: Instance, number: int, timeout_s: float) -> None:
    """Signal, wait, kill."""
    try:
        conversation = sandbox.connect(home.directory(instance.id))
    except SupervisorLost:
        return  # it ended meanwhile
    try:
        conversation.signal(number)
        release(instance, conversation)
        conversation.connection.settimeout(None if timeout_s < 0 else max(timeout_s, 0.001))
        try:
            conversation.wait()
        except TimeoutError:
            conversation.connection.settimeout(END_TIMEOUT_S)
            conversation.signal(SIGKILL, everyone=True)
            conversation.wait()
    except SupervisorLost:
        return  # the lock says so
    finally:
        conversation.close()


def image_stop_signal(home: Home, instance: Instance, default: int = 0) -> int:
    """The signal the image asks for, else the default, else TERM: one that names none there is must end too."""
    from twinhull import jsontext
    from twinhull.plan.defaults import STOP_SIGNAL
    from twinhull.store import images

    image = images.by_digest(home.db, instance.image_digest)
    config = (jsontext.loads(image.config).get("config") if image else None) or {}
    try:
        return signal_number(str(config.get("StopSignal") or default or STOP_SIGNAL))
    except InvalidRequest:
        return signal_number(STOP_SIGNAL)


def wait_for_shim(home: Home, instance: Instance, timeout_s: float = END_TIMEOUT_S) -> None:
    """Return when the supervisor has undone everything and ended, or waits to start the workload again.

    Raises:
        TwinhullError: it has not, in time.
    """
    deadline = time.monotonic() + timeout_s
    directory = home.directory(instance.id)
    while locks.is_held(f"{directory}/alive") and not is_to_restart(directory):
        if time.monotonic() > deadline:
            raise TwinhullError(f"workload {instance.name} does not end", hint="twinhull doctor looks for the cause")
        time.sleep(POLL_S)


def wait(home: Home, instance: Instance) -> ExitStatus:
    """Return how the workload ended, now or when it does."""
    while (state := status(home, instance)) in ("running", "paused", "restarting"):
        try:
            if state != "restarting":
                return wait_now(home, instance)
        except SupervisorLost:
            pass  # it ends, or begins, at this moment
        time.sleep(POLL_S)
    examine(home, instance.id)
    record = exit_record(home, instance.id)
    if record is None:
        if status(home, instance) == "created":
            raise Conflict(
                f"workload {instance.name} was never started", hint=f"{instance.program} start {instance.name}"
            )
        raise NotFound(f"workload {instance.name} ended and its record is gone: it was started with --rm")
    return ExitStatus(record.code, record.signal, record.oom)


def wait_now(home: Home, instance: Instance) -> ExitStatus:
    """Return how what runs has ended."""
    conversation = sandbox.connect(home.directory(instance.id))
    try:
        return conversation.wait()
    finally:
        conversation.close()


def remove_named(home: Home, name: str, *, force: bool = False, volumes: bool = False) -> None:
    """Delete the workload with this name, id, or beginning of an id; with `force` one that is in no list too.

    Raises:
        NotFound, Conflict: there is none, there are several, or it runs and `force` is not given.
    """
    try:
        instance = instances.find(home.db, name)
    except NotFound:
        from twinhull.engine import unlisted

        if not force or not (identity := unlisted.find(home, name)):
            raise
        unlisted.remove(home, identity)
    else:
        remove(home, instance, force=force, volumes=volumes)


def remove(home: Home, instance: Instance, *, force: bool = False, volumes: bool = False) -> None:
    """Delete a workload with its writable layer and its log.

    Args:
        volumes: and with those of its volumes that nobody named.

    Raises:
        Conflict: it runs, and `force` is not given.
    """
    directory = home.directory(instance.id)
    state = status(home, instance)
    if state in ("running", "paused", "restarting"):
        if not force:
            raise in_use(instance, state)
        with for_good(home, instance):
            ask_to_end(home, instance, SIGKILL, END_TIMEOUT_S)
            wait_for_shim(home, instance)
    if not os.path.isdir(directory):
        forget(home, instance.id)
        return
    with locks.locked(f"{directory}/lock"):
        instance = instances.get(home.db, instance.id) or instance
        state = status(home, instance)
        if state in ("running", "paused", "restarting") and locks.is_held(f"{directory}/alive"):
            if not force:
                raise in_use(instance, state)
            stop_locked(home, instance, signal="KILL", timeout_s=END_TIMEOUT_S)  # whoever had the lock started it
        discard(home, instance._replace(remove=instance.remove or volumes))
    files.remove_file(f"{home.config.run}/exited/{instance.id}")


def in_use(instance: Instance, state: str) -> Conflict:
    """The refusal to remove what runs."""
    program = instance.program
    hint = f"{program} stop {instance.name}, or {program} rm --force {instance.name}"
    return Conflict(f"workload {instance.name} is {state}", hint=hint)
