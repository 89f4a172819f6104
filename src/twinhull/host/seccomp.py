"""Seccomp profiles as BPF, through libseccomp, once a machine: ours, and those that a spec or a user brings.

Compiling costs 4 ms, loading 0.4: the bytes are cached in a root-owned file keyed by profile, kernel
and library.
"""

from __future__ import annotations

import os

from twinhull.errors import HostUnfit, InvalidRequest
from twinhull.host import files
from twinhull.plan import seccomp as profile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from typing import Any

    from twinhull.plan import filters

EEXIST, UNKNOWN = 17, -1
NATIVE = 0  # SCMP_ARCH_NATIVE
# What libseccomp calls a processor that images call something else, and what else its kernel executes.
PROCESSORS = {"amd64": ("x86_64",), "arm64": ("aarch64", "arm")}

LIBRARY_PATHS = ("/usr/lib/x86_64-linux-gnu/libseccomp.so.2", "/usr/lib64/libseccomp.so.2", "/usr/lib/libseccomp.so.2")
ATTR_CTL_OPTIMIZE, BINARY_TREE = 8, 2  # seccomp.h


def default_filter(state: str, capabilities: Collection[str] = (), *, processor: str = "") -> bytes:
    """Return the BPF program of the default profile for these capabilities, from the cache or made now.

    Args:
        processor: of the guest that it is for, as images name it; "" is this machine's.

    Raises:
        HostUnfit: libseccomp is not there.
    """
    opening = "".join(f"-{name}" for name in profile.opening(capabilities))
    opening += f"-{processor}" if processor else ""
    path = f"{state}/cache/{cache_key(opening)}"
    return cached(path, lambda: profile.profile(capabilities, processor))


def spec_filter(state: str, spec: Mapping[str, Any]) -> bytes:
    """Return the program for a workload's spec: its own section's, else the default's; b"" if it wants none.

    Raises:
        InvalidRequest: its section means nothing; the message names the field.
        HostUnfit: libseccomp is not there.
    """
    processor = spec["annotations"].get(profile.GUEST_ARCHITECTURE, "")
    if section := spec["linux"].get("seccomp"):
        from twinhull import jsontext
        from twinhull.plan import filters

        wanted = filters.parse(section)._replace(processor=processor)
        return section_filter(f"{state}/cache/seccomp", processor + jsontext.dumps(section), wanted)
    if spec["annotations"].get(profile.ANNOTATION) == profile.UNCONFINED:
        return b""
    return default_filter(state, spec["process"]["capabilities"]["bounding"], processor=processor)


def qemu_filter(state: str) -> bytes:
    """Return the program that QEMU runs under, from the cache or made now.

    Raises:
        HostUnfit: libseccomp is not there.
    """
    from twinhull.plan import qemu_filter as refused

    return cached(f"{state}/cache/{cache_key(f'-qemu-{refused.VERSION}')}", refused.profile)


def cached(path: str, made: Callable[[], filters.Profile]) -> bytes:
    """Return the program in a file of ours; if there is none, compile and keep it."""
    try:
        status = os.stat(path)
        if status.st_uid == os.geteuid() and status.st_size % 8 == 0:
            return files.read(path)
    except FileNotFoundError:
        pass
    program = compile_profile(made())
    files.make_directory(os.path.dirname(path))
    files.publish(path, program)
    return program


def cache_key(opening: str = "") -> str:
    """Name the inputs: profile version, what capabilities open, kernel release, library file."""
    library = next((found for path in LIBRARY_PATHS if (found := library_stamp(path))), "none")
    return f"seccomp-{profile.VERSION}{opening}-{os.uname().release}-{library}.bpf"


def library_stamp(path: str) -> str:
    """Size and time of the library, "" if it is not there."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return ""
    return f"{status.st_size:x}{status.st_mtime_ns:x}"


def compile_profile(wanted: filters.Profile) -> bytes:
    """Return a profile as an array of struct sock_filter.

    Raises:
        InvalidRequest: an architecture that libseccomp does not know.
        HostUnfit: libseccomp is not there, or refuses a rule.
    """
    from twinhull.plan import newer_calls

    compiler = Compiler(open_library(), wanted.default)
    if wanted.processor:
        compiler.processor(*PROCESSORS.get(wanted.processor, (wanted.processor,)))
    for name in wanted.architectures:
        compiler.architecture(name)
    for rule in wanted.rules:
        compiler.rule(rule.action, rule.name, *rule.comparisons)
    before = b""
    if newer_calls.is_needed(wanted):
        before = newer_calls.prologue(compiler.numbers({*wanted.known, *(rule.name for rule in wanted.rules)}))
    return before + compiler.export()


def section_filter(directory: str, text: str, section: filters.Profile) -> bytes:
    """Return a section's program, from the cache or made now.

    Args:
        directory: of the cache, ours alone.
        text: the section, as it is keyed by.
    """
    from hashlib import sha256

    return cached(f"{directory}/{sha256((cache_key() + text).encode()).hexdigest()}", lambda: section)


def open_library() -> Any:
    """Return libseccomp.

    Raises:
        HostUnfit: it is not there.
    """
    import ctypes

    try:
        return ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError:
        raise HostUnfit("libseccomp is not installed", hint="apt-get install libseccomp2") from None


class Compiler:
    """libseccomp's filter context, by ctypes."""

    def __init__(self, library: Any, default: int) -> None:
        import ctypes

        class Comparison(ctypes.Structure):
            _fields_ = (
                ("argument", ctypes.c_uint),
                ("operator", ctypes.c_int),
                ("a", ctypes.c_uint64),
                ("b", ctypes.c_uint64),
            )

        library.seccomp_arch_native.restype = library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
        library.seccomp_syscall_resolve_name_arch.argtypes = (ctypes.c_uint32, ctypes.c_char_p)
        self.library = library
        self.processors = {library.seccomp_arch_native()}
        self.comparison = Comparison
        library.seccomp_init.restype = ctypes.c_void_p
        self.context = ctypes.c_void_p(library.seccomp_init(default))
        library.seccomp_attr_set(self.context, ATTR_CTL_OPTIMIZE, BINARY_TREE)

    def rule(self, action: int, name: str, *comparisons: tuple[int, int, int, int]) -> None:
        """Add one rule; a name that this library does not know stays refused."""
        number = self.library.seccomp_syscall_resolve_name(name.encode())
        if number == UNKNOWN:
            return
        array = (self.comparison * len(comparisons))(*(self.comparison(*row) for row in comparisons))
        result = self.library.seccomp_rule_add_array(self.context, action, number, len(comparisons), array)
        if result != 0:
            raise HostUnfit(f"libseccomp refused the rule for {name}: {os.strerror(-result)}")

    def architecture(self, name: str) -> None:
        """Filter the calls of one more architecture."""
        token = self.library.seccomp_arch_resolve_name(name.encode())
        if token == 0:
            raise InvalidRequest(f"linux.seccomp.architectures: libseccomp knows no {name!r}")
        if (result := self.library.seccomp_arch_add(self.context, token)) not in (0, -EEXIST):
            raise HostUnfit(f"libseccomp refused the architecture {name}: {os.strerror(-result)}")
        self.processors.add(token)

    def numbers(self, names: Collection[str]) -> dict[int, list[int]]:
        """For each processor the numbers of these calls, below 0 for those that it does not have."""
        texts, find = [name.encode() for name in names], self.library.seccomp_syscall_resolve_name_arch
        return {processor: [find(processor, text) for text in texts] for processor in self.processors}

    def processor(self, name: str, *also: str) -> None:
        """Filter the calls of another processor in place of this machine's; do it before the first rule.

        The numbers of rules stay this machine's: libseccomp translates them, and a call that the other does
        not have is none there.
        """
        for one in (name, *also):
            self.architecture(one)
        self.processors.discard(self.library.seccomp_arch_native())
        if result := self.library.seccomp_arch_remove(self.context, NATIVE):
            raise HostUnfit(f"libseccomp refused to filter {name} alone: {os.strerror(-result)}")

    def export(self) -> bytes:
        """Return the program and release the context."""
        fd = os.memfd_create("seccomp")
        try:
            if result := self.library.seccomp_export_bpf(self.context, fd):
                raise HostUnfit(f"libseccomp could not compile the profile: {os.strerror(-result)}")
            os.lseek(fd, 0, os.SEEK_SET)
            return os.read(fd, 1 << 20)
        finally:
            os.close(fd)
            self.library.seccomp_release(self.context)
