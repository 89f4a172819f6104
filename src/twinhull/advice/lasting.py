"""What a compose file says of a service that shall last: its restart policy and its health check. Pure."""

from __future__ import annotations

import shlex

from twinhull.advice.interpolation import Malformed
from twinhull.advice.values import mapping, plain, sequence, text, truth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from twinhull.advice.values import Path, Tree

TIMES = ("interval", "timeout", "retries", "start_period", "start_interval")


def lasting(service: Tree, path: Path) -> Iterator[str]:
    """The flags of `run` for both.

    Raises:
        Malformed: a check of no known kind.
    """
    if (policy := text(service.get("restart", "no"), (*path, "restart"))) not in ("no", "false"):  # YAML's no
        yield f"--restart={policy}"
    check = mapping(service.get("healthcheck") or {}, (*path, "healthcheck"), "a mapping")
    command = command_of(check, (*path, "healthcheck", "test"))
    if truth(check.get("disable", False)) or command == "NONE":
        yield "--no-healthcheck"
        return
    if command:
        yield f"--health-cmd={command}"
    for key in TIMES:
        if key in check:
            yield f"--health-{key.replace('_', '-')}={text(check[key], (*path, 'healthcheck', key))}"


def command_of(check: Tree, path: Path) -> str:
    """The check as a shell has it, "NONE" for none; a list of words is quoted for that."""
    test = check.get("test", "")
    if not test or isinstance(test, str):
        return str(test or "")
    kind, *words = map(plain, sequence(test, path))
    if kind == "CMD-SHELL":
        return " ".join(words)
    if kind not in ("CMD", "NONE"):
        raise Malformed(path, f"{kind!r} is no kind of check: CMD, CMD-SHELL or NONE")
    return shlex.join(words) if kind == "CMD" else kind
