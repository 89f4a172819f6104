"""An image of what a workload has made of its own.

Promise: the new image is the old one with one layer more; until that is whole and synced, nothing is believed.
"""

from __future__ import annotations

import hashlib
import os
import time
import zlib

from twinhull import jsontext
from twinhull.engine import changes, images, tools
from twinhull.engine.state import Home, status
from twinhull.errors import InvalidRequest
from twinhull.host import files
from twinhull.model import Image, Instance, Layer, Request
from twinhull.oci import manifest
from twinhull.oci.reference import parse
from twinhull.store import admission, content, instances
from twinhull.store.archive import chunks
from twinhull.store.transfer import Silent, receive
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

GZIP_LEVEL = 1  # the layer is read by this engine first
# Lists of words in an instruction are JSON, else they are for the shell.
SHELL = ["/bin/sh", "-c"]
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"


class Wish(NamedTuple):
    """What `commit` asks for beside the files. `changes` are instructions of a Dockerfile."""

    name: str = ""
    message: str = ""
    author: str = ""
    changes: tuple[str, ...] = ()
    pause: bool = True


def commit(home: Home, instance: Instance, wish: Wish) -> Image:
    """Make the image and give it its name.

    Raises:
        InvalidRequest: a name or an instruction that is none.
    """
    base = images.of_instance(home, instance)
    names = [parse(wish.name, home.config.default_registry).name] if wish.name else []
    config = described(base, instances.request_from(instance.request), wish)  # says now what is wrong with it
    content.make_directories(home.config)
    with images.unpruned(home), content.scratch(home.config) as scratch:
        layer = write_layer(home, instance, f"{scratch}/layer", freeze=wish.pause)
        with content.fetch_lock(home.config, layer.digest, wait=True):
            unpacked = content.has_layer(home.db, layer.diff_id)
            arriving = chunks(f"{scratch}/layer")
            received = receive(home.config, layer, arriving, Silent(), unpacked=unpacked)
            admission.admit_layer(home.config, home.db, received)
        return admit(home, base, config, layer, wish, names)


def write_layer(home: Home, instance: Instance, path: str, *, freeze: bool) -> Layer:
    """Write the differences as the blob of a layer; what runs stands still meanwhile."""
    ours = changes.hidden(home, instance)
    with tools.conversation_with(home, instance) as conversation:
        running = status(home, instance) == "running"
        rows = changes.different(home, instance, conversation, content=True, freeze=freeze and running)
        return pack(changes.layer_of(changes.kept(rows, ours)), path)


def pack(tar: Iterator[bytes], path: str) -> Layer:
    """Compress a tar into a file, with both digests."""
    inside, outside = hashlib.sha256(), hashlib.sha256()
    packer = zlib.compressobj(GZIP_LEVEL, wbits=31)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        for chunk in compressed(tar, packer, inside):
            outside.update(chunk)
            files.write_all(fd, chunk)
        size = os.fstat(fd).st_size
    finally:
        os.close(fd)
    digest, diff_id = (f"sha256:{one.hexdigest()}" for one in (outside, inside))
    return Layer(digest, diff_id, size, manifest.OCI_LAYER_GZIP)


def compressed(tar: Iterator[bytes], packer: Any, digest: Any) -> Iterator[bytes]:
    """The bytes of the blob."""
    for chunk in tar:
        digest.update(chunk)
        if packed := packer.compress(chunk):
            yield packed
    yield packer.flush()


def admit(home: Home, base: Image, config: dict[str, Any], layer: Layer, wish: Wish, names: list[str]) -> Image:
    """Put config and manifest together and make the image's row."""
    config["rootfs"] = {"type": "layers", "diff_ids": [*(one.diff_id for one in base.layers), layer.diff_id]}
    text = jsontext.dumps(config).encode()
    layers = tuple(one._replace(media_type=oci_type(one.media_type)) for one in (*base.layers, layer))
    parts = tuple(manifest.Descriptor(one.media_type, one.digest, one.size_bytes) for one in layers)
    return admission.admit_image(
        home.config,
        home.db,
        manifest_text=manifest.manifest_document(text, parts),
        config_text=text,
        platform=base.platform,
        layers=layers,
        names=names,
    )


def oci_type(media_type: str) -> str:
    """The word of the OCI's for a layer that Docker has another for; the bytes are the same."""
    return (
        manifest.OCI_LAYER_GZIP if media_type.startswith(DOCKER_LAYER) and media_type.endswith("gzip") else media_type
    )


def described(base: Image, request: Request, wish: Wish) -> dict[str, Any]:
    """The new image's config: the old one's, as the workload was started, with the instructions."""
    document: dict[str, Any] = jsontext.loads(base.config)
    config = document.setdefault("config", None) or {}
    document["config"] = config
    started_as(config, request)
    for text in wish.changes:
        instruct(config, text)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    document["created"] = now
    if wish.author:
        document["author"] = wish.author
    said = {"created": now, "created_by": " ".join(request.command), "author": wish.author, "comment": wish.message}
    history = document.get("history") or []
    document["history"] = [*history, {key: value for key, value in said.items() if value}]
    return document


def started_as(config: dict[str, Any], request: Request) -> None:
    """What the flags of run have changed, kept as Docker keeps it."""
    if request.entrypoint is not None:
        config["Entrypoint"] = list(request.entrypoint) or None
        config["Cmd"] = None
    if request.command:
        config["Cmd"] = list(request.command)
    for entry in request.environment:
        set_variable(config, entry)
    if request.user:
        config["User"] = request.user
    if request.workdir:
        config["WorkingDir"] = request.workdir
    if request.stop_signal:
        config["StopSignal"] = request.stop_signal
    if request.labels:
        config["Labels"] = {**(config.get("Labels") or {}), **dict(request.labels)}


def set_variable(config: dict[str, Any], entry: str) -> None:
    """NAME=VALUE in the place of an earlier one; NAME alone takes it away."""
    name, equals, _ = entry.partition("=")
    others = [one for one in config.get("Env") or () if one.partition("=")[0] != name]
    config["Env"] = [*others, entry] if equals else others


def instruct(config: dict[str, Any], text: str) -> None:
    """Perform one instruction: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR.

    Raises:
        InvalidRequest: another one, or one without what it needs.
    """
    word, _, rest = text.strip().partition(" ")
    name, rest = word.upper(), rest.strip()
    if not rest:
        raise InvalidRequest(f"invalid change {text!r}", hint='as in a Dockerfile: CMD ["nginx"], ENV K=V, USER web')
    if name in ("CMD", "ENTRYPOINT"):
        config["Cmd" if name == "CMD" else "Entrypoint"] = words_of(rest)
    elif name in ("ENV", "LABEL"):
        for key, value in pairs_of(rest, text):
            if name == "ENV":
                set_variable(config, f"{key}={value}")
            else:
                config["Labels"] = {**(config.get("Labels") or {}), key: value}
    elif name in ("EXPOSE", "VOLUME"):
        found = words_of(rest) if rest.startswith("[") else rest.split()
        listed = [one if name == "VOLUME" or "/" in one else f"{one}/tcp" for one in found]
        key = "Volumes" if name == "VOLUME" else "ExposedPorts"
        config[key] = {**(config.get(key) or {}), **{one: {} for one in listed}}
    elif name in ("USER", "WORKDIR", "STOPSIGNAL"):
        config[{"USER": "User", "WORKDIR": "WorkingDir", "STOPSIGNAL": "StopSignal"}[name]] = rest
    else:
        raise InvalidRequest(f"a commit takes no {name}", hint="CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME …")


def words_of(text: str) -> list[str]:
    """A JSON list of words, or a line for the shell."""
    if text.startswith("["):
        try:
            found = jsontext.loads(text)
        except ValueError:
            found = None
        if isinstance(found, list) and all(isinstance(one, str) for one in found):
            return found
    return [*SHELL, text]


def pairs_of(text: str, instruction: str) -> list[tuple[str, str]]:
    """K=V …, with quotes as in a shell; or K V.

    Raises:
        InvalidRequest: neither.
    """
    import shlex

    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InvalidRequest(f"invalid change {instruction!r}: {error}") from None
    if "=" not in words[0]:
        return [(words[0], " ".join(words[1:]))]
    pairs = [word.partition("=") for word in words]
    if not all(equals and key for key, equals, _ in pairs):
        raise InvalidRequest(f"invalid change {instruction!r}", hint="K=V, with quotes around spaces")
    return [(key, value) for key, _, value in pairs]
