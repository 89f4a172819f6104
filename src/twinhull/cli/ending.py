"""A request to end (SIGTERM) while a verb measures: everything that was started is undone first, as after Ctrl-C."""

from __future__ import annotations

import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

TERMINATED = 128 + signal.SIGTERM


def undo_on_termination() -> None:
    """Let SIGTERM unwind the verb to exit code 143; a second one does not cut the unwinding short.

    The signal is handled, not ignored, in the meantime: what is executed to stop instances would inherit that.
    """
    signal.signal(signal.SIGTERM, unwind)


def unwind(_number: int, _frame: FrameType | None) -> None:
    """End the verb from wherever it is.

    Raises:
        SystemExit: always.
    """
    signal.signal(signal.SIGTERM, lambda *_: None)
    sys.exit(TERMINATED)
