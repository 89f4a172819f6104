"""Images of any transport through `skopeo experimental-image-proxy`: a child that we ask over a socket.

Promise: the child ends with the `with` block, whatever happened; a child or a network that falls
silent becomes an error, never a hang.

The protocol (containers-image-proxy, "semver 0.2"): one JSON request a packet; answers carry at most
one pipe. A blob's pipe has no end until FinishPipe, which in turn waits until all was read and then
says whether the digest was right.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import threading

from twinhull import jsontext
from twinhull.errors import HostUnfit, RegistryError
from twinhull.host import spawn
from twinhull.host.facts import is_rootless
from twinhull.oci.manifest import MAX_MANIFEST_BYTES, Descriptor
from twinhull.oci.platform import Platform
from twinhull.scopes import contextmanager
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Any, TypeVar

    T = TypeVar("T")

PACKET_BYTES = 32 << 10  # of an answer: JSON of a few numbers and an error text
PIPE_BYTES = 1 << 20
CHUNK_BYTES = 1 << 20
SILENCE_S = 2.0  # then ask whether the transfer failed
OPEN_S = 60.0  # for a registry to name an image; a daemon or an archive may have to pack it first
GIVE_UP_S = 120.0  # beyond what TCP needs to notice that a peer is gone


class ProxyError(Exception):
    """What skopeo says went wrong; the caller knows which image it was about."""


class Answer(NamedTuple):
    """One answer: its value, and a pipe with its number if there is one."""

    value: Any
    fd: int
    pipe: int


def skopeo(*words: str, platform: Platform | None = None, scratch: str = "") -> list[str]:
    """A command line.

    Args:
        platform: what to take of an index; None is this machine's.
        scratch: a directory for what skopeo unpacks in between, which a kill of it would leave.
    """
    policy = [] if any(map(os.path.exists, policy_files())) else ["--insecure-policy"]
    place = ["--tmpdir", scratch] if scratch else []
    return ["skopeo", *policy, *place, *overrides(platform), *words]


def policy_files() -> tuple[str, str]:
    """Where the signature policy may be; skopeo refuses to work without one."""
    return os.path.expanduser("~/.config/containers/policy.json"), "/etc/containers/policy.json"


def overrides(platform: Platform | None) -> list[str]:
    """How to choose from an index."""
    if platform is None:
        return []
    variant = ["--override-variant", platform.variant] if platform.variant else []
    return ["--override-os", platform.os, "--override-arch", platform.architecture, *variant]


def reaching(act: Callable[[], T]) -> T:
    """Start something that speaks to a registry: without root in the host's network, which is not our own."""
    if not is_rootless():
        return act()
    from twinhull.host.rootless import outside

    return outside(act)


class Proxy:
    """One child. Blobs may be read in several threads; requests take turns."""

    def __init__(self, platform: Platform | None, scratch: str, *, verify_tls: bool) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.turn = threading.Lock()
        flags = [] if verify_tls else ["--tls-verify=false"]
        try:
            words = skopeo("experimental-image-proxy", *flags, platform=platform, scratch=scratch)
            self.child = reaching(lambda: spawn.popen(words, stdin=theirs.fileno()))
        except FileNotFoundError:
            self.socket.close()
            raise HostUnfit("skopeo is not installed", hint="apt-get install skopeo") from None
        finally:
            theirs.close()

    def __enter__(self) -> Proxy:
        self.call("Initialize")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.child.kill()  # it keeps nothing that would need an orderly end
        self.child.wait()
        self.socket.close()
        if self.child.stderr:
            self.child.stderr.close()

    def call(self, method: str, *args: Any) -> Answer:
        """Ask, and wait for the answer.

        Raises:
            ProxyError: the answer is no.
            RegistryError: there is none.
        """
        with self.turn:
            try:
                self.socket.send(jsontext.dumps({"method": method, "args": args}).encode())
                data, fds, _, _ = socket.recv_fds(self.socket, PACKET_BYTES, 1)
            except TimeoutError:
                said = f"{args[0]}: no answer within {OPEN_S:.0f} s"
                raise RegistryError(said, hint="is it a registry? try again") from None
            except OSError:
                data, fds = b"", []
        for fd in fds:
            os.set_inheritable(fd, False)
        if not data:
            raise RegistryError(f"skopeo ended without an answer to {method}", hint=self.last_words())
        try:
            answer = jsontext.loads(data)
        except ValueError:
            raise RegistryError("skopeo answered in a way that is not its protocol") from None
        if not answer.get("success"):
            raise ProxyError(printable(str(answer.get("error"))))
        return Answer(answer.get("value"), fds[0] if fds else -1, int(answer.get("pipeid") or 0))

    def last_words(self) -> str:
        """What the child wrote before it ended."""
        if self.child.poll() is None or not self.child.stderr:
            return ""
        return printable(self.child.stderr.read(4096).decode(errors="replace").strip())

    def open(self, name: str) -> int:
        """Open an image; of an index the one for the platform."""
        self.socket.settimeout(OPEN_S if name.startswith("docker://") else None)
        try:
            return int(self.call("OpenImage", name).value)
        finally:
            self.socket.settimeout(None)

    def manifest(self, image: int) -> tuple[str, bytes]:
        """Return (digest of the manifest as it is, the manifest converted to OCI)."""
        answer = self.call("GetManifest", image)
        content: list[bytes] = []
        reader = threading.Thread(target=read_small, args=(answer.fd, content), daemon=True)
        reader.start()  # beside FinishPipe: a long manifest does not fit into the pipe
        try:
            self.call("FinishPipe", answer.pipe)
        finally:
            reader.join()
        return str(answer.value), b"".join(content)

    @contextmanager
    def blob(self, image: int, descriptor: Descriptor) -> Iterator[Iterator[bytes]]:
        """Give the bytes of a blob as they arrive; its pipe ends with the block, whoever still holds the iterator.

        Raises:
            ProxyError: the transfer failed, or these were other bytes than the digest's.
        """
        answer = self.call("GetBlob", image, descriptor.digest, descriptor.size_bytes)
        try:
            try:
                fcntl.fcntl(answer.fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            except OSError:
                pass  # an unprivileged user's pipes may have used up their share
            yield arriving(answer.fd, descriptor.size_bytes, Outcome(self, answer.pipe))
        finally:
            os.close(answer.fd)


def arriving(fd: int, size_bytes: int, outcome: Outcome) -> Iterator[bytes]:
    """Read exactly as much as was announced, then hear whether it was right."""
    left = size_bytes
    while left:
        if not readable(fd, SILENCE_S):
            outcome.ask()
            if not readable(fd, GIVE_UP_S):
                raise RegistryError("the registry stopped sending", hint="try again")
        chunk = os.read(fd, min(CHUNK_BYTES, left))
        if not chunk:
            break
        left -= len(chunk)
        yield chunk
    outcome.get()
    if left:
        raise ProxyError(f"the transfer ended {left} bytes early")


class Outcome:
    """The answer to FinishPipe, asked for in a thread when a transfer falls silent, once."""

    def __init__(self, proxy: Proxy, pipe: int) -> None:
        self.proxy = proxy
        self.pipe = pipe
        self.thread: threading.Thread | None = None
        self.failure: BaseException | None = None

    def ask(self) -> None:
        """Start asking; when the answer is there, the pipe has an end."""
        if self.thread is None:
            self.thread = threading.Thread(target=self.run, daemon=True)
            self.thread.start()

    def run(self) -> None:
        """Ask, and keep what is said."""
        try:
            self.proxy.call("FinishPipe", self.pipe)
        except BaseException as error:
            self.failure = error

    def get(self) -> None:
        """Wait for the answer; raise what it says."""
        self.ask()
        assert self.thread is not None
        self.thread.join()
        if self.failure:
            raise self.failure


def readable(fd: int, timeout_s: float) -> bool:
    """True if a read would not wait, after at most this time."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


def read_small(fd: int, content: list[bytes]) -> None:
    """Read a document to its end; one that is too long loses its reader."""
    total = 0
    try:
        while total <= MAX_MANIFEST_BYTES and (part := os.read(fd, CHUNK_BYTES)):
            content.append(part)
            total += len(part)
    finally:
        os.close(fd)


def printable(text: str) -> str:
    """On one line, without terminal escapes: a registry wrote part of this."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:2000]
