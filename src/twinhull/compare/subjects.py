"""Which subjects take part: those that were asked for, each as something that runs, or a gap with its reason."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack

from twinhull.compare import references
from twinhull.compare.findings import Description
from twinhull.compare.subject import CommandLine, Subject
from twinhull.config import Config
from twinhull.errors import InvalidRequest
from twinhull.host import files
from twinhull.scopes import contextmanager
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

VMS = ("vm", "vm_template", "vm_cold")
NAMES = ("container", *VMS, "machine", *references.NAMES)
MEMORY_FLAGS = ("--memory", "192m")  # with what a guest's kernel takes, the default size of a guest
LEFT_OUT = "left out by --subjects"
NO_MACHINE = "one start takes a minute or so: measured with --full, or where --subjects names it"


class Subjects(NamedTuple):
    """What can be measured, and of each that was asked for what it is, or why it is not there."""

    living: tuple[Subject, ...]
    described: tuple[Description, ...]

    def gaps(self) -> dict[str, str]:
        """Name -> reason, of each that is not there."""
        return {found.name: found.gap for found in self.described if found.gap}


def chosen(text: str) -> tuple[str, ...]:
    """Read `--subjects`: names with commas, all where it is empty. Other kinds of its start bring the VM along.

    Raises:
        InvalidRequest: a name that is none, or neither side of the comparison among them.
    """
    names = [name.strip() for name in text.split(",") if name.strip()] or list(NAMES)
    for name in names:
        if name not in NAMES:
            raise InvalidRequest(f"no subject {name!r}", hint=f"--subjects {','.join(NAMES)}, or some of them")
    wanted = {*names, *(("vm",) if set(VMS) & set(names) else ())}
    if not {"container", "vm"} & wanted:
        raise InvalidRequest("nothing to compare with", hint="--subjects needs container or vm among the others")
    return tuple(name for name in NAMES if name in wanted)


@contextmanager
def opened(config: Config, image: str, wanted: Sequence[str], place: str, *, machine: bool) -> Iterator[Subjects]:
    """Give the subjects; what was made for them is gone after the block.

    Args:
        image: is here already.
        place: a directory of the caller's, for their files.
        machine: a full guest OS may take its time.
    """
    ours = [subject for subject in our_own(config, place) if subject.name in wanted]
    with ExitStack() as stack:
        found, gaps = stack.enter_context(references.opened(config, image, wanted))
        gaps = gaps if machine else {**gaps, "machine": NO_MACHINE}
        living: tuple[Subject, ...] = (*ours, *found)
        titles = {subject.name: subject.title for subject in living}
        yield Subjects(living, tuple(describe(name, titles.get(name, name), gaps) for name in wanted))


def describe(name: str, title: str, gaps: dict[str, str]) -> Description:
    """What a subject is called and counts as."""
    kind = "reference" if name in references.NAMES else "vm" if name in VMS else name
    return Description(name, title, kind, gaps.get(name, ""))


def our_own(config: Config, place: str) -> tuple[CommandLine, ...]:
    """The container, and the VM three times: as it starts usually, from its template alone, and booting."""
    prefix = f"compare-{os.getpid()}"
    kinds = {
        "container": config,
        "vm": config,
        "vm_template": config._replace(vm_spare=False),
        "vm_cold": config._replace(vm_template=False),
    }
    found = []
    for name, settings in kinds.items():
        side, path = ("container", "") if name == "container" else ("vm", f"{place}/{name}.toml")
        if path:
            files.write(path, toml(settings).encode())
        flags = ("--isolation", side, *MEMORY_FLAGS)
        found.append(CommandLine(name, config, flags, settings=path, prefix=prefix, place=place))
    return tuple(found)


def toml(config: Config) -> str:
    """The configuration as the file that would set it."""
    values = {key: list(value) if isinstance(value, tuple) else value for key, value in config._asdict().items()}
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())
