"""Names of images, as Docker reads them and as skopeo wants them. Pure, and on the way of every run.

Promise: two spellings that Docker takes for the same image have the same `name`.

Grammar: github.com/distribution/reference. Written without regular expressions: compiling those
of the grammar costs more than a hundred references read this way.
"""

from __future__ import annotations

from twinhull.errors import InvalidRequest
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

DOCKER_HUB = "docker.io"
DEFAULT_TAG = "latest"
MAX_NAME = 255
MAX_TAG = 128
LOCAL_FILES = ("oci", "oci-archive", "docker-archive", "dir")
LOCAL_ENGINES = ("docker-daemon", "containers-storage")

LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
WORD = LOWER | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ_")
HEX = frozenset("0123456789abcdef")
DIGEST_HEX_CHARACTERS = {"sha256": 64, "sha512": 128}


class Reference(NamedTuple):
    """One name of an image.

    Attributes:
        transport: docker for a registry; otherwise skopeo's word for the place.
        domain, path: registry and repository; "" for the other transports.
        tag, digest: what follows; a registry reference has at least one of them.
        place: of the other transports, all that follows the first colon.
        short: the user named no registry.
    """

    transport: str
    domain: str = ""
    path: str = ""
    tag: str = ""
    digest: str = ""
    place: str = ""
    short: bool = False

    @property
    def name(self) -> str:
        """The one spelling under which the image is kept."""
        if self.transport != "docker":
            return f"{self.transport}:{self.place}"
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"

    @property
    def repository(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.domain}/{self.path}"

    @property
    def source(self) -> str:
        """The name in skopeo's words. A digest wins over a tag, which skopeo takes no two of."""
        return f"docker://{self.name}" if self.transport == "docker" else self.name

    @property
    def familiar(self) -> str:
        """The spelling that people use: without the parts that Docker adds by itself."""
        return familiar(self.name)


def parse(text: str, default_registry: str = DOCKER_HUB) -> Reference:
    """Read a reference as a user writes it.

    Args:
        default_registry: the registry of a name without one; "library/" belongs to Docker's alone.

    Raises:
        InvalidRequest: it is none; the message says which part.
    """
    transport, colon, place = text.partition(":")
    if place.startswith("//") and colon:
        if transport != "docker":
            refuse(text, f"unknown transport {transport!r}", "docker://, oci:DIRECTORY or docker-archive:FILE")
        return parse_name(text, place[2:], default_registry)
    if colon and transport in (*LOCAL_FILES, *LOCAL_ENGINES):
        return parse_place(text, transport, place)
    return parse_name(text, text, default_registry)


def parse_place(text: str, transport: str, place: str) -> Reference:
    """Read what follows a transport that is no registry."""
    if not place or "\0" in place:
        refuse(text, f"nothing after {transport}:", f"{transport}:{'NAME' if transport in LOCAL_ENGINES else 'PATH'}")
    return Reference(transport, place=place)


def parse_name(text: str, rest: str, default_registry: str) -> Reference:
    """Read [REGISTRY/]PATH[:TAG][@DIGEST]."""
    rest, at, digest = rest.partition("@")
    if at:
        check_digest(text, digest)
    head, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:  # the colon of a port
        head, tag = rest, ""
    elif not is_tag(tag):
        refuse(text, f"bad tag {tag!r}", "letters, digits, '_', '.' and '-', at most 128 of them")
    domain, path = split_domain(head)
    short = not domain
    domain = domain or default_registry
    check_path(text, path)
    if domain in ("index.docker.io", DOCKER_HUB):
        domain, path = DOCKER_HUB, path if "/" in path else f"library/{path}"
    check_domain(text, domain)
    if len(domain) + 1 + len(path) > MAX_NAME:
        refuse(text, "too long", f"at most {MAX_NAME} characters before the tag")
    return Reference("docker", domain, path, tag or ("" if digest else DEFAULT_TAG), digest, short=short)


def split_domain(head: str) -> tuple[str, str]:
    """Return (registry or "", path). Docker's rule: a registry has a dot, a port, or is localhost."""
    first, slash, path = head.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        return first, path
    return "", head


def check_path(text: str, path: str) -> None:
    """Refuse a repository path that the grammar does not know."""
    if not path:
        refuse(text, "no name")
    lower = path.lower()
    if path != lower and all(map(is_component, lower.split("/"))):
        refuse(text, "a repository's name is in lower case", text.replace(path, lower))
    if len(path) == 64 and HEX.issuperset(path):
        refuse(text, "a name of 64 hexadecimal digits looks like an id", f"sha256:{path} if you meant the id")
    for component in path.split("/"):
        if not is_component(component):
            refuse(
                text, f"bad component {component!r}", "lower case letters and digits, split by '.', '_', '__' or '-'"
            )


def is_component(text: str) -> bool:
    """True for letters and digits with single separators inside."""
    if not text or text[0] not in LOWER or text[-1] not in LOWER:
        return False
    if LOWER.issuperset(text):
        return True
    separator = ""
    for letter in text:
        if letter not in LOWER:
            separator += letter
        elif separator:
            if separator not in (".", "_", "__") and separator.strip("-"):
                return False
            separator = ""
    return True


def is_tag(text: str) -> bool:
    """True for a tag by the grammar."""
    return 0 < len(text) <= MAX_TAG and text[0] in WORD and WORD.issuperset(text.replace(".", "").replace("-", ""))


def check_domain(text: str, domain: str) -> None:
    """Refuse a registry that is no host name or address with an optional port."""
    host, port = domain, ""
    if domain.startswith("["):
        host, bracket, after = domain[1:].partition("]")
        good = bool(bracket) and HEX.issuperset(host.lower().replace(":", "")) and after[:1] in ("", ":")
        port = after[1:]
    else:
        host, _, port = domain.partition(":")
        labels = host.split(".")
        good = all(WORD.issuperset(label.replace("-", "")) and label.strip("-") == label != "" for label in labels)
    if not good or (domain.endswith(":") or (port and not (port.isdecimal() and int(port) < 65536))):
        refuse(text, f"bad registry {domain!r}", "HOST or HOST:PORT")


def check_digest(text: str, digest: str) -> None:
    """Refuse what is no digest of an algorithm in use."""
    if not is_digest(digest):
        refuse(text, f"bad digest {digest!r}", "sha256: and 64 hexadecimal digits")


def is_digest(text: str) -> bool:
    """True for ALGORITHM:HEX with as many digits as the algorithm gives."""
    algorithm, _, value = text.partition(":")
    return len(value) == DIGEST_HEX_CHARACTERS.get(algorithm, -1) and HEX.issuperset(value)


def familiar(name: str) -> str:
    """Shorten a kept name: docker.io/library/busybox:1 is busybox:1 to people."""
    if name.startswith(f"{DOCKER_HUB}/library/"):
        return name[len(DOCKER_HUB) + 9 :]
    return name.removeprefix(f"{DOCKER_HUB}/")


def is_loopback(domain: str) -> bool:
    """True for a registry on this machine, which Docker does not ask for TLS."""
    host = domain[1:].partition("]")[0] if domain.startswith("[") else domain.partition(":")[0]
    return host in ("localhost", "::1") or (host.startswith("127.") and host.replace(".", "").isdecimal())


def refuse(text: str, why: str, hint: str = "") -> NoReturn:
    """Raise the error for a bad reference."""
    raise InvalidRequest(f"{text!r} is not an image reference: {why}", hint=hint)
