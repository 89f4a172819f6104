"""What is said to CRIU and by it: the messages of its rpc.proto, as bytes. Pure.

Only the fields that are needed are here; protocol buffers without their library, for there is little to them: a message
is a row of (number, kind, value), a number in groups of seven bits.
"""

from __future__ import annotations

from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Value = bool | int | str | Mapping[str, "Value"] | list["Value"]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
DUMP, RESTORE, PRE_DUMP, NOTIFY = 1, 2, 4, 6  # criu_req_type
CGROUP_MODES = {"ignore": 0, "soft": 3, "full": 4, "strict": 5, "": 6}
NETWORK_LOCKS = {"iptables": 1, "nftables": 2, "skip": 3}
EMPTY_NAMESPACES = {"network": 0x40000000}  # CLONE_NEWNET, the only one that CRIU leaves out
# Name -> number, and the names of a field's own fields where it has some.
Fields = dict[str, "tuple[int, Fields]"]


def scalars(text: str) -> Fields:
    """Fields without fields of their own, as "name=number ..."."""
    return {name: (int(number), {}) for name, _, number in (word.partition("=") for word in text.split())}


OPTIONS: Fields = {
    **scalars(
        """images_dir_fd=1 pid=2 leave_running=3 ext_unix_sk=4 tcp_established=5 evasive_devices=6 shell_job=7
        file_locks=8 log_level=9 log_file=10 notify_scripts=12 root=13 parent_img=14 track_mem=15 auto_dedup=16
        work_dir_fd=17 link_remap=18 rst_sibling=26 manage_cgroups=24 manage_cgroups_mode=34 external=37 empty_ns=38
        freeze_cgroup=44 tcp_skip_in_flight=46 orphan_pts_master=50 config_file=51 lsm_profile=53
        lsm_mount_context=63 network_lock=64"""
    ),
    "ext_mnt": (23, scalars("key=1 val=2")),
    "cg_root": (25, scalars("ctrl=1 path=2")),
    "inherit_fd": (27, scalars("key=1 fd=2")),
    "join_ns": (39, scalars("ns=1 ns_file=2")),
}
REQUEST: Fields = {**scalars("type=1 notify_success=3"), "opts": (2, OPTIONS)}


class Answer(NamedTuple):
    """What CRIU said.

    Attributes:
        kind: DUMP, RESTORE and PRE_DUMP end a request, NOTIFY wants an answer.
        success: False if the request has failed.
        script: of a NOTIFY, at what point CRIU is.
        pid: of the restored process, or of the one that a NOTIFY is about; 0 if it is about none.
    """

    kind: int
    success: bool
    script: str
    pid: int


def request(kind: int, options: Mapping[str, Value]) -> bytes:
    """One request with its options, by their names in rpc.proto; a sequence is a repeated field."""
    return encode(REQUEST, {"type": kind, "opts": options})


def consent() -> bytes:
    """The answer to a NOTIFY: go on."""
    return encode(REQUEST, {"type": NOTIFY, "notify_success": True})


def answer(content: bytes) -> Answer:
    """Read criu_resp.

    Raises:
        ValueError: it is no message.
    """
    found = decode(content)
    notify = decode(bytes_of(found.get(5, b"")))
    restored = decode(bytes_of(found.get(4, b"")))
    pid = number_of(notify.get(2, 0)) or number_of(restored.get(1, 0))
    script = bytes_of(notify.get(1, b"")).decode("utf-8", "replace")
    return Answer(number_of(found.get(1, 0)), bool(found.get(2, 0)), script, pid)


def encode(fields: Fields, values: Mapping[str, Value]) -> bytes:
    """Return a message."""
    return b"".join(part for name, value in values.items() for part in encoded(*fields[name], value))


def encoded(number: int, fields: Fields, value: Value) -> Iterator[bytes]:
    """One field, or as many as a sequence has values."""
    if isinstance(value, (bool, int)):
        yield varint(number << 3 | VARINT) + varint(int(value))
    elif isinstance(value, str):
        content = value.encode("utf-8", "surrogateescape")
        yield varint(number << 3 | BYTES) + varint(len(content)) + content
    elif isinstance(value, list):
        for one in value:
            yield from encoded(number, fields, one)
    else:
        content = encode(fields, value)
        yield varint(number << 3 | BYTES) + varint(len(content)) + content


def varint(number: int) -> bytes:
    """A number, the lowest seven bits first; a negative one has 64 bits."""
    number &= (1 << 64) - 1
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def decode(content: bytes) -> dict[int, int | bytes]:
    """Return the last value of each field by its number.

    Raises:
        ValueError: it ends in the middle, or has a kind that is not used any more.
    """
    found: dict[int, int | bytes] = {}
    at = 0
    while at < len(content):
        key, at = read_varint(content, at)
        if key & 7 == VARINT:
            found[key >> 3], at = read_varint(content, at)
            continue
        sizes = {FIXED64: 8, FIXED32: 4}
        length, at = (sizes[key & 7], at) if key & 7 in sizes else read_varint(content, at)
        if key & 7 not in (*sizes, BYTES) or at + length > len(content):
            raise ValueError("not a message of CRIU's")
        found[key >> 3] = content[at : at + length]
        at += length
    return found


def read_varint(content: bytes, at: int) -> tuple[int, int]:
    """Return a number and where the next one begins."""
    number = shift = 0
    while at < len(content):
        number |= (content[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if content[at - 1] < 0x80:
            return number, at
    raise ValueError("not a message of CRIU's")


def number_of(value: int | bytes) -> int:
    """A field that is a number; 0 if it is none."""
    return value if isinstance(value, int) else 0


def bytes_of(value: int | bytes) -> bytes:
    """A field that is text or a message; nothing if it is a number."""
    return value if isinstance(value, bytes) else b""
