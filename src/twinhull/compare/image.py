"""What is known of the image under comparison: its size, and the platforms it exists for.

Promise: a list of platforms names where it was seen; a registry that does not answer is a short list,
not an error.
"""

from __future__ import annotations

import json

from twinhull.compare.findings import ImageFacts
from twinhull.engine import Engine
from twinhull.errors import TwinhullError
from twinhull.host import memory
from twinhull.model import Image
from twinhull.oci.reference import parse
from twinhull.store import embedded, images, registry

MAX_PLATFORMS = 8


def image_facts(engine: Engine, reference: str) -> ImageFacts:
    """Fetch the image if need be and describe it."""
    image = engine.image(reference)
    found, source = listed_platforms(engine, reference, image)
    return ImageFacts(
        reference=reference,
        digest=image.digest,
        platform=image.platform,
        transfer_bytes=image.size_bytes,
        platforms=found,
        platforms_source=source,
    )


def facts_without_root(engine: Engine, reference: str) -> ImageFacts:
    """What can be known of an image that cannot be unpacked: it is here, or its registry lists its platforms."""
    here = images.find(engine.home.db, reference)
    if here:
        return ImageFacts(reference, here.digest, here.platform, here.size_bytes, platforms=(here.platform,))
    if embedded.is_meant(engine.home.db, reference):
        return ImageFacts(reference, platforms_source="made here, from this machine's busybox")
    try:
        found = registry.available(engine.config, engine.home.db, reference)
    except TwinhullError as error:
        return ImageFacts(reference, platforms_source=error.message)
    source = "its index" if found.is_index else "its manifest"
    return ImageFacts(reference, platforms=shortened(found.platforms), platforms_source=source)


def listed_platforms(engine: Engine, reference: str, image: Image) -> tuple[tuple[str, ...], str]:
    """Ask where this reference comes from, whatever else the image is called.

    What was made here, or was named by its id, exists for its own platform.
    """
    here, db = ((image.platform,), "the image here"), engine.home.db
    name = parse(reference, engine.config.default_registry)
    if embedded.is_meant(db, reference) or images.kept_name(name) not in images.tags(db, image.digest):
        return here
    try:
        found = registry.available(engine.config, db, reference)
    except TwinhullError:
        return here
    kind = "an index" if found.is_index else "one manifest"
    return (shortened(found.platforms), f"{kind} at {name.domain or name.transport}") if found.platforms else here


def shortened(platforms: tuple[str, ...]) -> tuple[str, ...]:
    """No attestations, and no more than a reader wants to see."""
    real = [name for name in dict.fromkeys(platforms) if "unknown" not in name]
    more = len(real) - MAX_PLATFORMS
    return (*real[:MAX_PLATFORMS], *((f"{more} more",) if more > 0 else ()))


def guest_kernel_bytes(state: str, platform: str = "") -> int:
    """The size of the kernel that guests of a platform boot from, with its modules; 0 while there is none."""
    from twinhull.engine import foreign
    from twinhull.runtime.kernel import cached

    architecture = foreign.guest_of(platform)
    kernel = cached(f"{state}/kernels{f'-{architecture}' if architecture else ''}")
    return memory.disk_bytes(kernel.directory) if kernel else 0


def exposed_port(engine: Engine, reference: str) -> int:
    """The lowest TCP port that the image says it listens on; 0 for none."""
    config = json.loads(engine.image(reference).config).get("config") or {}
    named = (str(name).partition("/")[::2] for name in config.get("ExposedPorts") or {})
    return min((int(port) for port, protocol in named if port.isdigit() and protocol in ("", "tcp")), default=0)
