"""A root with standard measuring tools and a loader of their own: sysbench, fio, iperf3, sockperf.

Promise: the tools are the distribution's, installed ones or unpacked from its packages and never installed;
every place they run in gets the same files, and nothing of the image under comparison.
"""

from __future__ import annotations

import glob
import os
import shutil

from twinhull.errors import HostUnfit
from twinhull.host import files, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

TOOLS = ("sysbench", "fio", "iperf3", "sockperf")
PLACES = ("/usr/bin", "/usr/local/bin", "/bin")
LOADERS = ("/lib64/ld-linux-*.so.*", "/lib/ld-linux-*.so.*")
LOADER = "lib/loader"  # in the root that is given
DOWNLOAD_TIMEOUT_S = 300.0
# What the dependencies name besides libraries; no tool runs a script.
NO_LIBRARY = ("perl", "python", "installer", "-common", "-data")
DEPENDS = ("depends", "--recurse", *(f"--no-{kind}" for kind in (
    "recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")))  # fmt: skip


def obtain(state: str) -> str:
    """Return the root below `state`, made the first time: bin/, lib/ with the loader, and an empty tmp/.

    Raises:
        HostUnfit: a tool is neither installed nor can be downloaded.
    """
    root = f"{state}/tools"
    if os.path.exists(f"{root}/{LOADER}"):
        return root
    work = f"{state}/.tools.{os.getpid()}"
    files.make_directory(work)
    try:
        if all(installed("", name) for name in TOOLS):
            gather("", f"{work}/root")
        else:
            download(work, [*TOOLS, *libraries()])
            for archive in sorted(glob.glob(f"{work}/*.deb")):
                spawn.run_tool(("dpkg-deb", "-x", archive, f"{work}/tree"))
            gather(f"{work}/tree", f"{work}/root")
        os.rename(f"{work}/root", root)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return root


def installed(tree: str, name: str) -> str:
    """The path of a program below a tree; "" if it is not there."""
    return next((path for place in PLACES if os.access(path := f"{tree}{place}/{name}", os.X_OK)), "")


def libraries() -> list[str]:
    """The packages with the libraries that the tools depend on, from the package lists.

    Raises:
        HostUnfit: no apt, or no lists.
    """
    try:
        answer = spawn.run_tool(("apt-cache", *DEPENDS, *TOOLS))
    except FileNotFoundError:
        raise HostUnfit("apt-cache is not there: not Debian or Ubuntu", hint=f"install {', '.join(TOOLS)}") from None
    names = {line for line in answer.stdout.splitlines() if line.startswith("lib")}
    if not names:
        raise HostUnfit("the package lists do not name the tools", hint="apt-get update")
    return sorted(name for name in names if not any(part in name for part in NO_LIBRARY))


def download(directory: str, names: Iterable[str]) -> None:
    """Fetch packages; apt-get verifies them against the signed lists.

    Raises:
        HostUnfit: it did not.
    """
    argv = ("env", f"--chdir={directory}", "apt-get", "-q", "download", *names)
    result = spawn.run_tool(argv, timeout_s=DOWNLOAD_TIMEOUT_S)
    if result.returncode:
        reason = next((line for line in result.stderr.splitlines() if line.startswith("E:")), "apt-get failed")
        raise HostUnfit(
            f"the measuring tools cannot be downloaded: {reason}", hint=f"apt-get install {' '.join(TOOLS)}"
        )


def gather(tree: str, root: str) -> None:
    """Copy the tools, every library that their loader finds, and the loader itself.

    Raises:
        HostUnfit: a library is missing.
    """
    for name in ("bin", "lib", "tmp"):
        files.make_directory(f"{root}/{name}")
    loader = next((path for pattern in LOADERS for path in glob.glob(f"{tree}{pattern}")), "")
    if not loader:
        raise HostUnfit("the C library's loader was not found", hint=f"apt-get install {' '.join(TOOLS)}")
    search = ("--library-path", ":".join(library_directories(tree))) if tree else ()
    for tool in TOOLS:
        listed = spawn.run_tool((loader, *search, "--list", installed(tree, tool))).stdout
        for name, path in found_libraries(listed).items():
            if not path:
                raise HostUnfit(f"{tool} needs {name}, which is not there")
            shutil.copy(path, f"{root}/lib/{name}")
        shutil.copy(installed(tree, tool), f"{root}/bin/{tool}")
    shutil.copy(loader, f"{root}/{LOADER}")


def library_directories(tree: str) -> list[str]:
    """Every directory of a tree that holds shared libraries."""
    return sorted({os.path.dirname(path) for path in glob.glob(f"{tree}/**/*.so*", recursive=True)})


def found_libraries(listed: str) -> dict[str, str]:
    """Read what `ld.so --list` prints: {name: path}, the path "" where it was not found."""
    found = {}
    for line in listed.splitlines():
        name, arrow, rest = line.strip().partition(" => ")
        if arrow:
            found[os.path.basename(name)] = "" if rest.startswith("not found") else rest.rpartition(" (")[0]
    return found


def contents(root: str) -> dict[str, bytes]:
    """The files of the root, for an image; names that end with a slash are directories."""
    found = {"tmp/": b""}
    for name in ("bin", "lib"):
        found.update(
            {f"{name}/{entry}": files.read(f"{root}/{name}/{entry}") for entry in sorted(os.listdir(f"{root}/{name}"))}
        )
    return found


def command(root: str, words: Iterable[str]) -> tuple[str, ...]:
    """Run a tool by the root's own loader. `root` is "" inside."""
    tool, *rest = words
    return (f"{root}/{LOADER}", "--library-path", f"{root}/lib", f"{root}/bin/{tool}", *rest)
