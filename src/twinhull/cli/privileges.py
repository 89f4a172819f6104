"""--security-opt and what goes with it: from words to the fields of a request."""

from __future__ import annotations

from twinhull.errors import InvalidRequest
from twinhull.oci.privileges import full
from twinhull.plan import seccomp_profile
from twinhull.plan.seccomp import UNCONFINED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from twinhull.cli.parser import Arguments

HINT = "no-new-privileges, seccomp=unconfined, seccomp=FILE or systempaths=unconfined"
MAX_PROFILE_BYTES = 1 << 20
FREE = ("apparmor=unconfined", "label=disable", "label=type:unconfined_t")  # what every workload is in any case


def fields(arguments: Arguments) -> dict[str, Any]:
    """The fields of a request that these flags fill.

    Raises:
        InvalidRequest: a capability or an option that there is not, a profile that cannot be read.
    """
    full(arguments.cap_add, "--cap-add")
    full(arguments.cap_drop, "--cap-drop")
    found: dict[str, Any] = {
        "cap_add": tuple(arguments.cap_add),
        "cap_drop": tuple(arguments.cap_drop),
        "privileged": arguments.privileged,
    }
    for option in arguments.security_opt:
        found.update(option_fields(option))
    return found


def option_fields(option: str) -> dict[str, Any]:
    """The field of one --security-opt; an old form has a colon for the first "="."""
    name, equals, value = option.partition("=")
    if not equals:
        name, _, value = option.partition(":")
    if name == "no-new-privileges" and value in ("", "true", "false"):
        return {"no_new_privileges": value != "false"}
    if name == "seccomp" and value:
        return {"seccomp": profile_text(value)}
    if name == "systempaths" and value == "unconfined":
        return {"unmasked": True}
    if f"{name}={value}" in FREE:
        return {}
    if name in ("apparmor", "label"):
        raise InvalidRequest(
            f"--security-opt {option}: no workload here gets an AppArmor profile or a label", hint=HINT
        )
    raise InvalidRequest(f"--security-opt {option}: there is no such option", hint=HINT)


def profile_text(value: str) -> str:
    """ "unconfined", "" for the default, or the text of a profile.

    Raises:
        InvalidRequest: a file that cannot be read, or is no profile.
    """
    if value in (UNCONFINED, "builtin"):
        return value.replace("builtin", "")
    try:
        with open(value, encoding="utf-8") as file:
            text = file.read(MAX_PROFILE_BYTES)
    except OSError as error:
        raise InvalidRequest(f"--security-opt seccomp={value}: {error.strerror}", hint=HINT) from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"--security-opt seccomp={value}: not UTF-8") from None
    try:
        seccomp_profile.read(text)
    except InvalidRequest as error:
        raise InvalidRequest(f"--security-opt seccomp={value}: {error.message}", hint=error.hint) from None
    return text
