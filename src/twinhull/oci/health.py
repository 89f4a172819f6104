"""Health checks: what an image asks for (Docker's `Healthcheck` in its config), and what a request makes of that."""

from __future__ import annotations

from twinhull import jsontext
from twinhull.model import Health, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NS_PER_MS = 1_000_000
SHELL = ("/bin/sh", "-c")
# Docker's (moby, daemon/health.go).
DEFAULTS = Health((), 30_000, 30_000, 3, 0, 5_000)


def check_of(request: Request, config: str) -> Health | None:
    """The check of a workload, everything decided; None without one.

    Args:
        config: the image's, as JSON text. An image that does not have the word in it is not read.
    """
    asked = request.health
    if not asked.test and "Healthcheck" not in config:
        return None
    document: dict[str, Any] = jsontext.loads(config).get("config") or {}
    given = image_check(document)
    test = asked.test or given.test
    if not test or test[0] == "NONE":
        return None
    numbers = [one or other or usual for one, other, usual in zip(asked[1:], given[1:], DEFAULTS[1:], strict=True)]
    return Health(command(test, document), *numbers)


def image_check(document: dict[str, Any]) -> Health:
    """What an image says; what is malformed in it says nothing."""
    found = document.get("Healthcheck")
    if not isinstance(found, dict) or not isinstance(found.get("Test") or (), list | tuple):
        return Health()
    keys = ("Interval", "Timeout", "StartPeriod", "StartInterval")
    interval, timeout, start_period, start_interval = (milliseconds(found.get(key)) for key in keys)
    retries = found.get("Retries")
    count = retries if isinstance(retries, int) and 0 <= retries < 1 << 31 else 0
    test = tuple(map(str, found.get("Test") or ()))
    return Health(test, interval, timeout, count, start_period, start_interval)


def milliseconds(value: object) -> int:
    """Nanoseconds of an image as milliseconds, at least 1; 0 for what is no time."""
    return max(1, min(value, 1 << 62) // NS_PER_MS) if isinstance(value, int) and value > 0 else 0


def command(test: tuple[str, ...], document: dict[str, Any]) -> tuple[str, ...]:
    """The words to execute; a text goes to the image's shell."""
    if test[0] == "CMD-SHELL":
        shell = document.get("Shell")
        return (*(map(str, shell) if isinstance(shell, list) and shell else SHELL), *test[1:2])
    return test[1:] if test[0] == "CMD" else test
