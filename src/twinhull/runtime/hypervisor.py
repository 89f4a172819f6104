"""The hypervisors on this host, one for each kind of processor: which QEMU, and the read-only root it is jailed in.

Promise: the root of a build, once it has its name, is whole: QEMU's binary, libraries, modules and
firmware at the paths where QEMU looks for them, and nothing else.
"""

from __future__ import annotations

import os

from twinhull.config import Config
from twinhull.errors import HostUnfit
from twinhull.host import files, spawn
from twinhull.host.facts import architecture as own_architecture
from twinhull.host.seccomp import qemu_filter
from twinhull.host.stamp import stamp
from twinhull.plan.qemu import SHARES
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from twinhull.plan.qemu import Architecture


class Emulator(NamedTuple):
    """A kind of QEMU.

    Attributes:
        package: Debian's, which brings it.
        firmware: what its boards load; the first must be there.
        modules: parts that may be files of their own.
    """

    binary: str
    package: str
    firmware: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()

    @property
    def hint(self) -> str:
        """The command that installs it."""
        return f"apt-get install {self.package}"


# Of microvm, which virtual machines are, and of q35, which machines are: bios-256k.bin.
X86_FIRMWARE = ("bios-microvm.bin", "bios-256k.bin", "qboot.rom", "kvmvapic.bin", "linuxboot_dma.bin", "pvh.bin")
EMULATORS: dict[Architecture, Emulator] = {
    "amd64": Emulator("qemu-system-x86_64", "qemu-system-x86", X86_FIRMWARE, ("accel-tcg-x86_64.so",)),
    "arm64": Emulator("qemu-system-aarch64", "qemu-system-arm"),
}
TREE_VERSION = 2


class Hypervisor(NamedTuple):
    """One build of QEMU.

    Attributes:
        binary: its path, on the host and in `root` alike.
        build: names the build: changes whenever the file does.
        root: the directory tree that becomes its root.
        seccomp: the filter that it runs under.
    """

    binary: str
    build: str
    root: str
    seccomp: bytes


def find_hypervisor(config: Config, architecture: Architecture | None = None) -> Hypervisor:
    """Return the installed QEMU with its root, which is made the first time.

    Args:
        architecture: of its guests; None is this machine's.

    Raises:
        HostUnfit: QEMU or a part of it is not installed.
    """
    binary, build = installed(architecture)
    directory = f"{config.state}/qemu/{build}"
    if not os.path.isdir(directory):
        make_root(directory, binary, emulator_of(architecture))
    return Hypervisor(binary, build, f"{directory}/root", qemu_filter(config.state))


def own() -> Architecture:
    """This machine's architecture, if guests can have it.

    Raises:
        HostUnfit: no board is known for it.
    """
    here = own_architecture()
    for known in EMULATORS:
        if here == known:
            return known
    raise HostUnfit(f"no virtual machine is described for {here}")


def emulator_of(architecture: Architecture | None) -> Emulator:
    """The kind of QEMU for guests of an architecture, None being this machine's."""
    return EMULATORS[architecture or own()]


def installed(architecture: Architecture | None = None) -> tuple[str, str]:
    """Return the path of the installed QEMU and the name of its build; nothing is made.

    Raises:
        HostUnfit: there is none.
    """
    emulator = emulator_of(architecture)
    search = os.environ.get("PATH", os.defpath) + ":/usr/bin:/usr/local/bin:/usr/libexec"
    paths = (f"{directory}/{emulator.binary}" for directory in search.split(":"))
    found = next((path for path in paths if os.access(path, os.X_OK)), "")
    if not found:
        raise HostUnfit(f"{emulator.binary} is not installed", hint=emulator.hint)
    binary = os.path.realpath(found)
    info = os.stat(binary)
    return binary, stamp(TREE_VERSION, binary, info.st_size, info.st_mtime_ns)


def version(hypervisor: Hypervisor) -> str:
    """Return the version as QEMU tells it, "7.2.22 (Debian 1:7.2+...)"."""
    answer = spawn.run_tool([hypervisor.binary, "--version"]).stdout.partition("\n")[0]
    return answer.removeprefix("QEMU emulator version ").strip()


def make_root(directory: str, binary: str, emulator: Emulator) -> None:
    """Make the tree of one build; another command that was faster wins."""
    with open(binary, "rb") as file:
        if file.read(2) == b"#!":
            raise HostUnfit(f"{binary} is a script: QEMU itself is needed", hint="put QEMU's directory first in PATH")
    staging = f"{os.path.dirname(directory)}/.{os.path.basename(directory)}.{os.getpid()}"
    root = f"{staging}/root"
    for name in ("proc", "dev", SHARES, "tmp"):
        files.make_directory(f"{root}/{name}", 0o755)
    modules = find_modules(binary, emulator.modules)
    shared = libraries([binary, *modules], emulator.hint)
    for path in {binary, *modules, *shared, *find_firmware(binary, emulator.firmware)}:
        place(path, f"{root}{path}")
    open_to_read(root)
    files.sync_directory(staging)
    try:
        os.rename(staging, directory)
    except OSError:
        files.remove_tree(staging)


def place(source: str, target: str) -> None:
    """Give a file a second name in the tree, or a copy where the file system is another."""
    files.make_directory(os.path.dirname(target), 0o755)
    real = os.path.realpath(source)
    try:
        os.link(real, target)
    except OSError:
        import shutil

        shutil.copy2(real, target)


def open_to_read(root: str) -> None:
    """Let an unprivileged user pass the tree's directories whatever our umask was."""
    for directory, _, _ in os.walk(root):
        os.chmod(directory, 0o755)


def libraries(programs: Iterable[str], hint: str) -> set[str]:
    """Return the paths of every shared library and of the loader, as the loader itself names them."""
    found = set()
    for program in programs:
        answer = spawn.run_tool(["ldd", program])
        if answer.returncode and "statically linked" not in answer.stdout + answer.stderr:
            raise HostUnfit(f"ldd {program}: {(answer.stderr or answer.stdout).strip()}", hint=hint)
        for line in answer.stdout.splitlines():
            path = line.partition("=>")[2].strip() or line.strip()
            path = path.partition(" (")[0]
            if path.startswith("/"):
                found.add(path)
            elif "not found" in line:
                raise HostUnfit(f"{program} needs a library: {line.strip()}", hint=hint)
    return found


def find_modules(binary: str, wanted: Iterable[str]) -> list[str]:
    """Return the parts of QEMU that are files of their own: where the emulator is built in, none."""
    prefix = os.path.dirname(os.path.dirname(binary))
    import glob

    places = (*glob.glob(f"{prefix}/lib/*-linux-gnu/qemu"), f"{prefix}/lib64/qemu-kvm", f"{prefix}/lib64/qemu")
    places += (f"{prefix}/lib/qemu",)
    return [f"{place}/{name}" for place in places for name in wanted if os.path.exists(f"{place}/{name}")]


def find_firmware(binary: str, wanted: tuple[str, ...]) -> list[str]:
    """Return the firmware files a guest may load, from the directories QEMU searches; the first must be there."""
    answer = spawn.run_tool([binary, "-L", "help"])
    places = [os.path.normpath(line) for line in answer.stdout.split()]
    found = {}
    for directory in reversed(places):
        found.update({name: f"{directory}/{name}" for name in wanted if os.path.exists(f"{directory}/{name}")})
    if wanted and wanted[0] not in found:
        raise HostUnfit(
            f"{binary} finds no firmware {wanted[0]}; it looks in {', '.join(places)}",
            hint="apt-get install seabios qemu-system-data",
        )
    return list(found.values())
