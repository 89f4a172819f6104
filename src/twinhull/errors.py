"""Every error twinhull raises on purpose, and what each front end does with it.

TwinhullError                  exit  HTTP
├── InvalidRequest              125   400   the caller asked for something malformed
│   └── UnsupportedSpec         125   400   a valid OCI field this host or isolation cannot honour
├── NotFound                    125   404
├── Conflict                    125   409   name in use, wrong state for the verb, port taken
├── HostUnfit                   125   500   no root, no overlayfs, a tool missing, kernel too old
│   └── NoWall                  125   500   code that is not trusted, and nothing here that keeps it in
├── RegistryError               125   500   the registry, the transfer or the content of an image
├── LaunchError                 125   500   the launcher refused an op; carries op, target and errno
│   ├── CommandNotExecutable    126   400
│   └── CommandNotFound         127   400
├── SupervisorLost              125   500   the shim vanished in the middle of a conversation
└── GuestError                  125   500   the guest did not come up, or its agent left the protocol
    └── TemplateFailed          125   500   a saved guest did not start; a boot still may
        └── ImprintFailed       125   500   a saved process did not go on; its template still may

A workload's own exit status is a value (ExitStatus), never an exception.
"""

from __future__ import annotations

import os

MAKE_ROOM = "make room on the file system of twinhull's state (df shows it), then try again"


WITHOUT_ROOT = "the command line does it in a user's namespaces; elsewhere run it with sudo"


class TwinhullError(Exception):
    """Base of all deliberate errors. Anything else that escapes is a bug.

    `message` says what happened, to which object and why; `hint` what the user can do about it.
    """

    code = "internal"
    exit_code = 125
    http_status = 500

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InvalidRequest(TwinhullError):
    """The caller asked for something malformed."""

    code = "invalid_request"
    http_status = 400


class UnsupportedSpec(InvalidRequest):
    """A valid OCI field which this host, or this isolation, cannot honour."""

    code = "unsupported_spec"


class NotFound(TwinhullError):
    """No such image, workload, network or template."""

    code = "not_found"
    http_status = 404


class Conflict(TwinhullError):
    """The object exists, or is in a state in which the verb makes no sense."""

    code = "conflict"
    http_status = 409


class HostUnfit(TwinhullError):
    """This machine lacks something; the hint is the command that repairs it."""

    code = "host_unfit"


class NoWall(HostUnfit):
    """Code that is not trusted was to run, and nothing here is a wall for it that somebody promises."""

    code = "no_wall"


class RegistryError(TwinhullError):
    """An image could not be fetched, verified, unpacked or sent."""

    code = "registry"


class LaunchError(TwinhullError):
    """The launcher stopped at one op of the plan; the host is as it was before it ran."""

    code = "launch_failed"

    def __init__(self, op: str, target: str, errno: int, *, hint: str = "") -> None:
        super().__init__(f"{op} {target}: {os.strerror(errno)}", hint=hint)
        self.op = op
        self.target = target
        self.errno = errno


class CommandNotExecutable(LaunchError):
    """The program is there but cannot be run. Docker calls this exit status 126."""

    code = "command_not_executable"
    exit_code = 126
    http_status = 400


class CommandNotFound(LaunchError):
    """The image has no such program. Docker calls this exit status 127."""

    code = "command_not_found"
    exit_code = 127
    http_status = 400

    def __init__(self, op: str, target: str, errno: int, *, hint: str = "") -> None:
        super().__init__(op, target, errno, hint=hint or "the image has no such program, or not for this platform")
        where = "no such file or directory" if "/" in target else "executable file not found in $PATH"
        self.message = f"{op} {target}: {where}"


class SupervisorLost(TwinhullError):
    """The workload's supervisor went away without a word."""

    code = "supervisor_lost"


class GuestError(TwinhullError):
    """The guest did not come up, or its agent answered out of protocol."""

    code = "guest_failed"


class TemplateFailed(GuestError):
    """A saved guest did not start, and nothing is left of it; a boot still may.

    Attributes:
        once_more: the same start is another one next time.
    """

    code = "template_failed"
    once_more = False


class ImprintFailed(TemplateFailed):
    """A saved process did not go on, and is forgotten; the template that it was made from still may."""

    once_more = True
