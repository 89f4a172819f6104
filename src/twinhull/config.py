"""Where things are kept and what the user configured, as one frozen value made at the edge.

Promise: nothing below the command line reads the environment or a configuration file.
"""

from __future__ import annotations

import os
import time

from twinhull import jsontext
from twinhull.errors import InvalidRequest
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ROOT_STATE, ROOT_RUN = "/var/lib/twinhull", "/run/twinhull"
CONFIG_FILE = "/etc/twinhull/config.toml"
PLAIN_BEGINNINGS = frozenset('"[-0123456789tf')
BOUNDS = {  # least and most that make sense
    "log_max_bytes": (4096, 1 << 50),
    "vm_memory_bytes": (128 << 20, 1 << 50),  # with 64 MiB the distribution's kernel does not come up
    "vm_boot_timeout_s": (1, 86_400),
}
TRACE_HINT = "TWINHULL_TRACE, or `trace` in the configuration, names a file that can be written to"
MAX_PLAIN = 1e300  # beyond it lie what only JSON or only TOML calls a number


class Config(NamedTuple):
    """Everything the engine may be told. `state` survives a reboot, `run` does not."""

    state: str = ROOT_STATE
    run: str = ROOT_RUN
    launcher: str = ""  # path of the launcher binary; "" looks beside the package
    isolation: str = "container"
    default_bind: str = "0.0.0.0"
    default_registry: str = "docker.io"
    insecure_registries: tuple[str, ...] = ()
    subnet: str = "10.87.0.0/16"  # Podman has 10.88
    log_max_bytes: int = 16 << 20  # of a workload's log before it is rotated; one older file is kept
    vm_memory_bytes: int = 256 << 20
    vm_kernel: str = ""  # a vmlinux or bzImage to boot guests with; "" finds one
    vm_boot_timeout_s: float = 60.0
    vm_template: bool = True  # start guests from a saved one; false boots each of them
    vm_spare: bool = True  # without KVM, start from the saved process of a guest that has rehearsed

    trace: str = ""  # a file to which each start appends the moments of its steps; "" for none

    @property
    def database(self) -> str:
        """The SQLite file."""
        return f"{self.state}/twinhull.db"

    def instance(self, identity: str) -> str:
        """The directory of one workload."""
        return f"{self.state}/instances/{identity}"

    def mark(self, step: str, moment_ns: int = 0, note: str = "") -> None:
        """Append a step of a start to the trace, one line of `step nanoseconds [note]`; without a trace do nothing.

        Args:
            moment_ns: of CLOCK_MONOTONIC; 0 is now.

        Raises:
            InvalidRequest: the trace cannot be written.
        """
        if not self.trace:
            return
        line = f"{step} {moment_ns or time.monotonic_ns()} {note}".rstrip() + "\n"
        try:
            fd = os.open(self.trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, line.encode())
            finally:
                os.close(fd)
        except OSError as error:
            raise InvalidRequest(f"the trace {self.trace}: {error.strerror}", hint=TRACE_HINT) from None


def load(environ: dict[str, str] | None = None) -> Config:
    """Read TWINHULL_ROOT, TWINHULL_TRACE, TWINHULL_CONFIG and the file they lead to.

    Raises:
        InvalidRequest: the file is not TOML, or has a key, a type or a value that Config does not know; TWINHULL_ROOT
            is no absolute path.
    """
    env = dict(os.environ) if environ is None else environ
    config = Config(*roots(env))
    path = env.get("TWINHULL_CONFIG") or CONFIG_FILE
    if os.path.exists(path):
        config = merge(config, path)
    trace = env.get("TWINHULL_TRACE")
    return config._replace(trace=trace) if trace else config


def roots(env: dict[str, str]) -> tuple[str, str]:
    """Return (state, run): the override, the system's directories for root, XDG's otherwise."""
    if override := env.get("TWINHULL_ROOT"):
        root = os.path.abspath(override)
        if not os.path.isabs(override):  # it would be another state in each directory
            raise InvalidRequest(f"TWINHULL_ROOT {override!r} is no absolute path", hint=f"TWINHULL_ROOT={root}")
        return f"{root}/state", f"{root}/run"
    if os.geteuid() == 0:
        return ROOT_STATE, ROOT_RUN
    home, own = env.get("HOME", ""), f"/tmp/twinhull-{os.geteuid()}"
    # A user of a service has no home: what needs no state of long standing works all the same.
    state = absolute(env, "XDG_DATA_HOME") or (f"{home}/.local/share" if os.access(home, os.W_OK) else own)
    run = absolute(env, "XDG_RUNTIME_DIR") or f"{own}/run"
    return f"{state}/twinhull", f"{run}/twinhull"


def absolute(env: dict[str, str], name: str) -> str:
    """A variable's path; "" for one that is relative, which the XDG specification has us ignore."""
    path = env.get(name, "")
    return path if os.path.isabs(path) else ""


def merge(config: Config, path: str) -> Config:
    """Return `config` with the values of a TOML file."""
    try:
        with open(path, "rb") as file:
            values = parse(file.read().decode())
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{path}: {error}", hint="mend the file or unset TWINHULL_CONFIG") from error
    known = config._asdict()
    for key, value in values.items():
        if key not in known:
            raise InvalidRequest(f"{path}: no setting {key!r}", hint=f"settings: {', '.join(known)}")
        kind = type(known[key])
        if kind is tuple and isinstance(value, list):
            known[key] = tuple(value)
        elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
            known[key] = float(value)
        elif type(value) is kind:
            known[key] = value
        else:
            raise InvalidRequest(f"{path}: {key} must be of type {kind.__name__}")
        least, most = BOUNDS.get(key, (None, None))
        if least is not None and not least <= known[key] <= most:
            raise InvalidRequest(f"{path}: {key} = {value} is not between {least} and {most}", hint="mend the file")
    return Config(**known)


def restored(values: dict[str, Any]) -> Config:
    """A configuration that went through JSON, which has lists for tuples."""
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return Config(**fields)


def parse(text: str) -> dict[str, Any]:
    """Return the values of a TOML document.

    Raises:
        ValueError: it is none.
    """
    values = parse_plain(text)
    if values is None:
        import tomllib

        values = tomllib.loads(text)
    return values


def parse_plain(text: str) -> dict[str, Any] | None:
    """Return the values of a document of `key = value` lines where each value is JSON as well.

    None for any other: tomllib reads everything, but its import takes 33 ms of each start.
    """
    values: dict[str, Any] = {}
    for line in text.split("\n"):
        if not line.isprintable():
            return None
        if not line.strip(" ") or line.startswith("#"):
            continue
        key, _, shown = line.partition("=")
        key, value = key.strip(" "), plain_value(shown.strip(" "))
        bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
        if value is None or key in values or not bare:
            return None
        values[key] = value
    return values


def plain_value(text: str) -> Any:
    """Return a string, number or boolean, or a list of them, that TOML and JSON write alike; else None."""
    if text[:1] not in PLAIN_BEGINNINGS or "\\" in text or "#" in text:
        return None
    try:
        value = jsontext.loads(text)
    except ValueError:
        return None
    parts = value if isinstance(value, list) else [value]
    alike = all(isinstance(part, str | int) or (isinstance(part, float) and abs(part) < MAX_PLAIN) for part in parts)
    return value if alike else None
