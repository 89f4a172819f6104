"""What skopeo and registries say when they refuse, in our errors. Their texts are all there is to go by.

Promise: the user learns which image, why, and what to do; never a page of wrapped errors.
"""

from __future__ import annotations

from twinhull.errors import NotFound, RegistryError, TwinhullError
from twinhull.oci.reference import Reference

# Parts of texts of containers/image 5 and of Go's net and crypto packages, in lower case.
ABSENT = (
    *("manifest unknown", "name unknown", "repository name not known", "no such image", "not known to registry"),
    *("reading manifest", "does not exist", "no such file", "identifier is not an image", "no descriptor found"),
    *("not found in", "no such object", "could not find"),
)
ABSENT_HINTS = {
    "docker": "check the name and the tag",
    "docker-daemon": "docker images lists what Docker has",
    "containers-storage": "podman images lists what Podman has",
}
ABSENT_FILE = "check the path, and what kind of archive it is"
DENIED = ("unauthorized", "authentication required", "access to the resource is denied", "invalid username/password")
UNREACHABLE = (
    *("connection refused", "no such host", "i/o timeout", "network is unreachable", "no route to host"),
    *("temporary failure in name resolution", "server misbehaving", "connection reset", "tls handshake timeout"),
    *("deadline exceeded", "pinging container registry"),
)
UNTRUSTED = ("x509", "certificate")
LOGINS = ("auth.json: permission denied",)
PLAIN_HTTP = ("server gave http response to https client",)
LIMITED = ("toomanyrequests", "too many requests", "rate limit")
CORRUPT = ("corrupted blob", "digest did not match", "digest mismatch", "does not match its size", "unexpected eof")
UNREADABLE = ("invalid character", "unexpected end of json", "cannot unmarshal")  # and a lone EOF
UNDECIDED = ("choose an image",)
FULL = ("no space left on device",)
PLATFORM = ("no image found in manifest list", "no image found in image index", "choosing an image from manifest list")


def is_about_platform(text: str) -> bool:
    """True if an index has nothing for the platform."""
    return says(text, PLATFORM)


def explain(text: str, reference: Reference, *, pushing: bool = False, platform: str = "") -> TwinhullError:
    """The error for a text.

    Args:
        platform: the one that the user named, if any: the image may be here for another.
    """
    name, registry = reference.familiar, reference.domain or reference.transport
    last = last_part(text)
    if says(text, FULL):
        return RegistryError(f"no room on the disk for {name}", hint="make room (twinhull rmi) and pull again")
    if says(text, PLAIN_HTTP):
        hint = f"insecure_registries = [{registry!r}] in the configuration, if that is meant"
        return RegistryError(f"{registry} does not speak TLS", hint=hint)
    if says(text, UNTRUSTED):
        hint = f"install its authority's certificate in /etc/containers/certs.d/{registry}"
        return RegistryError(f"the certificate of {registry} is not trusted: {last}", hint=hint)
    if says(text, LOGINS):
        return RegistryError(f"the file of logins cannot be read: {last}", hint="REGISTRY_AUTH_FILE names another")
    if says(text, LIMITED):
        return RegistryError(f"{registry} allows no more pulls for now", hint=f"skopeo login {registry}, or wait")
    if says(text, DENIED):
        hint = f"check the name; if it is private: skopeo login {registry}"
        return NotFound(f"{name} does not exist in {registry}, or needs a login", hint=hint)
    if says(text, CORRUPT):
        return RegistryError(f"corrupt content in {name}: {last}", hint="pull again; the damage may be at its source")
    if says(text, UNREACHABLE):
        here = f" {name} is not here{f' for {platform}' if platform else ''}"
        hint = "is the name right, and the network up?" + ("" if pushing else here)
        verb = "push" if pushing else "fetch"
        return RegistryError(f"cannot {verb} {name}: cannot reach {registry}: {last}", hint=hint)
    if says(text, UNDECIDED):
        hint = f"name one: {reference.transport}:PATH:TAG; a layout or archive without images is empty or damaged"
        return NotFound(f"{name} has no image, or several", hint=hint)
    if not reference.domain and (says(text, UNREADABLE) or last.rpartition(": ")[2] == "EOF"):
        return RegistryError(f"{name} cannot be read: a document in it is empty, cut off or no JSON", hint=ABSENT_FILE)
    if says(text, ABSENT):
        where = f" in {registry}" if reference.domain else ""
        return NotFound(f"no such image: {name}{where}", hint=ABSENT_HINTS.get(reference.transport, ABSENT_FILE))
    return RegistryError(f"{name}: {last}")


def says(text: str, parts: tuple[str, ...]) -> bool:
    """True if one of the parts is in the text."""
    text = text.lower()
    return any(part in text for part in parts)


def last_part(text: str) -> str:
    """The innermost cause of Go's wrapped errors, without skopeo's log decoration and its escaped line ends."""
    text = text.rpartition('msg="')[2].removesuffix('"')
    text = " ".join(text.replace("\\n", " ").replace("\\t", " ").replace('\\"', '"').split())
    parts = text.split(": ")
    return ": ".join(parts[-2:])[-300:] if text else "skopeo did not say why"
