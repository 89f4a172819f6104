"""--network NAME, or name=NAME,alias=NAME,ip=ADDRESS; several times."""

from __future__ import annotations

from twinhull.errors import InvalidRequest
from twinhull.model import Attachment
from twinhull.network.dns import is_askable
from twinhull.network.leases import checked_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

ALONE = ("none", "host")
HINT = "--network NAME, or --network name=NAME,alias=OTHER,ip=ADDRESS,ip6=ADDRESS"


def parse_attachments(
    texts: Sequence[str], aliases: Sequence[str], address: str, address6: str
) -> tuple[str, tuple[Attachment, ...]]:
    """Return the first network's name and every network with what was asked for on it.

    Args:
        aliases, address, address6: of the flags of their own; they are the first network's.

    Raises:
        InvalidRequest: malformed, twice the same network, or none or host beside another.
    """
    found = [parse_attachment(text) for text in texts or ["bridge"]]
    first = found[0]
    if (address and first.address) or (aliases and first.aliases) or (address6 and first.address6):
        raise InvalidRequest("the first network's alias or ip is given twice", hint=HINT)
    given = (address or first.address, tuple(aliases) or first.aliases, address6 or first.address6)
    found[0] = checked(Attachment(first.network, *given))
    names = [attachment.network for attachment in found]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise InvalidRequest(f"network {twice!r} is named twice", hint="leave one --network out")
    if alone := next((name for name in names if name in ALONE), ""):
        if len(names) > 1:
            raise InvalidRequest(f"--network {alone} and another network exclude each other", hint="leave one out")
        if first != found[0] or first != Attachment(alone):
            raise InvalidRequest(f"with --network {alone} there are no aliases and no address to choose")
        return alone, ()
    return names[0], tuple(found)


def parse_attachment(text: str) -> Attachment:
    """Return one --network."""
    if "=" not in text:
        return Attachment(text)
    name, address, address6, aliases = "", "", "", []
    for part in text.split(","):
        key, _, value = part.partition("=")
        if key == "name":
            name = value
        elif key == "alias":
            aliases.append(value)
        elif key == "ip":
            address = value
        elif key == "ip6":
            address6 = value
        else:
            raise InvalidRequest(f"invalid network {text!r}: unknown option {key!r}", hint=HINT)
    if not name:
        raise InvalidRequest(f"invalid network {text!r}: it names none", hint=HINT)
    return checked(Attachment(name, address, tuple(aliases), address6))


def checked(attachment: Attachment) -> Attachment:
    """Refuse aliases that nobody can ask for, and what is no address."""
    for alias in attachment.aliases:
        if not is_askable(alias):
            raise InvalidRequest(f"invalid alias {alias!r}", hint="letters, digits, '-', '_' and '.'")
    if attachment.address:
        checked_number(attachment.address)
    return attachment
