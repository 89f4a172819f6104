"""nfnetlink batches as bytes: elements added to and deleted from the maps and sets of our table. Pure.

The table itself is text, loaded once by `nft -f`; an element takes 0.02 ms this way against 2.5 to
20 ms of a program. A batch is a transaction: all of its elements change, or none.

Sources: linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

from struct import Struct

from twinhull.plan.netlink import ACK, CREATE, DUMP, EXCLUSIVE, attribute, attributes_of, message, nested, text
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

BATCH_BEGIN, BATCH_END = 16, 17
SUBSYSTEM = 10 << 8
GETCHAIN, GETRULE, NEWSETELEM, DELSETELEM = 4, 7, 12, 14
NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6 = 1, 2, 10
FAMILIES = {NFPROTO_INET: "inet", NFPROTO_IPV4: "ip", NFPROTO_IPV6: "ip6"}

TABLE, SET, ELEMENTS = 1, 2, 3  # NFTA_SET_ELEM_LIST_*
ELEMENT, KEY, DATA, VALUE = 1, 1, 2, 1  # NFTA_LIST_ELEM, NFTA_SET_ELEM_KEY, _DATA, NFTA_DATA_VALUE
CHAIN_TABLE, CHAIN_HANDLE, CHAIN_NAME, CHAIN_HOOK, CHAIN_POLICY = 1, 2, 3, 4, 5
RULE_TABLE, RULE_CHAIN = 1, 2
HOOK_NUMBER = 1
HOOKS = {1: "input", 2: "forward"}
NF_DROP = 0

GENERIC = Struct(">BBH")  # family, version, resource


class Element(NamedTuple):
    """One element of a set, or of a map when it has data. Both are the kernel's bytes."""

    set: str
    key: bytes
    data: bytes = b""


class Chain(NamedTuple):
    """A base chain of the host: `hook` "" where packets of ours do not pass."""

    family: int
    table: str
    name: str
    handle: int
    hook: str
    drops: bool  # its policy


def component(value: bytes) -> bytes:
    """Return one part of a concatenation: padded to a 32-bit register."""
    return value + b"\0" * (-len(value) % 4)


def add(table: str, elements: Iterable[Element], *, exclusive: bool = True) -> tuple[bytes, int]:
    """Return a batch that adds elements and how many acknowledgements it brings.

    Args:
        exclusive: an element that is there is an error (EEXIST), even with the same data.
    """
    return batch(table, NEWSETELEM, CREATE | (EXCLUSIVE if exclusive else 0), elements)


def delete(table: str, elements: Iterable[Element]) -> tuple[bytes, int]:
    """Return a batch that deletes elements by key. One that is missing (ENOENT) keeps them all."""
    return batch(table, DELSETELEM, 0, [element._replace(data=b"") for element in elements])


def batch(table: str, kind: int, flags: int, elements: Iterable[Element]) -> tuple[bytes, int]:
    """Return one message for each set, between the marks of a transaction."""
    by_set: dict[str, list[bytes]] = {}
    for element in elements:
        by_set.setdefault(element.set, []).append(encode_element(element))
    parts = [
        generic(
            kind,
            flags | ACK,
            NFPROTO_IPV4,
            text(TABLE, table) + text(SET, name) + nested(ELEMENTS, *encoded),
        )
        for name, encoded in by_set.items()
    ]
    return mark(BATCH_BEGIN) + b"".join(parts) + mark(BATCH_END), len(parts)


def encode_element(element: Element) -> bytes:
    """Return an element as an attribute."""
    parts = nested(KEY, attribute(VALUE, element.key))
    if element.data:
        parts += nested(DATA, attribute(VALUE, element.data))
    return nested(ELEMENT, parts)


def generic(kind: int, flags: int, family: int, attributes: bytes = b"") -> bytes:
    """Return one nftables message."""
    return message(SUBSYSTEM | kind, flags, GENERIC.pack(family, 0, 0) + attributes)


def mark(kind: int) -> bytes:
    """Return the beginning or the end of a batch; the resource names nftables."""
    return message(kind, 0, GENERIC.pack(0, 0, SUBSYSTEM >> 8))


def dump_chains(family: int) -> bytes:
    """Ask for every chain of a family."""
    return generic(GETCHAIN, DUMP, family)


def dump_rules(chain: Chain, *, whole_table: bool = False) -> bytes:
    """Ask for the rules of one chain, or of every chain of its table."""
    name = b"" if whole_table else text(RULE_CHAIN, chain.name)
    return generic(GETRULE, DUMP, chain.family, text(RULE_TABLE, chain.table) + name)


def chain_of(body: bytes) -> Chain:
    """Return the chain that one message of a dump describes.

    Raises:
        ValueError: the message is damaged.
    """
    found = attributes_of(body[GENERIC.size :])
    hook = attributes_of(found[CHAIN_HOOK]).get(HOOK_NUMBER, b"") if CHAIN_HOOK in found else b""
    return Chain(
        family=body[0],
        table=found[CHAIN_TABLE].rstrip(b"\0").decode(),
        name=found[CHAIN_NAME].rstrip(b"\0").decode(),
        handle=int.from_bytes(found[CHAIN_HANDLE], "big"),
        hook=HOOKS.get(int.from_bytes(hook, "big"), "") if hook else "",
        drops=int.from_bytes(found.get(CHAIN_POLICY, b"\1"), "big") == NF_DROP,
    )
