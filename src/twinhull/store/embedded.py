"""The default image: Debian's static busybox as an OCI image, assembled here without any network.

Promise: the same busybox gives the same image, digest for digest. The plain word "busybox" means it
only while nothing else of that name was pulled.
"""

from __future__ import annotations

import os
import zlib

from twinhull import jsontext
from twinhull.config import Config
from twinhull.errors import WITHOUT_ROOT, HostUnfit
from twinhull.host import files, spawn
from twinhull.model import Image, Layer
from twinhull.oci import manifest, platform
from twinhull.oci.reference import parse
from twinhull.oci.tar import BLOCK_BYTES
from twinhull.store import admission, content, images
from twinhull.store.transfer import Progress, Silent, receive
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from sqlite3 import Connection

NAME = "docker.io/twinhull/busybox:latest"
PLAIN, PLAIN_REPOSITORY = "busybox", "docker.io/library/busybox"
NOTICE = "busybox is the embedded image twinhull/busybox; twinhull pull busybox gets Docker's"
BUSYBOX = "/bin/busybox"
LOADERS = (b"/ld-linux", b"/ld-musl")  # what PT_INTERP of a program that is not static names
HEAD_BYTES = 4096
COMPRESSION = 1  # 2 MB in 25 ms; 6 takes four times as long for a tenth less
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DIRECTORIES = {
    **dict.fromkeys(("bin", "dev", "etc", "home", "proc", "sys", "usr", "usr/bin", "var", "var/spool"), 0o755),
    "root": 0o700,
    "tmp": 0o1777,
    "var/tmp": 0o1777,
}
ETC = {
    "group": "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\ntty:x:5:\nwww-data:x:33:\nusers:x:100:\nnogroup:x:65534:\n",
    "passwd": "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
    "www-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
}


def is_meant(db: Connection, name: str) -> bool:
    """True if `name` means the embedded image: its own name always, "busybox" while none was pulled."""
    if parse(name).name == NAME:
        return True
    return name == PLAIN and not images.any_of_repository(db, PLAIN_REPOSITORY)


def obtain(config: Config, db: Connection, name: str, *, progress: Progress | None = None) -> Image:
    """Return the image under a name that means it; said once if that is not its own.

    The plain name becomes a tag, so that the next run finds it with one query; a pull of any other
    busybox takes it away again (`give_way`).
    """
    image = ensure(config, db)
    if name == PLAIN:
        images.set_tag(db, parse(name, config.default_registry).name, image.digest)
        (progress or Silent()).notice(NOTICE)
    return image


def give_way(db: Connection, pulled: Sequence[str]) -> None:
    """Let the plain word mean nothing when another busybox was pulled."""
    if any(name.startswith(f"{PLAIN_REPOSITORY}{mark}") for name in pulled for mark in ":@"):
        own = "SELECT digest FROM tag WHERE name=?"
        db.execute(f"DELETE FROM tag WHERE name=? AND digest=({own})", (f"{PLAIN_REPOSITORY}:latest", NAME))


def ensure(config: Config, db: Connection) -> Image:
    """Return the image, made if it is not here.

    Raises:
        HostUnfit: no static busybox, or not root.
    """
    if image := images.find(db, NAME):
        return image
    if os.geteuid() != 0:
        raise HostUnfit("unpacking an image needs root", hint=WITHOUT_ROOT)
    content.make_directories(config)
    with content.prune_lock(config, shared=True), content.fetch_lock(config, "embedded", wait=True):
        return images.find(db, NAME) or make(config, db)


class Parts(NamedTuple):
    """What the image is assembled from: its one layer as a blob, and its documents."""

    blob: bytes
    layer: Layer
    platform: str
    config_text: bytes
    manifest_text: bytes


def assemble() -> Parts:
    """Put the parts together, in memory.

    Raises:
        HostUnfit: no static busybox.
    """
    tar = b"".join(archive(read_busybox(), applets()))
    blob = gzipped(tar)
    layer = Layer(manifest.digest_of(blob), manifest.digest_of(tar), len(blob), manifest.OCI_LAYER_GZIP)
    here = platform.normalise("linux", os.uname().machine)
    text = config_document(here, layer.diff_id)
    described = manifest.Descriptor(layer.media_type, layer.digest, layer.size_bytes)
    return Parts(blob, layer, str(here), text, manifest.manifest_document(text, (described,)))


def describe() -> Image:
    """Return the image without keeping anything: what a plan needs, and what can be had without root."""
    parts = assemble()
    return Image(
        digest=manifest.digest_of(parts.manifest_text),
        config_digest=manifest.digest_of(parts.config_text),
        platform=parts.platform,
        config=parts.config_text.decode(),
        layers=(parts.layer,),
        size_bytes=0,
        passwd=ETC["passwd"],
        group=ETC["group"],
    )


def make(config: Config, db: Connection) -> Image:
    """Assemble the image as if it had been pulled."""
    parts = assemble()
    digest, diff_id = parts.layer.digest, parts.layer.diff_id
    with content.fetch_lock(config, digest, wait=True):
        if not (content.has_blob(db, digest) and content.has_layer(db, diff_id)):
            unpacked = content.has_layer(db, diff_id)
            received = receive(config, parts.layer, iter((parts.blob,)), Silent(), unpacked=unpacked)
            admission.admit_layer(config, db, received)
    return admission.admit_image(
        config,
        db,
        manifest_text=parts.manifest_text,
        config_text=parts.config_text,
        platform=parts.platform,
        layers=(parts.layer,),
        names=[NAME],
    )


def read_busybox() -> bytes:
    """Return the program.

    Raises:
        HostUnfit: it is missing, or needs libraries that the image does not have.
    """
    hint = "apt-get install busybox-static"
    try:
        program = files.read(BUSYBOX)
    except FileNotFoundError:
        raise HostUnfit(f"{BUSYBOX}, which the embedded image is made of, is missing", hint=hint) from None
    if any(loader in program[:HEAD_BYTES] for loader in LOADERS):
        raise HostUnfit(f"{BUSYBOX} is not static: the embedded image needs one that is", hint=hint)
    return program


def applets() -> list[str]:
    """The names under which busybox knows what to do."""
    listed = spawn.run_tool([BUSYBOX, "--list"]).stdout.split()
    return sorted(name for name in listed if name != "busybox" and "/" not in name)


def archive(program: bytes, names: list[str]) -> Iterator[bytes]:
    """Give the tar: directories, accounts, the program, and a link for each of its names."""
    for path, mode in DIRECTORIES.items():
        yield header(f"{path}/", "5", mode)
    for name, text in ETC.items():
        yield from file(f"etc/{name}", text.encode(), 0o644)
    yield from file("bin/busybox", program, 0o755)
    for name in names:
        yield header(f"bin/{name}", "2", 0o777, link="busybox")
    yield header("usr/bin/env", "2", 0o777, link="../../bin/busybox")  # where scripts look for it
    yield bytes(2 * BLOCK_BYTES)


def file(name: str, text: bytes, mode: int) -> Iterator[bytes]:
    """Give a file's header and its content in whole blocks."""
    yield header(name, "0", mode, size=len(text))
    yield text
    yield bytes(-len(text) % BLOCK_BYTES)


def header(name: str, kind: str, mode: int, *, size: int = 0, link: str = "") -> bytes:
    """A ustar header of a short name, of root's, of 1970: nothing in it depends on when or where."""
    head = f"{name:\0<100}{mode:07o}\0{0:07o}\0{0:07o}\0{size:011o}\0{0:011o}\0"
    tail = f"{kind}{link:\0<100}ustar\0" + f"00{'root':\0<32}{'root':\0<32}{0:07o}\0{0:07o}\0{'':\0<167}"
    total = sum((head + tail).encode()) + 8 * 32
    return f"{head}{total:06o}\0 {tail}".encode()


def gzipped(content: bytes) -> bytes:
    """Compress without a time or a name in the header."""
    packer = zlib.compressobj(COMPRESSION, wbits=31)
    return packer.compress(content) + packer.flush()


def config_document(here: platform.Platform, diff_id: str) -> bytes:
    """The image's config."""
    document = {
        "architecture": here.architecture,
        "os": here.os,
        **({"variant": here.variant} if here.variant else {}),
        "created": "1970-01-01T00:00:00Z",
        "config": {"Env": [PATH], "Cmd": ["sh"], "Labels": {"org.opencontainers.image.title": "twinhull/busybox"}},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "twinhull: busybox-static"}],
    }
    return jsontext.dumps(document, compact=True).encode()
