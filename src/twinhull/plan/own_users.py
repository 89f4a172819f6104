"""The user namespace of a user without root in which a bundle's container is made, the bundle's own below it. Pure.

Its numbers are the host's, so that the maps of the spec mean in it what they say.
"""

from __future__ import annotations

from twinhull.errors import InvalidRequest
from twinhull.plan.ops import Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Rows = Sequence[Mapping[str, int]]

MAPPINGS = ("uidMappings", "gidMappings")


def own_users(spec: Mapping[str, Any], uid: int, gid: int) -> tuple[Op, Mapping[str, Any]]:
    """Return the op that goes there, and the spec as it is seen from there.

    A user namespace that the spec joins is gone to at once: no other namespace of a user's leads there.

    Raises:
        InvalidRequest: the spec has none, or asks for more than one number allows.
    """
    linux = spec.get("linux") or {}
    users = [row for row in linux.get("namespaces") or () if row.get("type") == "user"]
    if not users:
        raise InvalidRequest(
            "linux.namespaces: a rootless container requires user namespaces: add one, with mappings of your own "
            "number, as spec --rootless does"
        )
    if path := users[0].get("path"):
        others = [row for row in linux["namespaces"] if row.get("type") != "user"]
        rest = {key: value for key, value in linux.items() if key not in MAPPINGS}
        return Op("own-users", (path, "", "")), {**spec, "linux": {**rest, "namespaces": others}}
    owned = ((linux.get("uidMappings") or (), uid), (linux.get("gidMappings") or (), gid))
    if not all(is_himself(rows, own) for rows, own in owned):
        return Op("own-users", ("", "", "")), spec
    refuse_groups(spec)
    return Op("own-users", ("", *(f"{own} {own} 1\n" for _, own in owned))), spec


def is_himself(rows: Rows, own: int) -> bool:
    """True for a map that a process may write without help: one number, its own."""
    return len(rows) == 1 and (rows[0].get("hostID"), rows[0].get("size")) == (own, 1)


def refuse_groups(spec: Mapping[str, Any]) -> None:
    """With one number there are no other groups to be in."""
    if ((spec.get("process") or {}).get("user") or {}).get("additionalGids"):
        raise InvalidRequest("process.user.additionalGids: not where the bundle maps your own number alone")


def outer_words(rows: Rows, own: int) -> list[str]:
    """What newuidmap(1) takes for the outer namespace: the rows' numbers and the user's own, as themselves."""
    words = [word for row in rows for word in (str(row["hostID"]), str(row["hostID"]), str(row["size"]))]
    if not any(row["hostID"] <= own < row["hostID"] + row["size"] for row in rows):
        words += [str(own), str(own), "1"]
    return words


def rows_of(words: Sequence[str]) -> list[dict[str, int]]:
    """Mappings of a spec from what newuidmap(1) takes."""
    numbers = [int(word) for word in words]
    keys = ("containerID", "hostID", "size")
    return [dict(zip(keys, numbers[at : at + 3], strict=True)) for at in range(0, len(numbers), 3)]


def foreign(rows: Rows, own: int, ranges: Sequence[tuple[int, int]]) -> str:
    """The first row that is neither the user himself nor in his ranges (first, size), "" without one."""
    for row in rows:
        first, size = row["hostID"], row["size"]
        inside = any(start <= first and first + size <= start + count for start, count in ranges)
        if not inside and (first, size) != (own, 1):
            return f"{first} to {first + size - 1}" if size > 1 else str(first)
    return ""
