"""Hooks that run where the runtime does: prestart, createRuntime, poststart and poststop."""

from __future__ import annotations

import os

from twinhull import jsontext
from twinhull.errors import TwinhullError
from twinhull.host.spawn import run_tool
from twinhull.plan.bundle import hook_parts
from twinhull.plan.fields import hook_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class HookFailed(TwinhullError):
    """A hook ended with another status than 0, or not in its time."""

    code = "hook_failed"


def run_hooks(spec: Mapping[str, Any], kind: str, state: Mapping[str, object]) -> None:
    """Run the hooks of a kind, one after the other, with the state on standard input.

    Raises:
        HookFailed: one failed; those after it were not run.
    """
    for index, hook in enumerate((spec.get("hooks") or {}).get(kind) or ()):
        run_hook(hook, f"hooks.{kind}[{index}]", state)


def run_hook(hook: Mapping[str, Any], field: str, state: Mapping[str, object]) -> None:
    """Run one hook to its end; its argv[0] is the caller's, as execve takes it. Without `env` it gets ours.

    It runs in the bundle's directory, as long as there is one.
    """
    from subprocess import TimeoutExpired

    bundle, told = str(state["bundle"]), f"{field}: {hook_words(field)}{hook['path']}"
    path, arguments, environment, timeout_ms = hook_parts(hook, field)
    try:
        done = run_tool(
            arguments,
            executable=path,
            input_text=jsontext.dumps(state),
            timeout_s=timeout_ms / 1000 or None,
            environment=None if hook.get("env") is None else dict(entry.partition("=")[::2] for entry in environment),
            usual_places=False,
            directory=bundle if os.path.isdir(bundle) else None,
        )
    except TimeoutExpired:
        raise HookFailed(f"{told} did not end within {timeout_ms // 1000} s") from None
    except OSError as error:
        raise HookFailed(f"{told}: {error.strerror}") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise HookFailed(f"{told} ended with status {done.returncode}{': ' + said if said else ''}")
