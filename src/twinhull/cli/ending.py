"""A request to end (SIGTERM, SIGHUP) while a verb measures: everything that was started is undone, as after Ctrl-C."""

from __future__ import annotations

import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

REQUESTS = (signal.SIGTERM, signal.SIGHUP)  # the second: the terminal was closed


def undo_on_termination() -> None:
    """Let them unwind the verb to exit code 143 or 129; a further one does not cut the unwinding short.

    One that is ignored, as by nohup, stays so. The others are handled, not ignored, in the meantime: what is executed
    to stop instances would inherit that.
    """
    for number in REQUESTS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, unwind)


def unwind(number: int, _frame: FrameType | None) -> None:
    """End the verb from wherever it is.

    Raises:
        SystemExit: always.
    """
    for request in REQUESTS:
        if signal.getsignal(request) is unwind:
            signal.signal(request, lambda *_: None)
    sys.exit(128 + number)
