"""From layers on the disk to an image that is believed.

Promise: rows come last and an image's at the very end, in one transaction with its names.
"""

from __future__ import annotations

import time

from twinhull.config import Config
from twinhull.model import Image, Layer
from twinhull.oci import manifest
from twinhull.store import accounts, content, images, snapshot
from twinhull.store import db as database
from twinhull.store.transfer import Received

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqlite3 import Connection


def admit_layer(config: Config, db: Connection, received: Received) -> None:
    """Make a layer believed: its directory gets its number, directory and blob get their rows."""
    layer = received.layer
    if received.path:
        content.publish_layer(config, db, received.path, layer.diff_id, received.size_bytes)
    content.believe_blob(db, layer.digest, layer.size_bytes)


def admit_image(
    config: Config,
    db: Connection,
    *,
    manifest_text: bytes,
    config_text: bytes,
    platform: str,
    layers: tuple[Layer, ...],
    names: list[str],
) -> Image:
    """Keep both documents, make the image's row and give it its full names."""
    for text in (config_text, manifest_text):
        content.add_blob(config, db, text)
    image = Image(
        digest=manifest.digest_of(manifest_text),
        config_digest=manifest.digest_of(config_text),
        platform=platform,
        config=config_text.decode("utf-8", "replace"),
        layers=layers,
        size_bytes=unpacked_size(db, layers),
    )
    numbers = snapshot.layer_ids(db, image)
    users = accounts.read(f"{config.state}/layers", numbers)
    image = image._replace(passwd=users.passwd, group=users.group)
    with database.transaction(db):
        images.insert(db, image, time.time())
        for name in names:
            images.set_tag(db, name, image.digest)
    return image


def unpacked_size(db: Connection, layers: tuple[Layer, ...]) -> int:
    """Bytes of the files in all layers."""
    query = "SELECT size_bytes FROM layer WHERE diff_id=?"
    return sum(db.execute(query, (diff_id,)).fetchone()[0] for diff_id in {layer.diff_id for layer in layers})
