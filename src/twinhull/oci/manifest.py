"""Manifests, indexes and configs: OCI (image-spec 1.1) and Docker's schema 2. Pure.

Promise: what comes back is bounded and of the right types; anything else is a RegistryError that
names the document.
"""

from __future__ import annotations

import hashlib

from twinhull import jsontext
from twinhull.errors import RegistryError
from twinhull.oci import platform
from twinhull.oci.platform import Platform
from twinhull.oci.reference import is_digest
from twinhull.oci.spec import settings
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_MANIFEST_BYTES = 4 << 20  # what registries accept (distribution's limit)
MAX_CONFIG_BYTES = 8 << 20
MAX_LAYERS = 500  # OVL_MAX_STACK in the kernel's fs/overlayfs
MAX_BLOB_BYTES = 1 << 40

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."
OCI_MANIFEST, OCI_INDEX, OCI_CONFIG = f"{OCI}manifest.v1+json", f"{OCI}index.v1+json", f"{OCI}config.v1+json"
OCI_LAYER_GZIP = f"{OCI}layer.v1.tar+gzip"
MANIFESTS = (OCI_MANIFEST, f"{DOCKER}distribution.manifest.v2+json")
INDEXES = (OCI_INDEX, f"{DOCKER}distribution.manifest.list.v2+json")
LAYERS = (
    *(f"{OCI}layer.v1.tar{suffix}" for suffix in ("", "+gzip", "+zstd")),
    *(f"{OCI}layer.nondistributable.v1.tar{suffix}" for suffix in ("", "+gzip", "+zstd")),
    *(f"{DOCKER}image.rootfs.diff.tar{suffix}" for suffix in ("", ".gzip", ".zstd")),
    f"{DOCKER}image.rootfs.foreign.diff.tar.gzip",
)


class Descriptor(NamedTuple):
    """Points to content (image-spec, descriptor.md)."""

    media_type: str
    digest: str
    size_bytes: int


class Manifest(NamedTuple):
    """One image's manifest; `layers` from the bottom up."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]


class ImageConfig(NamedTuple):
    """What we need of a config document; the rest stays text."""

    platform: Platform
    diff_ids: tuple[str, ...]


def digest_of(content: bytes) -> str:
    """The digest by which content is named."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def parse_manifest(content: bytes, name: str) -> Manifest:
    """Read a manifest.

    Args:
        name: of the image, for messages.

    Raises:
        RegistryError: not a manifest, or one of something that is no container image.
    """
    document = load(content, f"manifest of {name}", MAX_MANIFEST_BYTES)
    if is_index_document(document):
        raise RegistryError(f"{name} is an index of images inside an index")
    if document.get("schemaVersion") != 2 or "config" not in document:
        raise RegistryError(
            f"the manifest of {name} has schema version {document.get('schemaVersion')!r}",
            hint="only OCI and Docker schema 2 images can be run; push it again with a tool of this decade",
        )
    layers = document.get("layers")
    if not isinstance(layers, list) or not layers:
        raise RegistryError(f"the manifest of {name} has no layers")
    if len(layers) > MAX_LAYERS:
        raise RegistryError(f"{name} has {len(layers)} layers, more than overlayfs can stack ({MAX_LAYERS})")
    found = tuple(parse_descriptor(layer, f"layer of {name}") for layer in layers)
    for layer in found:
        if layer.media_type not in LAYERS:
            raise RegistryError(
                f"{name} is not an image that can be run: a layer has type {layer.media_type!r}",
                hint="encrypted images and other artifacts are not supported",
            )
    return Manifest(media_type_of(document), parse_descriptor(document["config"], f"config of {name}"), found)


def parse_config(content: bytes, name: str) -> ImageConfig:
    """Read a config document.

    Raises:
        RegistryError: not one, without the list of layers, or with a setting of a type that it cannot have.
    """
    document = load(content, f"config of {name}", MAX_CONFIG_BYTES)
    rootfs = document.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(diff_ids, list) or not all(isinstance(one, str) and is_digest(one) for one in diff_ids):
        raise RegistryError(f"the config of {name} has no list of layers (rootfs.diff_ids)")
    settings(document, name)
    return ImageConfig(platform_of(document), tuple(diff_ids))


def platforms(content: bytes, name: str) -> tuple[Platform, ...]:
    """The platforms an index has images for; () for a manifest, whose config alone knows.

    Attestations and the like say "unknown" and are passed over.
    """
    document = load(content, f"manifest of {name}", MAX_MANIFEST_BYTES)
    if not is_index_document(document):
        return ()
    listed = document.get("manifests")
    entries = [entry["platform"] for entry in listed or () if isinstance(entry, dict) and "platform" in entry]
    found = (platform_of(entry) for entry in entries if isinstance(entry, dict))
    return tuple(dict.fromkeys(one for one in found if one.os not in ("", "unknown")))


def platform_of(document: dict[str, Any]) -> Platform:
    """The platform that a config, or an entry of an index, names."""
    words = [document.get(key) for key in ("os", "architecture", "variant")]
    return platform.normalise(*(word if isinstance(word, str) else "" for word in words))


def is_index_document(document: dict[str, Any]) -> bool:
    """True for an index or a manifest list; mediaType is optional in OCI's."""
    return document.get("mediaType") in INDEXES or ("mediaType" not in document and "manifests" in document)


def media_type_of(document: dict[str, Any]) -> str:
    """The media type of a manifest, which OCI lets it leave out."""
    said = document.get("mediaType", OCI_MANIFEST)
    return said if said in MANIFESTS else OCI_MANIFEST


def parse_descriptor(value: Any, what: str) -> Descriptor:
    """Check a descriptor: content that has no digest or no size is never fetched."""
    if not isinstance(value, dict):
        raise RegistryError(f"a descriptor (the {what}) is not an object")
    media_type, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
    if not isinstance(media_type, str) or not isinstance(digest, str) or not digest.startswith("sha256:"):
        raise RegistryError(f"a descriptor (the {what}) has no media type or no sha256 digest")
    if not is_digest(digest) or isinstance(size, bool) or not isinstance(size, int) or not 0 <= size < MAX_BLOB_BYTES:
        raise RegistryError(f"a descriptor (the {what}) has a bad digest or size")
    return Descriptor(media_type, digest, size)


def load(content: bytes, what: str, limit_bytes: int) -> dict[str, Any]:
    """Parse a JSON object of bounded size."""
    if len(content) > limit_bytes:
        raise RegistryError(f"the {what} has {len(content)} bytes, more than {limit_bytes}")
    try:
        document = jsontext.loads(content)
    except (ValueError, RecursionError):
        raise RegistryError(f"the {what} is not JSON") from None
    if not isinstance(document, dict):
        raise RegistryError(f"the {what} is not a JSON object")
    return document


def manifest_document(config: bytes, layers: tuple[Descriptor, ...]) -> bytes:
    """Write the OCI manifest of an image of our own making."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor_document(Descriptor(OCI_CONFIG, digest_of(config), len(config))),
        "layers": [descriptor_document(layer) for layer in layers],
    }
    return jsontext.dumps(document, compact=True).encode()


def descriptor_document(descriptor: Descriptor) -> dict[str, str | int]:
    """A descriptor as JSON has it."""
    return {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size_bytes}
