"""Kernel configurations: a fragment of options, and which of them a final configuration lacks. Pure.

The form is that of .config (Linux, Documentation/kbuild/kconfig.rst).
"""

from __future__ import annotations

UNSET = "n"


def options(text: str) -> dict[str, str]:
    """Return the options of a configuration: name, without CONFIG_, to its value; "n" for one that is not set."""
    found = {}
    for line in text.splitlines():
        if line.startswith("CONFIG_"):
            name, _, value = line.partition("=")
            found[name.removeprefix("CONFIG_")] = value.strip()
        elif line.startswith("# CONFIG_") and line.endswith(" is not set"):
            found[line.split()[1].removeprefix("CONFIG_")] = UNSET
    return found


def missing(fragment: str, final: str) -> list[str]:
    """Return the options of a fragment that a final configuration has not, or not with that value.

    An option that a final configuration does not name is not set: what it depends on is not there.
    """
    have = options(final)
    return [name for name, value in options(fragment).items() if have.get(name, UNSET) != value]
