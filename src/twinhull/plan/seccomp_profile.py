"""A seccomp profile as Docker's users write it, as the section linux.seccomp of a spec. Pure.

The format is the section's, with rules that hold only for some capabilities, architectures and kernels
(`includes`, `excludes`), one `name` beside `names`, and an `archMap`.
"""

from __future__ import annotations

from twinhull import jsontext
from twinhull.errors import InvalidRequest, UnsupportedSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

ARCHITECTURE, NATIVE = "amd64", "SCMP_ARCH_X86_64"
COPIED = ("defaultAction", "defaultErrnoRet")
COPIED_RULE = ("action", "errnoRet", "args")


def read(text: str) -> dict[str, Any]:
    """Return the profile in a JSON text.

    Raises:
        InvalidRequest: it is none.
    """
    try:
        profile = jsontext.loads(text)
    except ValueError as error:
        raise InvalidRequest(f"the seccomp profile is not JSON: {error}") from None
    if not isinstance(profile, dict) or "defaultAction" not in profile:
        raise InvalidRequest(
            "the seccomp profile has no defaultAction", hint="a profile as Docker's are: a JSON object"
        )
    return profile


def section(profile: Mapping[str, Any], capabilities: Collection[str], kernel: str) -> dict[str, Any]:
    """Return the section for a workload.

    Args:
        capabilities: its bounding set.
        kernel: the release that it runs on, "" for one that has everything.

    Raises:
        UnsupportedSpec: flags, or a listener: nobody would listen.
    """
    if profile.get("flags") or profile.get("listenerPath"):
        raise UnsupportedSpec("a seccomp profile with flags or a listener is not supported by run")
    found = {key: profile[key] for key in COPIED if key in profile}
    mapped = [
        name
        for row in profile.get("archMap") or ()
        if row.get("architecture") == NATIVE
        for name in (NATIVE, *(row.get("subArchitectures") or ()))
    ]
    found["architectures"] = mapped or profile.get("architectures") or []
    found["syscalls"] = [
        {"names": rule.get("names") or [rule["name"]], **{key: rule[key] for key in COPIED_RULE if rule.get(key)}}
        for rule in profile.get("syscalls") or ()
        if (rule.get("names") or rule.get("name")) and holds(rule, capabilities, kernel)
    ]
    return found


def holds(rule: Mapping[str, Any], capabilities: Collection[str], kernel: str) -> bool:
    """True if a rule is meant for this workload."""
    wanted, refused = rule.get("includes") or {}, rule.get("excludes") or {}
    return (
        all(name in capabilities for name in wanted.get("caps") or ())
        and not any(name in capabilities for name in refused.get("caps") or ())
        and ARCHITECTURE in (wanted.get("arches") or (ARCHITECTURE,))
        and ARCHITECTURE not in (refused.get("arches") or ())
        and is_since(wanted.get("minKernel") or "", kernel)
        and not (refused.get("minKernel") and is_since(refused["minKernel"], kernel))
    )


def is_since(least: str, kernel: str) -> bool:
    """True if a kernel's release ("6.1.0-13-amd64") is `least` ("4.8") or later."""
    return not least or not kernel or version(kernel) >= version(least)


def version(release: str) -> tuple[int, int]:
    """Major and minor number."""
    major, _, rest = release.partition(".")
    minor = rest.partition(".")[0].partition("-")[0]
    return (int(major), int(minor or 0)) if major.isdecimal() and (minor or "0").isdecimal() else (0, 0)
