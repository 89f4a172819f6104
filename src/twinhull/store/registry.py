"""Pull and push: from any transport that skopeo knows into the store, and back to a registry.

Promise: what `pull` returns is whole, verified and synced; killed at any moment it leaves nothing
that is believed, and the next pull sweeps it away. Layers that are here are not fetched again.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack

from twinhull.config import Config
from twinhull.errors import WITHOUT_ROOT, Conflict, HostUnfit, NotFound, RegistryError
from twinhull.host import files, spawn
from twinhull.model import Image, Layer
from twinhull.oci import manifest, platform
from twinhull.oci.platform import Platform
from twinhull.oci.reference import Reference, is_digest, is_loopback, parse
from twinhull.store import admission, content, embedded, engines, images, refusals
from twinhull.store.proxy import Proxy, ProxyError, reaching, skopeo
from twinhull.store.transfer import Progress, Received, Silent, receive
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqlite3 import Connection

PARALLEL_LAYERS = 3
ALSO_RUNS = {("amd64", "386"), ("arm64", "arm")}  # (this machine, image): the kernel executes both


class Pull(NamedTuple):
    """One pull: what was asked for, and where it goes."""

    config: Config
    db: Connection
    reference: Reference
    wanted: Platform
    explicit: bool  # the user named the platform
    progress: Progress


class Document(NamedTuple):
    """A manifest as it is at its source."""

    digest: str
    content: bytes
    parsed: manifest.Manifest


def pull(config: Config, db: Connection, source: str, *, platform: str = "", progress: Progress | None = None) -> Image:
    """Fetch an image and name it; an image that is here is refreshed.

    Args:
        source: a reference of any transport.
        platform: "" is this machine's.

    Raises:
        InvalidRequest: a bad reference or platform.
        NotFound: no such image, or not for this platform; the hint lists those that exist.
        RegistryError: unreachable, corrupt, hostile, or no room.
    """
    reference = parse(source, config.default_registry)
    task = Pull(config, db, reference, wanted_platform(platform), bool(platform), progress or Silent())
    require_root()
    content.make_directories(config)
    content.sweep(config, db)
    with content.prune_lock(config, shared=True), content.scratch(config) as scratch:
        try:
            place = engines.reachable(reference, scratch)
            with Proxy(task.wanted, scratch, verify_tls=verify_tls(config, reference)) as proxy:
                return fetch(task, proxy, place)
        except ProxyError as error:
            raise explained(task, str(error)) from error


def obtain(config: Config, db: Connection, name: str, *, platform: str = "", progress: Progress | None = None) -> Image:
    """Pull an image that is not here; a name without a registry is looked for in Docker and Podman first.

    Raises:
        As `pull`.
    """
    progress = progress or Silent()
    reference = parse(name, config.default_registry)
    for engine, source in engines.holding(reference) if reference.short else ():
        progress.notice(f"{name}: taken from {engine} on this machine")
        return pull(config, db, source, platform=platform, progress=progress)
    image = pull(config, db, name, platform=platform, progress=progress)
    if reference.short:
        progress.notice(f"{name}: pulled from {reference.domain}")
    return image


def wanted_platform(text: str) -> Platform:
    """The platform asked for, or this machine's."""
    return platform.parse(text) if text else platform.normalise("linux", os.uname().machine)


def require_root() -> None:
    """Owners, devices and overlayfs's attributes need it."""
    if os.geteuid() != 0:
        raise HostUnfit("unpacking an image needs root", hint=WITHOUT_ROOT)


def verify_tls(config: Config, reference: Reference) -> bool:
    """False for registries on this machine and those that the configuration names."""
    return not (is_loopback(reference.domain) or reference.domain in config.insecure_registries)


def fetch(task: Pull, proxy: Proxy, place: str) -> Image:
    """Fetch what is missing and make the row."""
    name = task.reference.familiar
    number = proxy.open(place)
    document = read_manifest(task, proxy, number, place)
    descriptor = document.parsed.config
    if descriptor.size_bytes > manifest.MAX_CONFIG_BYTES:
        raise RegistryError(f"the config of {name} has {descriptor.size_bytes} bytes")
    with proxy.blob(number, descriptor) as chunks:
        config_text = b"".join(chunks)
    if manifest.digest_of(config_text) != descriptor.digest:
        raise content.corrupt(f"config of {name}", descriptor.digest, manifest.digest_of(config_text))
    config = manifest.parse_config(config_text, name)
    check_platform(task, config.platform)
    layers = join_layers(document.parsed, config, name)
    fetch_layers(task, proxy, number, layers)
    return commit(task, document, config_text, config.platform, layers)


def read_manifest(task: Pull, proxy: Proxy, number: int, place: str) -> Document:
    """Return the manifest byte for byte: the proxy converts Docker's to OCI, which has another digest."""
    name = task.reference.familiar
    digest, raw = proxy.manifest(number)
    if not is_digest(digest):
        raise RegistryError(f"skopeo gave {digest!r} as the digest of {name}")
    if manifest.digest_of(raw) != digest:
        if place.startswith("dir:"):
            raw = files.read(f"{place[4:]}/manifest.json")
        elif task.reference.transport == "docker":
            raw = inspect(task, f"docker://{task.reference.repository}@{digest}")
        else:
            raw = inspect(task, place)
    if manifest.digest_of(raw) != digest:
        raise content.corrupt(f"manifest of {name}", digest, manifest.digest_of(raw))
    return Document(digest, raw, manifest.parse_manifest(raw, name))


def inspect(task: Pull, place: str) -> bytes:
    """Return a manifest or index as it is.

    Raises:
        ProxyError: it cannot be had.
    """
    tls = [] if verify_tls(task.config, task.reference) else ["--tls-verify=false"]
    # Only text comes back: a manifest is JSON, and bytes that are no UTF-8 fail its digest.
    done = reaching(lambda: spawn.run_tool(skopeo("inspect", "--raw", *tls, place, platform=task.wanted)))
    if done.returncode != 0:
        raise ProxyError(done.stderr.strip())
    return done.stdout.encode()


class Listed(NamedTuple):
    """The platforms that an image exists for where it comes from, and whether an index there lists them."""

    platforms: tuple[str, ...]
    is_index: bool


def available(config: Config, db: Connection, name: str) -> Listed:
    """The platforms that an image exists for where it comes from.

    Raises:
        NotFound, RegistryError: as `pull`.
    """
    task = Pull(config, db, parse(name, config.default_registry), wanted_platform(""), False, Silent())
    try:
        found = manifest.platforms(inspect(task, task.reference.source), name)
    except ProxyError as error:
        raise explained(task, str(error)) from error
    if found:
        return Listed(tuple(map(str, found)), True)
    image = images.find(db, name, default_registry=config.default_registry)
    return Listed((image.platform,) if image else (), False)


def explained(task: Pull, text: str) -> Exception:
    """The error for what skopeo says; one about the platform lists those there are."""
    if refusals.is_about_platform(text):
        try:
            listed = manifest.platforms(inspect(task, task.reference.source), task.reference.familiar)
        except (ProxyError, RegistryError):
            listed = ()
        hint = f"it exists for {', '.join(map(str, listed))}" if listed else ""
        return NotFound(f"{task.reference.familiar} has no image for {task.wanted}", hint=hint)
    return refusals.explain(text, task.reference, platform=str(task.wanted) if task.explicit else "")


def check_platform(task: Pull, found: Platform) -> None:
    """Refuse an image that this machine cannot execute, unless it was asked for."""
    if not found.architecture or platform.runs(task.wanted, found):
        return
    if not task.explicit and (task.wanted.architecture, found.architecture) in ALSO_RUNS and found.os == "linux":
        return
    name = task.reference.familiar
    hint = f"it exists for {found}" if task.explicit else f"--platform {found} fetches it all the same"
    raise NotFound(f"wrong architecture: {name} is for {found}, not {task.wanted}", hint=hint)


def join_layers(parsed: manifest.Manifest, config: manifest.ImageConfig, name: str) -> tuple[Layer, ...]:
    """Match the manifest's blobs with the config's tars.

    Raises:
        RegistryError: not one for one.
    """
    if len(parsed.layers) != len(config.diff_ids):
        raise RegistryError(f"{name} has {len(parsed.layers)} layers, but its config speaks of {len(config.diff_ids)}")
    joined = tuple(
        Layer(layer.digest, diff_id, layer.size_bytes, layer.media_type)
        for layer, diff_id in zip(parsed.layers, config.diff_ids, strict=True)
    )
    if len({(layer.digest, layer.diff_id) for layer in joined}) != len({layer.digest for layer in joined}):
        raise RegistryError(f"{name} has one layer with two contents")
    return joined


def fetch_layers(task: Pull, proxy: Proxy, number: int, layers: tuple[Layer, ...]) -> None:
    """Fetch the layers that are missing; those that another command fetches are waited for."""
    waiting = list({layer.digest: layer for layer in layers}.values())
    missing = [layer for layer in waiting if is_missing(task.db, layer)]
    for layer in waiting:
        if layer not in missing:
            task.progress.present(layer.digest)
    while missing:
        with ExitStack() as held:
            mine = [layer for layer in take_locks(task.config, missing, held) if is_missing(task.db, layer)]
            receive_all(task, proxy, number, mine)
        missing = [layer for layer in missing if is_missing(task.db, layer)]


def is_missing(db: Connection, layer: Layer) -> bool:
    """True unless both the blob and what it unpacks to are here."""
    return not (content.has_blob(db, layer.digest) and content.has_layer(db, layer.diff_id))


def take_locks(config: Config, layers: list[Layer], held: ExitStack) -> list[Layer]:
    """Take the locks that are free; wait for one only when holding none, so that two pulls cannot wait in a ring."""
    mine = []
    for layer in layers:
        try:
            held.enter_context(content.fetch_lock(config, layer.digest, wait=False))
            mine.append(layer)
        except Conflict:
            continue
    if not mine:
        held.enter_context(content.fetch_lock(config, layers[0].digest, wait=True))
        return layers[:1]
    return mine


def receive_all(task: Pull, proxy: Proxy, number: int, layers: list[Layer]) -> None:
    """Receive layers in parallel; each is believed as soon as it is whole, also when another fails."""
    pool = ThreadPoolExecutor(PARALLEL_LAYERS)
    jobs = {pool.submit(receive_one, task, proxy, number, layer, known(task, layer)) for layer in layers}
    try:
        for job in as_completed(jobs):
            admission.admit_layer(task.config, task.db, job.result())
            jobs.remove(job)
    except BaseException:
        proxy.child.kill()  # ends the pipes that the other threads read
        pool.shutdown(cancel_futures=True)
        for job in jobs:
            if not job.cancelled() and job.exception() is None:
                admission.admit_layer(task.config, task.db, job.result())
        raise
    pool.shutdown()


def known(task: Pull, layer: Layer) -> bool:
    """True if the layer's tar is here, from another compression of it."""
    return content.has_layer(task.db, layer.diff_id)


def receive_one(task: Pull, proxy: Proxy, number: int, layer: Layer, unpacked: bool) -> Received:
    """Receive one layer; runs in a thread of its own and touches no database."""
    blob = manifest.Descriptor(layer.media_type, layer.digest, layer.size_bytes)
    with proxy.blob(number, blob) as chunks:
        return receive(task.config, layer, chunks, task.progress, unpacked=unpacked)


def commit(task: Pull, document: Document, config_text: bytes, found: Platform, layers: tuple[Layer, ...]) -> Image:
    """Make the image believed, under its names."""
    full_names = names(task.reference)
    image = admission.admit_image(
        task.config,
        task.db,
        manifest_text=document.content,
        config_text=config_text,
        platform=str(found if found.architecture else task.wanted),
        layers=layers,
        names=full_names,
    )
    embedded.give_way(task.db, full_names)
    return image


def names(reference: Reference) -> list[str]:
    """Under which names an image is kept. One from another engine has the engine's plain name too."""
    return [images.kept_name(reference), *engines.plain_names(reference)]


def push(config: Config, db: Connection, name: str, target: str = "", *, progress: Progress | None = None) -> str:
    """Send an image to a registry, byte for byte; return the digest it has there.

    Args:
        target: where to, if not where `name` says.

    Raises:
        NotFound: it is not here.
        RegistryError: unreachable, or it refuses.
    """
    image = images.get(db, name, default_registry=config.default_registry)
    reference = parse(target or name, config.default_registry)
    tls = [] if verify_tls(config, reference) else ["--dest-tls-verify=false"]
    (progress or Silent()).notice(f"pushing to {reference.name}")
    with content.prune_lock(config, shared=True), content.scratch(config) as scratch:
        place = export(config, image, scratch)
        words = ["copy", "--quiet", "--preserve-digests", *tls, place, reference.source]
        done = reaching(lambda: spawn.run_tool(skopeo(*words, scratch=scratch)))
    if done.returncode != 0:
        raise refusals.explain(done.stderr.strip(), reference, pushing=True)
    return image.digest


def export(config: Config, image: Image, scratch: str) -> str:
    """Give an image as a directory in skopeo's `dir:` format, made of links to what is kept."""
    directory = f"{scratch}/image"
    os.mkdir(directory, 0o700)
    for digest in {image.config_digest, *(layer.digest for layer in image.layers)}:
        os.link(content.blob_path(config, digest), f"{directory}/{content.hex_of(digest)}")
    os.link(content.blob_path(config, image.digest), f"{directory}/manifest.json")
    files.write(f"{directory}/version", b"Directory Transport Version: 1.1\n")
    return f"dir:{directory}"
