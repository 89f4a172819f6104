"""An image's root as overlayfs wants it: names of unpacked layers, relative to one directory.

Promise: no name twice. The kernel refuses a stack with the same directory in two places (ELOOP);
what a layer says where it lies highest hides what it says further down, so the upper one stays.
"""

from __future__ import annotations

from twinhull.config import Config
from twinhull.errors import NotFound
from twinhull.model import Image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqlite3 import Connection


def lower(config: Config, db: Connection, image: Image) -> tuple[str, str]:
    """Return (directory of all layers, "17:12:3" with the top one first).

    Raises:
        NotFound: a layer is gone.
    """
    return f"{config.state}/layers", ":".join(map(str, layer_ids(db, image)))


def layer_ids(db: Connection, image: Image) -> list[int]:
    """Numbers of the image's layers, top first, each once."""
    wanted = list(dict.fromkeys(layer.diff_id for layer in reversed(image.layers)))
    query = f"SELECT diff_id, id FROM layer WHERE diff_id IN ({','.join('?' * len(wanted))})"
    found = dict(db.execute(query, wanted).fetchall())
    if len(found) < len(wanted):
        raise NotFound(f"a layer of the image {image.digest[7:19]} is gone", hint="pull the image again")
    return [found[diff_id] for diff_id in wanted]
