"""From a word the user wrote to an image that is here."""

from __future__ import annotations

from twinhull.engine.state import Home
from twinhull.errors import InvalidRequest, NotFound
from twinhull.host import locks
from twinhull.model import Image, Instance
from twinhull.scopes import contextmanager
from twinhull.store import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from twinhull.store.transfer import Progress

# What a machine is started from: its disk is in its request.
NO_IMAGE = Image("", "", "", "{}", (), 0)
PULL_CHOICES = ("always", "missing", "never")


def resolve(
    home: Home, reference: str, *, platform: str = "", pull: str = "missing", progress: Progress | None = None
) -> Image:
    """Return the image, pulling it if it is not here and may be.

    A directory or an archive is its own truth: one that was read before may have changed, so it is read
    again, which costs little when its layers are here.

    Raises:
        NotFound: it is nowhere, or not here and `pull` is never.
    """
    if not isinstance(reference, str):
        raise InvalidRequest(f"an image is named by a text, not {reference!r}", hint='"busybox"')
    if pull not in PULL_CHOICES:
        raise InvalidRequest(f"--pull {pull}", hint="always, missing or never")
    image = (
        images.find(home.db, reference, platform=platform, default_registry=home.config.default_registry)
        if pull == "never" or (pull == "missing" and not images.is_file(reference))
        else None
    )
    if image is not None:
        return image
    from twinhull.store import embedded, registry

    if pull != "always" and not platform and embedded.is_meant(home.db, reference):
        return embedded.obtain(home.config, home.db, reference, progress=home.progress)
    if pull == "never":
        raise NotFound(f"no such image here: {reference}", hint=f"twinhull pull {reference}")
    return registry.obtain(home.config, home.db, reference, platform=platform, progress=home.progress)


@contextmanager
def unpruned(home: Home) -> Iterator[None]:
    """Hold the lock that keeps images from being removed: from finding one until its workload's row is in."""
    with locks.locked(f"{home.config.run}/prune.lock", shared=True):
        yield


def of_instance(home: Home, instance: Instance) -> Image:
    """The image a workload was made from.

    Raises:
        NotFound: somebody forced it away.
    """
    if instance.isolation == "machine":
        return NO_IMAGE
    image = images.by_digest(home.db, instance.image_digest)
    if image is None:
        raise NotFound(f"the image {instance.image} of {instance.name} is gone", hint=f"twinhull pull {instance.image}")
    return image
