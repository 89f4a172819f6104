"""Values for the files of control groups: all of them, or none."""

from __future__ import annotations

from twinhull.errors import LaunchError
from twinhull.host import files
from twinhull.host.facts import read
from twinhull.runtime.oci import record as records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from twinhull.runtime.oci.record import Record

# Files with a line for each device -> what stands for no limit of one.
NO_LIMIT = {
    "io.max": "rbps=max wbps=max riops=max wiops=max",
    "io.weight": "default",
    **{f"blkio.throttle.{way}_{unit}_device": "0" for way in ("read", "write") for unit in ("bps", "iops")},
}
EIO = 5


def apply(values: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Write each value into its file, and return what was there before.

    Memory comes before swap or after it, for the one must never be above the other.

    Raises:
        LaunchError: the kernel refused a value, and those before it are as they were.
    """
    done: list[tuple[str, str]] = []
    refused = [row for row in values if not is_taken(row, done)]
    for path, value in refused:
        former = former_value(path, value)
        try:
            files.write_value(path, value.encode())
        except OSError as error:
            take_back(done)
            raise LaunchError("write", f"{path} {value}", error.errno or EIO) from None
        done.append((path, former))
    return done


def apply_policy(lines: Sequence[tuple[str, str]], former: Sequence[tuple[str, str]]) -> None:
    """Write v1's lists of devices.

    Raises:
        LaunchError: the kernel refused a line, and the former ones are there again.
    """
    for path, line in lines:
        try:
            files.write_value(path, line.encode())
        except OSError as error:
            for row in former:
                is_taken(row, [])
            raise LaunchError("write", f"{path} {line}", error.errno or EIO) from None


def is_taken(row: tuple[str, str], done: list[tuple[str, str]]) -> bool:
    """Write a value, and remember the one before it; False if the kernel refused it."""
    path, value = row
    former = former_value(path, value)
    try:
        files.write_value(path, value.encode())
    except OSError:
        return False
    done.append((path, former))
    return True


def take_back(done: list[tuple[str, str]]) -> None:
    """Write the former values, the last one first; some can be written only when others are back."""
    for _ in range(2):
        for row in [row for row in reversed(done) if is_taken(row, [])]:
            done.remove(row)


def former_value(path: str, value: str) -> str:
    """What to write into a file for what is there now; of a file with a line for each device, the one of `value`'s."""
    now, device = read(path).strip(), value.partition(" ")[0]
    if value == device:
        return now.partition("\n")[0].removeprefix("oom_kill_disable ")
    lines = [line for line in now.splitlines() if line.partition(" ")[0] == device]
    if lines or ":" not in device:
        return lines[0] if lines else now
    return f"{device} {NO_LIMIT.get(path.rpartition('/')[2], '0')}"


def warn_of_ignored(record: Record, memory: Mapping[str, Any], warn: Callable[[str], None]) -> None:
    """Tell of a limit of the kernel's own memory: in newer kernels its file takes any value and does nothing."""
    limit, group = memory.get("kernel") or 0, dict(record.legacy).get("memory")
    if limit <= 0 or not group or records.GUEST in record.marks:
        return
    if int(files.read(f"{group}/memory.kmem.limit_in_bytes")) > limit:
        warn("linux.resources.memory.kernel: not enforced: this kernel has no limit of its own memory")
