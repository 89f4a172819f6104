"""What the kernel refused, in the words of the caller's config.json."""

from __future__ import annotations

import os
from errno import EACCES, EBUSY, ECANCELED, ELOOP

from twinhull.errors import HostUnfit, InvalidRequest, LaunchError, TwinhullError
from twinhull.plan.fields import field_of, hook_words
from twinhull.scopes import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from twinhull.plan.bundle_cgroups import Cgroup


@contextmanager
def fields_named(spec: Mapping[str, Any], *, of: tuple[str, ...] = ("",)) -> Iterator[None]:
    """Let the error of an op begin with the field that it comes from, if that begins with one of these words."""
    try:
        yield
    except LaunchError as error:
        if error.op == "own-users":
            from twinhull.runtime.oci.rootless import refused

            raise refused(error) from None
        if (field := field_of(error.op, error.target, spec)) and field.startswith(of):
            told = error.target if error.op == "hook" and error.errno == ECANCELED else error.message
            if error.op in ("cgroup1", "cgroup2") and error.errno == EBUSY:
                told = f"container's cgroup unexpectedly frozen: {error.message}"
            error.message = f"{field}: {hook_words(field) if error.op == 'hook' else ''}{told}"
        if error.errno == ELOOP and field.startswith("mounts["):
            error.message += f" ({error.target} must be mounted on ordinary directory, not on a link)"
        raise


@contextmanager
def starvation_named(cgroup: Cgroup) -> Iterator[None]:
    """Say that a new group's limit of memory was too little for what makes a container, if the kernel killed that."""
    try:
        yield
    except TwinhullError:
        from twinhull.runtime.oci.groups import numbers

        legacy = dict(cgroup.legacy).get("memory", "")
        file = f"{legacy}/memory.oom_control" if legacy else f"{cgroup.unified}/memory.events"
        if not numbers(file).get("oom_kill"):
            raise
        raise InvalidRequest(
            "linux.resources.memory.limit: too little: the process was killed for want of memory before it started"
        ) from None


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
