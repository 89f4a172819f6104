"""Small images made by hand, valid or not: layers from tar entries, manifests, OCI layouts."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

OCI = "application/vnd.oci.image."
INDEX = f"{OCI}index.v1+json"
MANIFEST = f"{OCI}manifest.v1+json"


def entry(name: str, content: bytes = b"", **attributes: Any) -> tuple[tarfile.TarInfo, bytes]:
    """One entry of a tar; attributes are TarInfo's."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, content


def directory(name: str, **attributes: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A directory's entry."""
    return entry(name, type=tarfile.DIRTYPE, **{"mode": 0o755, **attributes})


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    """A symbolic link's entry."""
    return entry(name, type=tarfile.SYMTYPE, linkname=target)


def hardlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    """A hard link's entry."""
    return entry(name, type=tarfile.LNKTYPE, linkname=target)


def tar(entries: Iterable[tuple[tarfile.TarInfo, bytes]], format: int = tarfile.PAX_FORMAT) -> bytes:
    """An archive of entries, in their order."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=format) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return target.getvalue()


def digest(content: bytes) -> str:
    """The digest of content."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


class Layout:
    """An OCI layout on the disk that grows by images."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: list[dict[str, Any]] = []
        (path / "blobs/sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def blob(self, content: bytes, media_type: str) -> dict[str, Any]:
        """Add content and return its descriptor."""
        found = digest(content)
        (self.path / "blobs/sha256" / found[7:]).write_bytes(content)
        return {"mediaType": media_type, "digest": found, "size": len(content)}

    def manifest(self, tars: Iterable[bytes], **changes: Any) -> dict[str, Any]:
        """Add an image of plain tars, gzipped, and return its descriptor; `changes` go into its config."""
        tars = list(tars)
        layers = [self.blob(gzip.compress(one, 1, mtime=0), f"{OCI}layer.v1.tar+gzip") for one in tars]
        return self.manifest_of(layers, [digest(one) for one in tars], **changes)

    def manifest_of(self, layers: list[dict[str, Any]], diff_ids: list[str], **changes: Any) -> dict[str, Any]:
        """Add an image of blobs that are here and return its descriptor."""
        config = {
            "os": "linux",
            "architecture": "amd64",
            "config": {"Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            **changes,
        }
        described = self.blob(json.dumps(config).encode(), f"{OCI}config.v1+json")
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": layers}
        return self.blob(json.dumps(document).encode(), MANIFEST)

    def tag(self, descriptor: dict[str, Any], name: str) -> None:
        """Name an image or an index."""
        self.entries.append({**descriptor, "annotations": {"org.opencontainers.image.ref.name": name}})
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": self.entries}
        (self.path / "index.json").write_text(json.dumps(index))

    def index(self, **images: dict[str, Any]) -> dict[str, Any]:
        """Add an index of images by architecture and return its descriptor."""
        listed = [{**one, "platform": {"os": "linux", "architecture": name}} for name, one in images.items()]
        content = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}).encode()
        return self.blob(content, INDEX)
