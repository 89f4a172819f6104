"""linux.seccomp of a container: the filter, and who listens to it."""

from __future__ import annotations

from twinhull import jsontext
from twinhull.runtime.oci.conversation import hand_over
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Filter(NamedTuple):
    """A compiled filter, the flags of seccomp(2) it is loaded with, and the socket that its listener goes to."""

    program: bytes
    flags: int
    listener: str
    metadata: str


def container_filter(root: str, section: Mapping[str, Any] | None) -> Filter:
    """Return the filter of linux.seccomp; without one, nothing.

    Raises:
        InvalidRequest: a value that cannot be; the message names the field.
    """
    if not section:
        return Filter(b"", 0, "", "")
    from twinhull.host.seccomp import section_filter
    from twinhull.plan import filters

    profile = filters.parse(section)
    text = jsontext.dumps({key: value for key, value in section.items() if not key.startswith("listener")})
    program = section_filter(f"{root}/.seccomp", text, profile)
    return Filter(program, profile.flags, section.get("listenerPath") or "", section.get("listenerMetadata") or "")


def tell_listener(seccomp: Filter, pid: int, listener: int, state: Mapping[str, object]) -> None:
    """Send a process's listener, with the container process state of runtime-spec; `state` is the container's."""
    message = {
        "ociVersion": state["ociVersion"],
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": seccomp.metadata,
        "state": state,
    }
    hand_over(seccomp.listener, listener, jsontext.dumps(message).encode(), "linux.seccomp.listenerPath")
