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
from twinhull.store import embedded, images, registry

MAX_PLATFORMS = 8


def image_facts(engine: Engine, reference: str) -> ImageFacts:
    """Fetch the image if need be and describe it."""
    image = engine.image(reference)
    found, source = listed_platforms(engine, image)
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
    return ImageFacts(reference, platforms=shortened(found), platforms_source="its index")


def listed_platforms(engine: Engine, image: Image) -> tuple[tuple[str, ...], str]:
    """Ask the registry of the image's name; what did not come from one exists for its own platform."""
    for name in images.tags(engine.home.db, image.digest):
        if embedded.is_meant(engine.home.db, name):
            continue
        try:
            found = registry.available(engine.config, engine.home.db, name)
        except TwinhullError:
            continue
        if found:
            return shortened(found), f"index of {name.partition('/')[0]}"
    return (image.platform,), "the image here"


def shortened(platforms: tuple[str, ...]) -> tuple[str, ...]:
    """No attestations, and no more than a reader wants to see."""
    real = [name for name in dict.fromkeys(platforms) if "unknown" not in name]
    more = len(real) - MAX_PLATFORMS
    return (*real[:MAX_PLATFORMS], *((f"{more} more",) if more > 0 else ()))


def guest_kernel_bytes(state: str) -> int:
    """The size of the kernel that guests boot from, with its modules; 0 while there is none."""
    from twinhull.runtime.kernel import cached

    kernel = cached(f"{state}/kernels")
    return memory.disk_bytes(kernel.directory) if kernel else 0


def exposed_port(engine: Engine, reference: str) -> int:
    """The lowest TCP port that the image says it listens on; 0 for none."""
    config = json.loads(engine.image(reference).config).get("config") or {}
    named = (str(name).partition("/")[::2] for name in config.get("ExposedPorts") or {})
    return min((int(port) for port, protocol in named if port.isdigit() and protocol in ("", "tcp")), default=0)
