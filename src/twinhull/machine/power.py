"""The power button of a machine: what a guest that knows ACPI switches itself off by."""

from __future__ import annotations

import time

from twinhull.errors import GuestError, SupervisorLost
from twinhull.runtime import qmp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.runtime.sandbox import Sandbox

STOP_TIMEOUT_S = 30  # a full system ends its services first; Docker's 10 s are for one process
PRESS_AGAIN_S = 3.0  # a guest that is still booting does not listen yet


def switch_off(directory: str, conversation: Sandbox, timeout_s: float) -> bool:
    """Press the button until the machine has ended; False if it has not in time.

    Args:
        conversation: with its shim; nobody else reads from it.
    """
    deadline = time.monotonic() + timeout_s
    while (left := deadline - time.monotonic()) > 0:
        press(directory, min(left, PRESS_AGAIN_S))
        conversation.connection.settimeout(max(min(deadline - time.monotonic(), PRESS_AGAIN_S), 0.001))
        try:
            conversation.wait()
        except TimeoutError:
            continue
        except SupervisorLost:
            pass  # it ended without a word: the lock says so
        return True
    return False


def press(directory: str, timeout_s: float) -> None:
    """Press it once; a QEMU that does not answer has no button."""
    try:
        monitor = qmp.connect(directory, timeout_s)
    except GuestError:
        return
    try:
        monitor.execute("system_powerdown")
    except GuestError:
        pass
    finally:
        monitor.close()
