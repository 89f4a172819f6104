"""What the kernel refused, in the words of the caller's config.json."""

from __future__ import annotations

import os
from errno import EACCES, EBUSY, ECANCELED, ELOOP, ETIMEDOUT

from twinhull.errors import HostUnfit, InvalidRequest, LaunchError, TwinhullError
from twinhull.plan.fields import field_of, hook_words
from twinhull.plan.namespaces import KINDS
from twinhull.scopes import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from twinhull.plan.bundle_cgroups import Cgroup

NS_GET_NSTYPE = 0xB703  # ioctl_ns(2)


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
            if error.op == "hook" and error.errno == ETIMEDOUT and (timeout := hook_timeout(field, spec)):
                told = f"{error.target} did not end within {timeout} s"
            elif error.op == "time-offsets":
                told = os.strerror(error.errno)
            if error.op in ("join-namespace", "namespaces") and (wrong := wrong_namespace(spec)):
                field, told = wrong
            error.message = f"{field}: {hook_words(field) if error.op == 'hook' else ''}{told}"
        if error.errno == ELOOP and field.startswith("mounts["):
            error.message += f" ({error.target} must be mounted on ordinary directory, not on a link)"
        raise


def wrong_namespace(spec: Mapping[str, Any]) -> tuple[str, str] | None:
    """The field of the first path that is no namespace of its type, and what it is instead."""
    from fcntl import ioctl

    for index, row in enumerate((spec.get("linux") or {}).get("namespaces") or ()):
        if not (path := row.get("path")):
            continue
        field = f"linux.namespaces[{index}].path"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            return field, f"{path}: {error.strerror}"
        try:
            kind = ioctl(fd, NS_GET_NSTYPE)
        except OSError:
            return field, f"{path} is no namespace"
        finally:
            os.close(fd)
        if kind != KINDS[row["type"]]:
            return field, f"{path} is no {row['type']} namespace"
    return None


def hook_timeout(field: str, spec: Mapping[str, Any]) -> int:
    """The seconds that the hook in a field has; 0 if the field is not one hook's."""
    kind, _, index = field.removeprefix("hooks.").rstrip("]").partition("[")
    return int(spec["hooks"][kind][int(index)].get("timeout") or 0) if index else 0


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
