"""Images in files: archives of Docker's and of OCI's form, written and read.

Promise: `load(save(image))` gives an image with the same layers and config; OCI's form keeps every
digest. Several images in one archive are all loaded, each under the names it has there.
"""

from __future__ import annotations

import os

from twinhull import jsontext
from twinhull.config import Config
from twinhull.errors import InvalidRequest, NotFound
from twinhull.host import spawn
from twinhull.model import Image
from twinhull.oci.manifest import MAX_MANIFEST_BYTES
from twinhull.oci.reference import parse
from twinhull.oci.tar import Archive
from twinhull.store import content, images, refusals, registry
from twinhull.store.decompress import decompressed
from twinhull.store.proxy import skopeo
from twinhull.store.transfer import Progress
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from sqlite3 import Connection
    from typing import Any

FORMATS = ("docker-archive", "oci-archive")
CHUNK_BYTES = 1 << 20
REF_NAME = "org.opencontainers.image.ref.name"


class Loaded(NamedTuple):
    """One image of an archive and the full names it got."""

    image: Image
    names: tuple[str, ...]


class Member(NamedTuple):
    """One image in an archive: how skopeo calls it, and its names as the archive has them."""

    source: str
    names: tuple[str, ...]


def save(config: Config, db: Connection, name: str, path: str, *, format: str = "docker-archive") -> None:
    """Write an image to a new file.

    Raises:
        InvalidRequest: unknown format, or the file exists.
        NotFound: no such image.
        RegistryError: it cannot be written.
    """
    if format not in FORMATS:
        raise InvalidRequest(f"unknown format {format!r}", hint=" or ".join(FORMATS))
    if os.path.exists(path):
        raise InvalidRequest(f"{path} exists", hint="write to a new file")
    if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
        raise InvalidRequest(f"no such directory: {os.path.dirname(path)}")
    image = images.get(db, name, default_registry=config.default_registry)
    reference = parse(name, config.default_registry) if not name.startswith("sha256:") else None
    tag = (
        f":{reference.name}" if reference and reference.tag and reference.name in images.tags(db, image.digest) else ""
    )
    target = f"{format}:{os.path.abspath(path)}{tag}"
    keep = ["--preserve-digests"] if format == "oci-archive" else []
    with content.prune_lock(config, shared=True), content.scratch(config) as scratch:
        place = registry.export(config, image, scratch)
        done = spawn.run_tool(skopeo("copy", "--quiet", *keep, place, target, scratch=scratch))
    if done.returncode != 0:
        raise refusals.explain(done.stderr.strip(), parse(target))


def load(
    config: Config, db: Connection, path: str, *, platform: str = "", progress: Progress | None = None
) -> list[Loaded]:
    """Take in all images of an archive or of an OCI directory.

    Args:
        platform: as for a pull; "" is this machine's.

    Raises:
        NotFound: no such file.
        InvalidRequest: neither form.
        RegistryError: as for a pull.
    """
    loaded = []
    for source, names in members(os.path.abspath(path)):
        image = registry.pull(config, db, source, platform=platform, progress=progress)
        full = tuple(parse(name, config.default_registry).name for name in names)
        for name in full:
            images.set_tag(db, name, image.digest)
        if full:
            db.execute("DELETE FROM tag WHERE name=?", (parse(source).name,))
        loaded.append(Loaded(image, full))
    return loaded


def members(path: str) -> list[Member]:
    """What images a file or directory has."""
    if not os.path.exists(path):
        raise NotFound(f"no such file: {path}")
    if ":" in path:
        raise InvalidRequest(f"{path}: a path with a colon cannot be told from a tag", hint="rename it")
    if os.path.isdir(path):
        if not os.path.isfile(f"{path}/index.json"):
            raise InvalidRequest(
                f"{path} is no OCI layout: it has no index.json", hint="skopeo copy … oci:DIR makes one"
            )
        with open(f"{path}/index.json", "rb") as file:
            return oci_members(f"oci:{path}", parse_json(file.read(MAX_MANIFEST_BYTES), path))
    if not os.path.isfile(path):
        raise InvalidRequest(f"{path} is no file", hint="an archive of images, or the directory of an OCI layout")
    documents = read_documents(path)
    if "manifest.json" in documents:
        return docker_members(f"docker-archive:{path}", parse_json(documents["manifest.json"], path))
    if "index.json" in documents:
        return oci_members(f"oci-archive:{path}", parse_json(documents["index.json"], path))
    raise InvalidRequest(f"{path} is no archive of images", hint="docker save or twinhull save write some")


def read_documents(path: str) -> dict[str, bytes]:
    """Return the two lists of contents that an archive may have, wherever in it they lie."""
    found: dict[str, bytes] = {}
    archive = Archive(decompressed(chunks(path)))
    for header in archive:
        name = header.name.removeprefix(b"./").decode("utf-8", "replace")
        if name in ("manifest.json", "index.json") and header.size_bytes <= MAX_MANIFEST_BYTES:
            found[name] = b"".join(map(bytes, archive.body()))
    return found


def chunks(path: str) -> Iterator[bytes]:
    """Give a file's content."""
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def parse_json(content: bytes, path: str) -> Any:
    """Parse a list of contents."""
    try:
        return jsontext.loads(content)
    except (ValueError, RecursionError):
        raise InvalidRequest(f"{path} has a list of contents that is not JSON") from None


def docker_members(source: str, document: Any) -> list[Member]:
    """The images in Docker's manifest.json: a list of {"Config", "RepoTags", "Layers"}."""
    entries = document if isinstance(document, list) else []
    return [
        Member(f"{source}:@{number}" if len(entries) > 1 else source, words(entry.get("RepoTags")))
        for number, entry in enumerate(entries)
        if isinstance(entry, dict)
    ]


def oci_members(source: str, document: Any) -> list[Member]:
    """The images in an OCI index: those with a name by it, a single one also without."""
    entries = [entry for entry in as_dict(document).get("manifests") or () if isinstance(entry, dict)]
    found = []
    for entry in entries:
        name = as_dict(entry.get("annotations")).get(REF_NAME)
        if isinstance(name, str) and name:
            # A bare tag such as "latest" names no image; with it alone nothing can be found again.
            found.append(Member(f"{source}:{name}", (name,) if "/" in name or ":" in name else ()))
        elif len(entries) == 1:
            found.append(Member(source, ()))
    return found


def as_dict(value: Any) -> dict[str, Any]:
    """A JSON object, or an empty one in its place."""
    return value if isinstance(value, dict) else {}


def words(value: Any) -> tuple[str, ...]:
    """The strings of a JSON list."""
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()
