"""What a command of a user without root does before its work: it enters his namespaces."""

from __future__ import annotations

from twinhull.errors import HostUnfit, UnsupportedSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.config import Config

# What tells of this machine, and says itself what it cannot do without root.
STATELESS = {"advise", "compare", "doctor", "plan", "prove", "version"}
ROOT_ONLY = ("machine", "vm kernel build")


def prepare(verb: str, config: Config) -> None:
    """Enter, unless the verb needs nothing of what is there.

    Raises:
        HostUnfit: something is missing; the hint is the command that repairs it.
        UnsupportedSpec: it needs root.
    """
    if verb.split()[0] in STATELESS:
        return
    if verb.startswith(ROOT_ONLY):
        raise UnsupportedSpec(f"{verb} without root is not supported", hint=f"sudo twinhull {verb} …")
    from twinhull.host import rootless
    from twinhull.runtime.container import launcher_path

    try:
        rootless.enter(config, launcher_path(config.launcher))
    except HostUnfit as error:
        hint = f"{error.hint} (without it, as far as they say: {', '.join(sorted(STATELESS))})"
        raise HostUnfit(error.message, hint=hint) from error
