"""The seccomp profile as BPF, through libseccomp, once a machine.

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
    from typing import Any

    from twinhull.plan import filters

EEXIST, UNKNOWN = 17, -1

LIBRARY_PATHS = ("/usr/lib/x86_64-linux-gnu/libseccomp.so.2", "/usr/lib64/libseccomp.so.2", "/usr/lib/libseccomp.so.2")

# seccomp.h
ACT_ALLOW, ACT_ERRNO = 0x7FFF0000, 0x00050000
ATTR_CTL_OPTIMIZE, BINARY_TREE = 8, 2
CMP_LT, CMP_EQ, CMP_GT, CMP_MASKED_EQ = 2, 4, 6, 7
OPERATORS = {"<": CMP_LT, "=": CMP_EQ, ">": CMP_GT}


def default_filter(state: str) -> bytes:
    """Return the default profile's BPF program, from the cache or made now.

    Raises:
        HostUnfit: libseccomp is not there.
    """
    path = f"{state}/cache/{cache_key()}"
    try:
        status = os.stat(path)
        if status.st_uid == os.geteuid() and status.st_size % 8 == 0:
            return files.read(path)
    except FileNotFoundError:
        pass
    program = compile_profile()
    files.make_directory(os.path.dirname(path))
    files.publish(path, program)
    return program


def cache_key() -> str:
    """Name the inputs: profile version, kernel release, library file."""
    library = next((found for path in LIBRARY_PATHS if (found := library_stamp(path))), "none")
    return f"seccomp-{profile.VERSION}-{os.uname().release}-{library}.bpf"


def library_stamp(path: str) -> str:
    """Size and time of the library, "" if it is not there."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return ""
    return f"{status.st_size:x}{status.st_mtime_ns:x}"


def compile_profile() -> bytes:
    """Return the profile as an array of struct sock_filter."""
    compiler = Compiler(open_library(), ACT_ERRNO | profile.EPERM)
    for name in profile.ALLOWED:
        compiler.rule(ACT_ALLOW, name)
    for name in profile.ANSWERS_ENOSYS:
        compiler.rule(ACT_ERRNO | profile.ENOSYS, name)
    compiler.rule(ACT_ALLOW, "clone", (0, CMP_MASKED_EQ, profile.NAMESPACE_FLAGS, 0))
    for persona in profile.PERSONALITIES:
        compiler.rule(ACT_ALLOW, "personality", (0, CMP_EQ, persona, 0))
    for operator, family in profile.FAMILIES:
        compiler.rule(ACT_ALLOW, "socket", (0, OPERATORS[operator], family, 0))
    return compiler.export()


def compile_section(section: filters.Profile) -> bytes:
    """Return the filter of an OCI spec as an array of struct sock_filter.

    Raises:
        InvalidRequest: an architecture that libseccomp does not know.
        HostUnfit: libseccomp is not there, or refuses a rule.
    """
    compiler = Compiler(open_library(), section.default)
    for name in section.architectures:
        compiler.architecture(name)
    for rule in section.rules:
        compiler.rule(rule.action, rule.name, *rule.comparisons)
    return compiler.export()


def section_filter(directory: str, text: str, section: filters.Profile) -> bytes:
    """Return a section's program, from the cache or made now.

    Args:
        directory: of the cache, ours alone.
        text: the section, as it is keyed by.
    """
    from hashlib import sha256

    path = f"{directory}/{sha256((cache_key() + text).encode()).hexdigest()}"
    try:
        return files.read(path)
    except FileNotFoundError:
        program = compile_section(section)
        files.make_directory(directory)
        files.publish(path, program)
        return program


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

        self.library = library
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
