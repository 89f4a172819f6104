"""The guest's kernel: found among those kept under <state>/kernels, made there the first time.

Promise: finding one costs a directory listing; what makes one is imported only to make one.
"""

from __future__ import annotations

import os
from itertools import groupby
from stat import S_ISDIR, S_ISREG

from twinhull import jsontext
from twinhull.config import Config
from twinhull.errors import HostUnfit
from twinhull.host import facts, files
from twinhull.host.stamp import stamp
from twinhull.runtime.hypervisor import own
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from twinhull.plan.qemu import Architecture

    Progress = Callable[[str], None]

META = "kernel.json"
# Names of kernels that are no choice of ours until somebody makes it one.
CONFIGURED, BUILT = "configured-", "built-"
WITHOUT_ACPI = "without-acpi"  # a feature: it boots on a board that only its command line describes
CHOSEN = "chosen"  # in <state>/kernels: the name of the kernel that is used instead of the distribution's


class Kernel(NamedTuple):
    """A kernel that guests can boot.

    Attributes:
        directory: where it is kept; `vmlinux` and `modules/` are in it.
        origin: configuration, package or host, and what exactly.
        modules: file names in load order.
        digest: of the kernel and its modules.
    """

    directory: str
    release: str
    origin: str
    modules: tuple[str, ...]
    features: tuple[str, ...]
    digest: str

    @property
    def image(self) -> str:
        """The uncompressed kernel: for x86-64 an ELF file, for a PVH boot."""
        return f"{self.directory}/vmlinux"

    @property
    def module_paths(self) -> tuple[str, ...]:
        """The modules' files, in load order."""
        return tuple(f"{self.directory}/modules/{name}" for name in self.modules)


def has_acpi(kernel: Kernel) -> bool:
    """True if the kernel finds its devices by ACPI's tables."""
    return WITHOUT_ACPI not in kernel.features


def find_kernel(
    config: Config, progress: Progress = lambda _: None, architecture: Architecture | None = None
) -> Kernel:
    """Return the kernel to boot guests with: configured, chosen, cached, the distribution's, or the host's own.

    Args:
        architecture: of a guest whose processor is not this machine's: there it is cached or the distribution's.

    Raises:
        HostUnfit: there is none, or the configured one cannot be used.
    """
    if architecture and architecture != facts.architecture():
        return foreign_kernel(f"{config.state}/kernels-{architecture}", architecture, progress)
    if found := present(config):
        return found
    root = f"{config.state}/kernels"
    from twinhull.runtime import kernel_making

    if config.vm_kernel:
        return kernel_making.from_configuration(root, configured_name(config.vm_kernel), config.vm_kernel, progress)
    return kernel_making.from_distribution_or_host(root, own(), progress)


def foreign_kernel(root: str, architecture: Architecture, progress: Progress) -> Kernel:
    """Return the kernel of guests with another processor."""
    if found := cached(root):
        return found
    from twinhull.runtime import kernel_making

    return kernel_making.from_distribution_or_host(root, architecture, progress)


def present(config: Config) -> Kernel | None:
    """Return the kernel to boot guests with if it is here already."""
    root = f"{config.state}/kernels"
    if config.vm_kernel:
        return cached(root, configured_name(config.vm_kernel))
    return chosen(root) or cached(root)


def kept(config: Config, release: str, architecture: Architecture | None = None) -> Kernel | None:
    """Return the kernel that a guest runs, of those that are here: the one with this release; None if it is gone.

    Args:
        release: "" where nobody knows: then it is the one that guests are booted with.
        architecture: of the guest's processor; None is this machine's.
    """
    root = f"{config.state}/kernels{f'-{architecture}' if architecture else ''}"
    first = cached(root) if architecture else present(config)
    if first and release in ("", first.release):
        return first
    try:
        others = [load(f"{root}/{name}") for name in sorted(os.listdir(root)) if not name.startswith(".")]
    except FileNotFoundError:
        return None
    return next((other for other in others if other and other.release == release), None)


def chosen(root: str) -> Kernel | None:
    """Return the kernel that was chosen, None where none was, or it is gone."""
    try:
        name = files.read(f"{root}/{CHOSEN}").decode()
    except FileNotFoundError:
        return None
    return load(f"{root}/{name}")


def choose(root: str, name: str) -> None:
    """Boot guests with this kernel from now on; "" is the distribution's."""
    if name:
        files.publish(f"{root}/{CHOSEN}", name.encode())
    else:
        files.remove_file(f"{root}/{CHOSEN}")


def configured_name(path: str) -> str:
    """Name a configured kernel by the state of its file.

    Raises:
        HostUnfit: it is not there, or no file.
    """
    try:
        info = os.stat(path)
    except OSError as error:
        raise HostUnfit(f"vm_kernel {path}: {error.strerror}", hint="mend vm_kernel in the configuration") from None
    if not S_ISREG(info.st_mode):
        what = "a directory" if S_ISDIR(info.st_mode) else "no file"
        raise HostUnfit(
            f"vm_kernel {path} is {what}", hint="set vm_kernel in the configuration to a vmlinux or bzImage"
        )
    return f"{CONFIGURED}{stamp(path, info.st_size, info.st_mtime_ns)}"


def cached(root: str, prefix: str = "") -> Kernel | None:
    """Return the newest kernel that is kept under `root`, neither of a configuration nor built here, or None."""
    try:
        names = sorted(os.listdir(root), key=version_key, reverse=True)
    except FileNotFoundError:
        return None
    for name in names:
        wanted = name.startswith(prefix) if prefix else not name.startswith((CONFIGURED, BUILT))
        if wanted and not name.startswith(".") and (kernel := load(f"{root}/{name}")):
            return kernel
    return None


def version_key(name: str) -> list[tuple[int, str]]:
    """Sort 6.1.0-9 before 6.1.0-56."""
    parts = ["".join(part) for _, part in groupby(f" {name}", str.isdecimal)]  # the first is text
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]


def load(directory: str) -> Kernel | None:
    """Return the kernel of a directory, or None where there is none of ours."""
    try:
        value = jsontext.loads(files.read(f"{directory}/{META}"))
        return Kernel(
            directory,
            value["release"],
            value["origin"],
            tuple(value["modules"]),
            tuple(value["features"]),
            value["digest"],
        )
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None
