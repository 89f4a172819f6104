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
    """Return the op that goes there, and the spec as it is seen from there; its mappings are complete.

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
    check_numbers(spec)
    check_sysfs(spec)
    owned = ((linux.get("uidMappings") or (), uid), (linux.get("gidMappings") or (), gid))
    if not all(is_himself(rows, own) for rows, own in owned):
        return Op("own-users", ("", "", "")), spec
    refuse_groups(spec)
    return Op("own-users", ("", *(f"{own} {own} 1\n" for _, own in owned))), spec


def check_numbers(spec: Mapping[str, Any]) -> None:
    """Refuse a user or a group that the mappings do not have: the kernel would say no more than "invalid".

    Raises:
        InvalidRequest: the message names the field.
    """
    linux = spec.get("linux") or {}
    check_user((spec.get("process") or {}).get("user") or {}, linux)
    for index, mount in enumerate(spec.get("mounts") or ()):
        for option in mount.get("options") or ():
            key, _, value = option.partition("=")
            if key in ("uid", "gid") and value.isdecimal():
                check_number(linux, f"{key}Mappings", int(value), f"mounts[{index}].options: {option!r}")
    for index, device in enumerate(linux.get("devices") or ()):
        for key in ("uid", "gid"):
            check_number(linux, f"{key}Mappings", device.get(key) or 0, f"linux.devices[{index}].{key}")


def check_user(user: Mapping[str, Any], linux: Mapping[str, Any]) -> None:
    """Refuse a process's user if the mappings do not have it, as check_numbers does."""
    for key in ("uid", "gid"):
        check_number(linux, f"{key}Mappings", user.get(key) or 0, f"process.user.{key}")
    for number in user.get("additionalGids") or () if not is_single(linux) else ():
        check_number(linux, "gidMappings", number, "process.user.additionalGids")


def check_number(linux: Mapping[str, Any], mappings: str, number: int, field: str) -> None:
    """Refuse one number."""
    rows = linux.get(mappings) or ()
    if rows and not any(row["containerID"] <= number < row["containerID"] + row["size"] for row in rows):
        raise InvalidRequest(f"{field}: {number} is not in linux.{mappings}")


def is_single(linux: Mapping[str, Any]) -> bool:
    """True for one group alone: that there are no others is told otherwise."""
    sizes: list[int] = [row["size"] for row in linux.get("gidMappings") or ()]
    return sum(sizes) == 1


def check_sysfs(spec: Mapping[str, Any]) -> None:
    """A sysfs shows a network namespace, and only who owns that may mount it."""
    if any(row.get("type") == "network" for row in spec["linux"]["namespaces"]):
        return
    for index, mount in enumerate(spec.get("mounts") or ()):
        if mount.get("type") == "sysfs":
            raise InvalidRequest(
                f"mounts[{index}].type: sysfs takes a network namespace in linux.namespaces: without one bind /sys "
                "(type none, source /sys, options rbind and ro)"
            )


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
