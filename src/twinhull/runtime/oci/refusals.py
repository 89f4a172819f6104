"""What the kernel refused, in the words of the caller's config.json."""

from __future__ import annotations

import os
from errno import EACCES, ELOOP

from twinhull.errors import HostUnfit, LaunchError
from twinhull.plan.fields import field_of
from twinhull.scopes import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any


@contextmanager
def fields_named(spec: Mapping[str, Any]) -> Iterator[None]:
    """Let the error of an op begin with the field that it comes from."""
    try:
        yield
    except LaunchError as error:
        if error.op == "own-users":
            from twinhull.runtime.oci.rootless import refused

            raise refused(error) from None
        if field := field_of(error.op, error.target, spec):
            error.message = f"{field}: {error.message}"
        if error.errno == ELOOP and field.startswith("mounts["):
            error.message += f" ({error.target} must be mounted on ordinary directory, not on a link)"
        raise


@contextmanager
def group_named(unified: str) -> Iterator[None]:
    """Tell a user whom the kernel does not let into a group, for he calls from elsewhere, what to do."""
    try:
        yield
    except LaunchError as error:
        if os.geteuid() == 0 or error.errno != EACCES or not unified:
            raise
        raise HostUnfit(
            f"the control group {unified} cannot be entered from the one that this command runs in: call it from below "
            "the group that is delegated to you (systemd-run --user --scope)"
        ) from None
