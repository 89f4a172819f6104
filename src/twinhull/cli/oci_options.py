"""Options as the OCI runtimes take them: --name VALUE, --name=VALUE, with one dash too. No import costs a start."""

from __future__ import annotations

from twinhull.errors import InvalidRequest
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# name -> "flag", "value" or "list"; a name after a comma is another of the same option
Table = dict[str, str]


def table(*, flags: str = "", values: str = "", lists: str = "") -> Table:
    """Return a table of options; "bundle,b" is one with two names."""
    kinds = (("flag", flags), ("value", values), ("list", lists))
    return {
        names: kind for kind, listed in kinds for names in [*listed.split(), *(["help,h"] if kind == "flag" else [])]
    }


GLOBAL = table(
    flags="debug systemd-cgroup version,v",
    values="root log log-format log-level rootless cgroup-manager criu isolation",
)
HANDED = "console-socket pidfd-socket pid-file preserve-fds"  # to the process, or to the caller
VERBS: dict[str, Table] = {
    "create": table(flags="no-pivot no-new-keyring", values=f"bundle,b config,f {HANDED}"),
    "run": table(
        flags="no-pivot no-new-keyring no-subreaper detach,d keep",
        values=f"bundle,b config,f {HANDED}",
    ),
    "start": table(),
    "state": table(),
    "kill": table(flags="all,a"),
    "delete": table(flags="force,f"),
    "pause": table(),
    "resume": table(),
    "exec": table(
        flags="tty,t detach,d no-new-privs ignore-paused",
        values=f"process,p cwd user,u additional-gids,g apparmor process-label {HANDED}",
        lists="env,e cap,c cgroup",
    ),
    "checkpoint": table(
        flags="""leave-running tcp-established tcp-skip-in-flight link-remap ext-unix-sk shell-job file-locks pre-dump
        auto-dedup""",
        values="image-path work-path parent-path manage-cgroups-mode network-lock",
        lists="empty-ns",
    ),
    "restore": table(
        flags="""tcp-established ext-unix-sk shell-job file-locks auto-dedup detach,d no-pivot no-subreaper
        keep""",
        values="""bundle,b config,f console-socket pid-file image-path work-path manage-cgroups-mode lsm-profile
        lsm-mount-context network-lock""",
        lists="empty-ns",
    ),
    "ps": table(values="format,f"),
    "list": table(flags="quiet,q", values="format,f"),
    "events": table(flags="stats", values="interval"),
    "features": table(),
    "spec": table(flags="rootless", values="bundle,b"),
    "update": table(
        values="""resources,r blkio-weight cpu-period cpu-quota cpu-burst cpu-rt-period cpu-rt-runtime cpu-share
        cpuset-cpus cpuset-mems cpu-idle memory memory-reservation memory-swap kernel-memory kernel-memory-tcp
        pids-limit""",
    ),
}
WITH_COMMAND = ("", "exec", "ps", "kill")  # the words that follow are another's options, a command or a signal
OPTIONAL_VALUES = {"rootless": "true"}  # --rootless, and --rootless=VALUE


class Options(NamedTuple):
    """What was given."""

    values: dict[str, list[str]] = {}  # noqa: RUF012 (never changed: parse makes its own)

    def value(self, name: str) -> str:
        """The last value of an option, "" if it was not given."""
        return self.values.get(name, [""])[-1]

    def all(self, name: str) -> list[str]:
        """Every value of an option."""
        return self.values.get(name, [])

    def flag(self, name: str) -> bool:
        """True if a flag was given, and not as =false."""
        return self.values.get(name, ["false"])[-1] not in ("false", "0")


def verb_options(verb: str) -> Table:
    """The options of a verb."""
    return VERBS[verb]


def parse(verb: str, options: Mapping[str, str], words: list[str]) -> tuple[Options, list[str]]:
    """Return the options and the other words; where a command may follow, the first word without a dash ends them.

    Raises:
        InvalidRequest: an unknown option, or one without its value.
    """
    kinds = {alias: (names.partition(",")[0], kind) for names, kind in options.items() for alias in names.split(",")}
    found: dict[str, list[str]] = {}
    rest: list[str] = []
    at = 0
    while at < len(words) and (verb not in WITH_COMMAND or is_option(words[at])):
        if words[at] == "--":
            return Options(found), [*rest, *words[at + 1 :]]
        if not is_option(words[at]):
            rest.append(words[at])
            at += 1
            continue
        alias, equals, value = words[at].lstrip("-").partition("=")
        at += 1
        if alias not in kinds:
            raise InvalidRequest(f"flag provided but not defined: -{alias}{f' (of {verb})' if verb else ''}")
        name, kind = kinds[alias]
        if kind == "flag":
            value = value if equals else "true"
        elif not equals and name in OPTIONAL_VALUES and not takes(words[at : at + 1]):
            value = OPTIONAL_VALUES[name]
        elif not equals:
            if at == len(words):
                raise InvalidRequest(f"flag needs an argument: -{alias}")
            value = words[at]
            at += 1
        found.setdefault(name, []).append(value)
    return Options(found), [*rest, *words[at:]]


def is_option(word: str) -> bool:
    """True unless it stands for itself."""
    return word.startswith("-") and word != "-"


def takes(words: list[str]) -> bool:
    """True if the next word is the value of --rootless."""
    return words[:1] in (["true"], ["false"], ["auto"])


def usage(verb: str = "") -> str:
    """What there is, on a few lines."""
    if verb:
        return f"usage: twinhull-oci [GLOBAL] {verb} {shown(VERBS[verb])}"
    return "\n".join(
        [
            f"usage: twinhull-oci {shown(GLOBAL)} COMMAND [OPTION…] [ID] …",
            f"commands: {' '.join(sorted(VERBS))}",
        ]
    )


def shown(options: Table) -> str:
    """A table as usage shows it."""
    return " ".join(
        f"[--{names.partition(',')[0]}{'' if kind == 'flag' else ' VALUE'}]" for names, kind in sorted(options.items())
    )
