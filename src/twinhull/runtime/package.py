"""The distribution's kernel package: downloaded and unpacked with its own tools, never installed.

Promise: what is given disappears with the `with` block; nothing outside it has changed. The package lists of
another architecture are fetched into a place of their own, and the host's package tools never hear of it.
"""

from __future__ import annotations

import os
import tarfile

from twinhull.errors import HostUnfit
from twinhull.host import facts, files, spawn
from twinhull.scopes import contextmanager
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twinhull.plan.qemu import Architecture

DOWNLOAD_TIMEOUT_S = 300.0
# The metapackages that name the newest kernel. The cloud flavour has no 9p, so it cannot share a volume.
METAPACKAGES = ("linux-image-{architecture}", "linux-image-generic", "linux-image-virtual")
# Kernel directories that hold what guests load; the rest of 4,000 modules is not written.
WANTED = tuple(f"kernel/{name}/" for name in ("fs", "net", "lib", "crypto", "drivers/virtio", "drivers/block"))
WANTED_EXACT = ("kernel/drivers/char/", "kernel/drivers/net/")


class Tree(NamedTuple):
    """An unpacked kernel package."""

    package: str
    release: str
    image: str
    modules: str


@contextmanager
def unpacked_kernel(root: str, architecture: Architecture, progress: Callable[[str], None]) -> Iterator[Tree]:
    """Download the newest kernel package for an architecture below `root` and give it unpacked.

    Raises:
        HostUnfit: no apt-get, no package lists, or no network.
    """
    work = f"{root}/.download.{os.getpid()}"
    files.make_directory(work)
    try:
        options = () if architecture == facts.architecture() else foreign_lists(work, architecture, progress)
        names = package_names(architecture, options)
        progress(f"Downloading guest kernel {names[0]} (once)")
        download(work, names, options)
        progress(f"Unpacking guest kernel {names[0]}")
        for archive in sorted(name for name in os.listdir(work) if name.endswith(".deb")):
            unpack(f"{work}/{archive}", f"{work}/tree")
        yield describe(names[0], f"{work}/tree")
    finally:
        files.remove_tree(work)


def foreign_lists(work: str, architecture: Architecture, progress: Callable[[str], None]) -> tuple[str, ...]:
    """Fetch the package lists of another architecture from the host's sources.

    Returns:
        The options with which apt-get and apt-cache use these lists and nothing of the host's state.
    """
    progress(f"Fetching the package lists of {architecture} (once)")
    for name in ("lists/partial", "cache/archives/partial"):
        files.make_directory(f"{work}/{name}", 0o755)
    options = (
        *("-o", f"Dir::State::lists={work}/lists", "-o", f"Dir::Cache={work}/cache"),
        *("-o", "Dir::State::status=/dev/null", "-o", "Acquire::Languages=none"),
        *("-o", f"APT::Architecture={architecture}", "-o", f"APT::Architectures::={architecture}"),
    )
    try:  # a source that has nothing for this architecture is an error of its own, and no harm
        result = spawn.run_tool(["apt-get", "-q", *options, "update"], timeout_s=DOWNLOAD_TIMEOUT_S)
    except FileNotFoundError:
        raise HostUnfit("apt-get is not there: not Debian or Ubuntu") from None
    if not any("_Packages" in name for name in os.listdir(f"{work}/lists")):
        raise HostUnfit(f"the package lists of {architecture} cannot be fetched: {first_error(result.stderr)}")
    return options


def package_names(architecture: Architecture, options: tuple[str, ...]) -> list[str]:
    """Return the kernel package, then those that hold its modules where they are packages of their own."""
    for meta in METAPACKAGES:
        argv = ["apt-cache", *options, "depends", "--important", meta.format(architecture=architecture)]
        try:
            answer = spawn.run_tool(argv)
        except FileNotFoundError:
            raise HostUnfit("apt-cache is not there: not Debian or Ubuntu") from None
        found = [line.split()[-1] for line in answer.stdout.splitlines() if "Depends: linux-image-" in line]
        if found:
            release = found[0].removeprefix("linux-image-").removeprefix("unsigned-")
            extra = [f"linux-modules-{release}", f"linux-modules-extra-{release}"]
            return [found[0], *(name for name in extra if exists(name, options))]
    raise HostUnfit(f"the package lists name no kernel for {architecture}", hint="apt-get update")


def exists(package: str, options: tuple[str, ...]) -> bool:
    """True if the package lists know this package."""
    return spawn.run_tool(["apt-cache", *options, "show", package]).returncode == 0


def first_error(text: str) -> str:
    """What apt-get says went wrong."""
    return next((line for line in text.splitlines() if line.startswith("E:")), "apt-get failed")


def download(directory: str, names: list[str], options: tuple[str, ...]) -> None:
    """Fetch packages; apt-get verifies them against the signed lists."""
    argv = ["env", f"--chdir={directory}", "apt-get", "-q", *options, "download", *names]
    result = spawn.run_tool(argv, timeout_s=DOWNLOAD_TIMEOUT_S)
    if result.returncode:
        raise HostUnfit(f"the guest kernel cannot be downloaded: {first_error(result.stderr)}", hint="apt-get update")


def unpack(archive: str, target: str) -> None:
    """Write the kernel and the modules of one package below `target`."""
    read_end, write_end = os.pipe()
    with open(read_end, "rb") as stream:
        tool = spawn.popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=write_end)
        os.close(write_end)
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for entry in tar:
                name = os.path.normpath(entry.name)
                if entry.isreg() and is_wanted(name) and (source := tar.extractfile(entry)):
                    path = f"{target}/{name.removeprefix('usr/')}"
                    files.make_directory(os.path.dirname(path))
                    files.write(path, source.read())
        stream.read()  # the padding: a tool whose pipe is cut short would fail
    _, errors = tool.communicate()
    if tool.returncode:
        raise HostUnfit(f"{archive}: {errors.decode(errors='replace').strip()}")


def is_wanted(name: str) -> bool:
    """True for a kernel image, the list of built-in modules, and modules a guest may need."""
    name = name.removeprefix("usr/")
    if ".." in name.split("/"):
        return False
    if name.startswith("boot/vmlinuz-"):
        return True
    if not name.startswith("lib/modules/"):
        return False
    inner = name.split("/", 3)[-1]
    if inner == "modules.builtin" or inner.startswith(WANTED):
        return True
    return any(inner.startswith(prefix) and "/" not in inner[len(prefix) :] for prefix in WANTED_EXACT) or (
        inner.startswith("kernel/drivers/char/hw_random/")
    )


def describe(package: str, tree: str) -> Tree:
    """Return what was unpacked."""
    image = next((name for name in sorted(os.listdir(f"{tree}/boot")) if name.startswith("vmlinuz-")), "")
    release = image.removeprefix("vmlinuz-")
    modules = f"{tree}/lib/modules/{release}"
    if not release or not os.path.isdir(modules):
        raise HostUnfit(f"{package} holds no kernel with modules")
    return Tree(package, release, f"{tree}/boot/{image}", modules)
