"""The files that a compose file includes: an application of several files as one list of services. Pure.

Promise: paths of an included file are relative to its own project directory, its variables are its own, and a service
that two files define is an error, as the Compose specification says (include).
"""

from __future__ import annotations

import posixpath

from twinhull.advice.compose import MAX_EXTENDS, merged, services
from twinhull.advice.interpolation import Malformed
from twinhull.advice.values import mapping, sequence, text
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from twinhull.advice.compose import Service
    from twinhull.advice.values import Path, Tree

    # Reads a file with the variables of its project directory, or of these files: (path, directory, files).
    Load = Callable[[str, str, tuple[str, ...]], Tree]


class Included(NamedTuple):
    """One entry: files that are merged, the directory of their project, and where their variables are."""

    files: tuple[str, ...]
    directory: str
    variables: tuple[str, ...]


def application(
    document: Tree, directory: str, load: Load, project: str, variables: tuple[str, ...] = (), depth: int = 0
) -> list[Service]:
    """Every service of a file, then those of the files that it includes.

    Args:
        document: the file with its variables replaced.
        directory: of the file's project.
        project: the name of the whole application.
        variables: files that its variables come from; () for the usual one.

    Raises:
        Malformed: a file is not what the specification says, or two define the same service.
    """
    path: Path = ("include",)
    entries = sequence(document.get("include") or [], path)
    own = document.get("services")
    found: list[Service] = []
    if own or not entries:
        found += services(document, directory, lambda other: load(other, directory, variables), project)
    if depth > MAX_EXTENDS:
        raise Malformed(path, "it includes itself, or too many others")
    for number, value in enumerate(entries):
        entry = entry_of(value, directory, (*path, number))
        names = {service.name for service in found}
        for service in of_entry(entry, load, project, depth):
            if service.name in names:
                raise Malformed((*path, number), f"the service {service.name} of {entry.files[0]} is defined twice")
            found.append(service)
    return found


def of_entry(entry: Included, load: Load, project: str, depth: int) -> list[Service]:
    """The services of one entry, each with the file that it comes from."""
    first = entry.files[0]
    try:
        whole: Any = {}
        for file in entry.files:
            whole = merged(whole, load(file, entry.directory, entry.variables))
        found = application(whole, entry.directory, load, project, entry.variables, depth + 1)
    except Malformed as error:
        raise error.of(first) from None
    return [service if service.file else service._replace(file=first) for service in found]


def entry_of(value: Any, directory: str, path: Path) -> Included:
    """One entry in full: a path, or a mapping with path, project_directory and env_file."""
    if not isinstance(value, dict):
        value = {"path": value}
    entry = mapping(value, path, "a path or a mapping")
    files = listed(entry.get("path"), directory, (*path, "path"))
    project = entry.get("project_directory")
    own = (
        posixpath.join(directory, text(project, (*path, "project_directory")))
        if project
        else posixpath.dirname(files[0])
    )
    return Included(files, own, listed(entry.get("env_file", []), directory, (*path, "env_file"), least=0))


def listed(value: Any, directory: str, path: Path, least: int = 1) -> tuple[str, ...]:
    """One path or several, absolute; what is fetched from elsewhere is refused, for nothing here would fetch it.

    Raises:
        Malformed: none, or one of a repository.
    """
    values = [text(entry, path) for entry in (value if isinstance(value, list) else [value])]
    if len(values) < least or not all(values):
        raise Malformed(path, "include without a path")
    if remote := next((entry for entry in values if "://" in entry or entry.startswith("git@")), ""):
        raise Malformed(path, f"include of {remote}: only files that are here are read")
    return tuple(posixpath.normpath(posixpath.join(directory, entry)) for entry in values)
