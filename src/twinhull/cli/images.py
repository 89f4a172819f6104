"""images, pull, push, tag, save, load, rmi: what is here, and how it comes and goes."""

from __future__ import annotations

import os
import sys
import time
from stat import S_ISFIFO

from twinhull.cli.arguments import add_format
from twinhull.cli.control import each
from twinhull.cli.progress import prepared
from twinhull.cli.render import document, duration, size, table, timestamp
from twinhull.errors import InvalidRequest
from twinhull.host.files import write_all
from twinhull.scopes import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config
    from twinhull.store.images import Listed

SHORT_ID = 12
CHUNK_BYTES = 1 << 20


def configure_images(parser: Parser) -> None:
    """Flags of images."""
    parser.add_argument("-q", "--quiet", action="store_true", help="only ids")
    parser.add_argument("--no-trunc", action="store_true", help="ids in full")
    add_format(parser)


def run_images(arguments: Arguments, config: Config) -> int:
    """List images."""
    from twinhull.store import images

    listed = images.everything(prepared(config).home.db)
    if arguments.format == "json":
        print(document([described(row) for row in listed]))
        return 0
    width = None if arguments.no_trunc else SHORT_ID
    if arguments.quiet:
        for identity in dict.fromkeys(row.image.config_digest.partition(":")[2][:width] for row in listed):
            print(identity)
        return 0
    rows = [
        (
            images.short_name(row),
            row.image.config_digest.partition(":")[2][:width],
            row.image.platform,
            duration(time.time() - row.created) + " ago",
            size(row.image.size_bytes),
        )
        for row in listed
    ]
    print(table(("NAME", "ID", "PLATFORM", "PULLED", "SIZE"), rows))
    return 0


def described(row: Listed) -> dict[str, object]:
    """An image for programs."""
    return {
        "name": row.name,
        "id": row.image.config_digest,
        "digest": row.image.digest,
        "platform": row.image.platform,
        "pulled": timestamp(row.created),
        "size_bytes": row.image.size_bytes,
        "layers": [layer.digest for layer in row.image.layers],
    }


def configure_pull(parser: Parser) -> None:
    """Flags of pull."""
    parser.add_argument("-q", "--quiet", action="store_true", help="print only the id")
    parser.add_argument("--platform", default="", help="os/architecture[/variant]")
    parser.add_argument(
        "image",
        metavar="IMAGE",
        help="a name, docker://NAME, oci:DIR, docker-archive:FILE, oci-archive:FILE, docker-daemon:NAME, …",
    )


def run_pull(arguments: Arguments, config: Config) -> int:
    """Fetch, and print the id."""
    from twinhull.oci.reference import parse
    from twinhull.store import embedded, registry

    home = prepared(config, quiet=arguments.quiet).home
    if parse(arguments.image).name == embedded.NAME:
        image = embedded.ensure(home.config, home.db)
    else:
        image = registry.pull(
            home.config, home.db, arguments.image, platform=arguments.platform, progress=home.progress
        )
    print(image.config_digest)
    return 0


def configure_push(parser: Parser) -> None:
    """Flags of push."""
    parser.add_argument("-q", "--quiet", action="store_true", help="print only the digest")
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("target", metavar="TARGET", nargs="?", default="", help="where to, if not where IMAGE says")


def run_push(arguments: Arguments, config: Config) -> int:
    """Send, and print the digest it has there."""
    from twinhull.store import registry

    home = prepared(config, quiet=arguments.quiet).home
    print(registry.push(home.config, home.db, arguments.image, arguments.target, progress=home.progress))
    return 0


def configure_tag(parser: Parser) -> None:
    """Flags of tag."""
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("name", metavar="NAME")


def run_tag(arguments: Arguments, config: Config) -> int:
    """Give one more name."""
    home = prepared(config).home
    from twinhull.engine.images import resolve
    from twinhull.store import images
    from twinhull.store.db import transaction

    resolve(home, arguments.image, pull="never")
    with transaction(home.db):
        images.tag(home.db, arguments.image, arguments.name, default_registry=config.default_registry)
    return 0


def configure_save(parser: Parser) -> None:
    """Flags of save."""
    parser.add_argument("-o", "--output", default="", metavar="FILE", help="the file to write (default: stdout)")
    parser.add_argument(
        "--archive", choices=("docker-archive", "oci-archive"), default="docker-archive", help="its format"
    )
    parser.add_argument("image", metavar="IMAGE")


def run_save(arguments: Arguments, config: Config) -> int:
    """Write an image to a file."""
    from twinhull.engine.images import resolve
    from twinhull.store import archive

    home = prepared(config).home
    if not arguments.output and os.isatty(1):
        raise InvalidRequest("an archive is not for a terminal", hint="twinhull save -o FILE IMAGE, or > FILE")
    resolve(home, arguments.image, pull="never")
    if arguments.output:
        archive.save(home.config, home.db, arguments.image, arguments.output, format=arguments.archive)
        return 0
    with spooled(config) as path:
        archive.save(home.config, home.db, arguments.image, path, format=arguments.archive)
        copy(os.open(path, os.O_RDONLY | os.O_CLOEXEC), 1)
    return 0


@contextmanager
def spooled(config: Config) -> Iterator[str]:
    """Give a name in the store for an archive on its way through a pipe."""
    from twinhull.store import content

    content.make_directories(config)
    with content.scratch(config) as directory:
        yield f"{directory}/archive"


def whole(config: Config, path: str) -> str:
    """Return where an archive can be read more than once; of stdin ("") and of a pipe that is a copy."""
    if not path:
        return received(config, 0)
    if os.path.exists(path) and S_ISFIFO(os.stat(path).st_mode):
        return received(config, os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    return path


def received(config: Config, source: int) -> str:
    """Take all of a stream into a file without a name; return a path to it that holds while this process lives."""
    fd = os.open(config.state, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    copy(source, fd)
    return f"/proc/{os.getpid()}/fd/{fd}"


def copy(source: int, target: int) -> None:
    """Copy everything from one descriptor to another."""
    while part := os.read(source, CHUNK_BYTES):
        write_all(target, part)


def configure_load(parser: Parser) -> None:
    """Flags of load."""
    parser.add_argument(
        "-i", "--input", default="", metavar="FILE", help="an archive or OCI directory (default: stdin)"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    parser.add_argument("--platform", default="", help="os/architecture[/variant]")


def run_load(arguments: Arguments, config: Config) -> int:
    """Read images from a file; print their names."""
    from twinhull.store import archive

    home = prepared(config, quiet=arguments.quiet).home
    if not arguments.input and os.isatty(0):
        raise InvalidRequest("no archive to read", hint="twinhull load -i FILE, or < FILE")
    path = whole(config, arguments.input)
    loaded = archive.load(home.config, home.db, path, platform=arguments.platform, progress=home.progress)
    if not loaded:
        raise InvalidRequest(f"{arguments.input or 'stdin'} holds no image", hint="twinhull save writes one")
    for one in loaded:
        print("\n".join(one.names) if one.names else one.image.config_digest)
    return 0


def configure_rmi(parser: Parser) -> None:
    """Flags of rmi."""
    parser.add_argument("-f", "--force", action="store_true", help="all names of an id; also while workloads use it")
    parser.add_argument("names", nargs="+", metavar="IMAGE")


def run_rmi(arguments: Arguments, config: Config) -> int:
    """Delete names, and images with their last one."""
    from twinhull.store import removal

    engine = prepared(config)
    engine.reconcile(everything=True)

    def remove(name: str) -> None:
        removed = removal.remove(config, engine.home.db, name, force=arguments.force)
        for text in removed.untagged:
            print(f"untagged: {text}")
        if removed.deleted:
            print(f"deleted: {removed.deleted}")
        sys.stdout.flush()

    return each(arguments.names, remove, show=False)
