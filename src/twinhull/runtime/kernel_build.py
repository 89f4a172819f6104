"""A guest's kernel of our own configuration, compiled from the distribution's source package.

Promise: what is kept is whole, has every option of guest.config, and is never half there. The source's
own programs run as a user that nobody else is, without capabilities and network, in namespaces that end
with this process; nothing is installed on the host.
"""

from __future__ import annotations

import os
import time
from subprocess import PIPE, STDOUT

from twinhull.errors import MAKE_ROOM, HostUnfit
from twinhull.host import facts, files, spawn
from twinhull.host.stamp import stamp
from twinhull.plan import kconfig
from twinhull.plan.jail import jail_user
from twinhull.runtime import bzimage, kernel_making, package
from twinhull.runtime.kernel import BUILT, WITHOUT_ACPI, Kernel, load
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Progress = Callable[[str], None]

METAPACKAGE = "linux-source"
FRAGMENT = f"{os.path.dirname(os.path.abspath(__file__))}/guest.config"
# What the compilation needs: a program or a header, and the package that brings it.
TOOLS = {
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "make": "make",
    "gcc": "gcc",
    "ld": "binutils",
    "flex": "flex",
    "bison": "bison",
    "bc": "bc",
    "xz": "xz-utils",
    "/usr/include/stdlib.h": "libc6-dev",
    "/usr/include/libelf.h": "libelf-dev",
}
SPACE_BYTES = 3 << 30  # 1.3 GB of source, 0.4 GB of objects, the package
PLACE = "/mnt"  # where the build sees its directory, in its own mount namespace: the same path each time
COMPILED = ("  CC  ", "  AS  ")  # what make says of each file
FILES = 1400  # that are compiled of Linux 6.1, about
BACKGROUND_NICE = 10
# A name of the directory that an unprivileged user can reach, whatever lies above it; then nothing of root's is left.
ENTER = 'mount --bind "$1" "$2" && cd "$2" && shift 2 && exec "$@"'
UNPACK = (
    *("tar", "--extract", "--xz", "--no-same-owner", "--strip-components=1", "--directory", "source"),
    *("--file", "source.tar.xz"),
)
CONFIGURE = ("sh", "-c", "cd source && cp ../guest.config kernel/configs/ && make tinyconfig guest.config")


class Source(NamedTuple):
    """The distribution's source package, not fetched yet."""

    package: str
    version: str

    @property
    def kernel(self) -> str:
        """The name of the kernel that is made of it: whatever differs here is another."""
        return f"{BUILT}{self.version}-{stamp(files.read(FRAGMENT).decode())[:8]}"


def find_source() -> Source:
    """Return the source package of the distribution's kernel.

    Raises:
        HostUnfit: something that the build needs is not here, or the package lists name no source.
    """
    if facts.architecture() != "amd64":
        raise HostUnfit("the configuration of our kernel is one for x86-64, and this machine has another processor")
    require_tools()
    answer = spawn.run_tool(["apt-cache", "depends", "--important", METAPACKAGE]).stdout
    names = [line.split()[-1] for line in answer.splitlines() if f"Depends: {METAPACKAGE}-" in line]
    if not names:
        raise HostUnfit(f"the package lists name no {METAPACKAGE}", hint="apt-get update")
    policy = spawn.run_tool(["apt-cache", "policy", names[0]]).stdout
    version = next((line.split()[-1] for line in policy.splitlines() if "Candidate:" in line), "(none)")
    if version == "(none)":
        raise HostUnfit(f"the package lists have no {names[0]}", hint="apt-get update")
    return Source(names[0], version.partition(":")[2] or version)


def require_tools() -> None:
    """Refuse before anything is fetched.

    Raises:
        HostUnfit: a program or header is not installed.
    """
    import shutil

    lacking = sorted({package for name, package in TOOLS.items() if not (os.path.exists(name) or shutil.which(name))})
    if lacking:
        raise HostUnfit(
            f"building a kernel needs {', '.join(lacking)}",
            hint=f"apt-get install --no-install-recommends {' '.join(lacking)}",
        )


def require_space(directory: str) -> None:
    """Refuse where the source and its objects do not fit.

    Raises:
        HostUnfit: they do not.
    """
    status = os.statvfs(directory)
    free = status.f_bavail * status.f_frsize
    if free < SPACE_BYTES:
        raise HostUnfit(
            f"building a kernel takes {SPACE_BYTES >> 30} GiB for a while; {free >> 20} MiB are free", hint=MAKE_ROOM
        )


def work_of(root: str) -> str:
    """Where the source and its objects lie while a kernel is built."""
    return f"{root}/.build"


def build(root: str, source: Source, log: str, jobs: int, progress: Progress) -> Kernel:
    """Compile the kernel of a source package below `root`, and keep it.

    Args:
        log: the file that takes what make writes.
        jobs: how many compilers run at a time.

    Raises:
        HostUnfit: no source, no space, an option of the fragment that this source does not take, or make failed.
    """
    if kernel := load(f"{root}/{source.kernel}"):
        return kernel
    require_space(root)
    work = work_of(root)
    files.remove_tree(work)  # of a build that was killed
    files.make_directory(work, 0o755)
    try:
        with open(log, "wb", buffering=0) as output:
            box = Sandbox(work, jail_user(os.urandom(4).hex()), output.fileno())
            fetch(box, source, progress)
            configure(box, progress)
            compile_kernel(box, jobs, progress)
        image = read_image(f"{work}/source/vmlinux")
        origin = f"built from {source.package} {source.version}"
        return kernel_making.keep(root, source.kernel, image, "", origin, (WITHOUT_ACPI,))
    finally:
        files.remove_tree(work)


class Sandbox(NamedTuple):
    """Where the source's programs run: a directory, a user, a descriptor for what they write."""

    directory: str
    user: int
    log: int

    def argv(self, words: Sequence[str]) -> list[str]:
        """Return the command that runs `words` there; it ends when this process does."""
        # With our death unshare's follows, and then that of the namespace's first process. A change of user makes the
        # kernel forget the wish: it is the last that is said.
        mortal = ("setpriv", "--pdeathsig=KILL")
        user = (f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups", "--no-new-privs")
        return [
            *(*mortal, "unshare", "--mount", "--net", "--ipc", "--pid", "--fork", "--kill-child"),
            *("--mount-proc", "sh", "-c", ENTER, "sh", self.directory, PLACE),
            *(*mortal, *user, "--bounding-set=-all", "--inh-caps=-all"),
            *("env", "-i", "PATH=/usr/bin:/bin", f"HOME={PLACE}/tmp", f"TMPDIR={PLACE}/tmp", "LC_ALL=C", *words),
        ]

    def run(self, words: Sequence[str], what: str, progress: Callable[[bytes], None] = lambda _: None) -> None:
        """Run a command to its end, its output into the log and line by line to `progress`.

        Raises:
            HostUnfit: it failed.
        """
        process = spawn.popen(self.argv(words), stdout=PIPE, stderr=STDOUT)
        last = b""
        with process:
            assert process.stdout, "a pipe was asked for"
            try:
                for line in process.stdout:
                    os.write(self.log, line)
                    progress(line)
                    last = line.strip() or last
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise HostUnfit(
                f"{what} failed: {last.decode(errors='replace')}", hint="twinhull vm kernel ls names the log"
            )


def fetch(box: Sandbox, source: Source, progress: Progress) -> None:
    """Download the package, which apt-get verifies, and unpack the source as the user of the sandbox."""
    progress(f"downloading {source.package} {source.version}")
    packages = f"{box.directory}/package"
    files.make_directory(packages)
    package.download(packages, [source.package], ())
    (name,) = os.listdir(packages)
    progress(f"unpacking {source.package} {source.version}")
    done = spawn.run_tool(["dpkg-deb", "--extract", f"{packages}/{name}", f"{packages}/tree"])
    archive = f"{packages}/tree/usr/src/{source.package}.tar.xz"
    if done.returncode or not os.path.isfile(archive):
        raise HostUnfit(f"{name} holds no source: {done.stderr.strip()}")
    os.rename(archive, f"{box.directory}/source.tar.xz")
    os.chmod(f"{box.directory}/source.tar.xz", 0o644)
    for directory in ("source", "tmp"):
        files.make_directory(f"{box.directory}/{directory}")
        os.chown(f"{box.directory}/{directory}", box.user, box.user)
    box.run(UNPACK, f"unpacking {source.package}")


def configure(box: Sandbox, progress: Progress) -> None:
    """Write the configuration, and see that it is the one that was asked for.

    Raises:
        HostUnfit: the source does not take an option.
    """
    progress("configuring")
    fragment = files.read(FRAGMENT)
    files.publish(f"{box.directory}/guest.config", fragment, 0o644)
    box.run(CONFIGURE, "the configuration")
    final = read_regular(f"{box.directory}/source/.config")
    if lacking := kconfig.missing(fragment.decode(), final.decode()):
        raise HostUnfit(
            f"this source does not take {len(lacking)} options: {', '.join(lacking[:8])}",
            hint="guest.config is written for linux-source-6.1",
        )


def compile_kernel(box: Sandbox, jobs: int, progress: Progress) -> None:
    """Let make do its work, and count what it has done."""
    count, told = 0, 0.0

    def follow(line: bytes) -> None:
        nonlocal count, told
        count += line.decode(errors="replace").startswith(COMPILED)
        if time.monotonic() - told >= 1:
            told = time.monotonic()
            progress(f"compiling: {count} of about {FILES} files")

    # The time is the source's, not today's: the same source gives the same kernel.
    made = time.strftime("%a %b %e %H:%M:%S UTC %Y", time.gmtime(os.stat(f"{box.directory}/source/Makefile").st_mtime))
    identity = (f"KBUILD_BUILD_TIMESTAMP={made}", "KBUILD_BUILD_USER=twinhull", "KBUILD_BUILD_HOST=twinhull")
    words = ("make", "--directory", "source", f"--jobs={jobs}", *identity, "KBUILD_BUILD_VERSION=1", "vmlinux")
    box.run(words, "the compilation", follow)


def read_image(path: str) -> bytes:
    """Return the kernel without what only a debugger reads.

    Raises:
        HostUnfit: it is no kernel.
    """
    image = read_regular(path)
    bzimage.release(image)
    return image


def read_regular(path: str) -> bytes:
    """Return a file that another user wrote, if it is a file: a link could name anything of root's."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        return file.read()
