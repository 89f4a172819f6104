"""linux.resources in the words of both cgroup versions: every field of runtime-spec 1.2. Pure."""

from __future__ import annotations

from twinhull.errors import InvalidRequest, UnsupportedSpec
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    Values = list[tuple[str, str]]

ACCESS = set("rwm")
PERIOD_US = 100_000
MAX_SHARES, MIN_SHARES, MAX_WEIGHT = 262_144, 2, 10_000
MIN_BLKIO_WEIGHT, MAX_BLKIO_WEIGHT = 10, 1000
NOT_IN_V2 = "is a limit of cgroup v1, and this machine has v2"


class Setting(NamedTuple):
    """What one field asks of one controller: (file, value) pairs in the order of the writes."""

    controller: str
    field: str
    v2: Values
    v1: Values


def settings(resources: Mapping[str, Any], *, v2: bool) -> list[Setting]:
    """Return what is to be written, but for devices.

    Args:
        v2: whether the settings are for a machine whose controllers are v2's.

    Raises:
        InvalidRequest: a value that cannot be; the message names the field.
        UnsupportedSpec: a limit that this version of cgroups does not have.
    """
    found = [
        *memory(resources.get("memory") or {}, v2=v2),
        *cpu(resources.get("cpu") or {}, v2=v2),
        *cpuset(resources.get("cpu") or {}),
        *pids(resources.get("pids") or {}),
        *block_io(resources.get("blockIO") or {}, v2=v2),
        *huge_pages(resources.get("hugepageLimits") or ()),
        *network(resources.get("network") or {}, v2=v2),
        *rdma(resources.get("rdma") or {}),
        *unified(resources.get("unified") or {}),
    ]
    return [setting for setting in found if setting.v1 or setting.v2]


def number(section: Mapping[str, Any], key: str, field: str) -> int | None:
    """Return a whole number, None if it is not given."""
    value = section.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise InvalidRequest(f"linux.resources.{field}.{key}: {value!r} is no whole number")
    return value


def infinite(value: int) -> str:
    """v2's word for no limit."""
    return "max" if value < 0 else str(value)


def memory(section: Mapping[str, Any], *, v2: bool) -> Iterator[Setting]:
    """linux.resources.memory: the spec's swap counts memory too, v2's does not."""
    limit, swap = number(section, "limit", "memory"), number(section, "swap", "memory")
    reservation, swappiness = number(section, "reservation", "memory"), number(section, "swappiness", "memory")
    new: Values = []
    old: Values = []
    if limit is not None and limit != 0:
        new.append(("memory.max", infinite(limit)))
        old.append(("memory.limit_in_bytes", str(limit)))
        if limit < 0 and not swap:  # v1's swap counts the memory too, and would still limit it
            old.append(("memory.memsw.limit_in_bytes", "-1"))
    if swap is not None and swap != 0:
        if swap > 0 and (limit or 0) > swap:
            raise InvalidRequest(f"linux.resources.memory.swap: {swap} is less than the limit {limit}")
        if swap > 0 and (limit is None or limit <= 0) and v2:
            raise InvalidRequest("linux.resources.memory.swap: it counts the memory too, and needs memory.limit")
        new.append(("memory.swap.max", infinite(swap if swap < 0 else swap - (limit or 0))))
        old.append(("memory.memsw.limit_in_bytes", str(swap)))
    if reservation is not None and reservation != 0:
        new.append(("memory.low", infinite(reservation)))
        old.append(("memory.soft_limit_in_bytes", str(reservation)))
    for key, file in (("kernel", "memory.kmem.limit_in_bytes"), ("kernelTCP", "memory.kmem.tcp.limit_in_bytes")):
        if value := number(section, key, "memory"):
            old.append((file, str(value)))
            only_v1(f"memory.{key}", v2=v2)
    if swappiness is not None:
        if not 0 <= swappiness <= 100:
            raise InvalidRequest(f"linux.resources.memory.swappiness: {swappiness} is not between 0 and 100")
        old.append(("memory.swappiness", str(swappiness)))
        only_v1("memory.swappiness", v2=v2)
    if section.get("disableOOMKiller"):
        old.append(("memory.oom_control", "1"))
        only_v1("memory.disableOOMKiller", v2=v2)
    if (hierarchy := section.get("useHierarchy")) is not None:
        old.insert(0, ("memory.use_hierarchy", str(int(hierarchy))))
    yield Setting("memory", "memory", new, old)


def only_v1(field: str, *, v2: bool) -> None:
    """Refuse a limit that v2 does not have."""
    if v2:
        raise UnsupportedSpec(f"linux.resources.{field}: {NOT_IN_V2}")


def cpu(section: Mapping[str, Any], *, v2: bool) -> Iterator[Setting]:
    """linux.resources.cpu, without the sets."""
    new: Values = []
    old: Values = []
    if shares := number(section, "shares", "cpu"):
        new.append(("cpu.weight", str(weight(shares))))
        old.append(("cpu.shares", str(shares)))
    quota, period = number(section, "quota", "cpu"), number(section, "period", "cpu")
    if quota or period:
        new.append(("cpu.max", f"{infinite(quota or -1)} {period or PERIOD_US}"))
        old += [("cpu.cfs_period_us", str(period))] if period else []
        old += [("cpu.cfs_quota_us", str(quota))] if quota else []
    if (burst := number(section, "burst", "cpu")) is not None:
        new.append(("cpu.max.burst", str(burst)))
        old.append(("cpu.cfs_burst_us", str(burst)))
    for key, file in (("realtimePeriod", "cpu.rt_period_us"), ("realtimeRuntime", "cpu.rt_runtime_us")):
        if value := number(section, key, "cpu"):
            old.append((file, str(value)))
            only_v1(f"cpu.{key}", v2=v2)
    if (idle := number(section, "idle", "cpu")) is not None:
        new.append(("cpu.idle", str(idle)))
        old.append(("cpu.idle", str(idle)))
    yield Setting("cpu", "cpu", new, old)


def weight(shares: int) -> int:
    """v2's 1 … 10000 for v1's 2 … 262144, as the OCI runtimes agreed on."""
    shares = min(max(shares, MIN_SHARES), MAX_SHARES)
    return 1 + (shares - MIN_SHARES) * (MAX_WEIGHT - 1) // (MAX_SHARES - MIN_SHARES)


def cpuset(section: Mapping[str, Any]) -> Iterator[Setting]:
    """The CPUs and memory nodes that may be used."""
    pairs = [(f"cpuset.{key}", section[key]) for key in ("cpus", "mems") if section.get(key)]
    yield Setting("cpuset", "cpu.cpus", pairs, pairs)


def pids(section: Mapping[str, Any]) -> Iterator[Setting]:
    """linux.resources.pids: 0 and less mean no limit."""
    if (limit := number(section, "limit", "pids")) is not None:
        pairs = [("pids.max", str(limit) if limit > 0 else "max")]
        yield Setting("pids", "pids", pairs, pairs)


def block_io(section: Mapping[str, Any], *, v2: bool) -> Iterator[Setting]:
    """linux.resources.blockIO."""
    new: Values = []
    old: Values = []
    if value := number(section, "weight", "blockIO"):
        if not MIN_BLKIO_WEIGHT <= value <= MAX_BLKIO_WEIGHT:
            raise InvalidRequest(f"linux.resources.blockIO.weight: {value} is not between 10 and 1000")
        new.append(("io.weight", f"default {io_weight(value)}"))
        old.append(("blkio.weight", str(value)))
    if value := number(section, "leafWeight", "blockIO"):
        old.append(("blkio.leaf_weight", str(value)))
        only_v1("blockIO.leafWeight", v2=v2)
    for row in section.get("weightDevice") or ():
        device = f"{row['major']}:{row['minor']}"
        if row.get("weight"):
            new.append(("io.weight", f"{device} {io_weight(row['weight'])}"))
            old.append(("blkio.weight_device", f"{device} {row['weight']}"))
        if row.get("leafWeight"):
            old.append(("blkio.leaf_weight_device", f"{device} {row['leafWeight']}"))
            only_v1("blockIO.weightDevice.leafWeight", v2=v2)
    for way, letter in (("Read", "r"), ("Write", "w")):
        for unit, name in (("Bps", "bps"), ("IOPS", "iops")):
            for row in section.get(f"throttle{way}{unit}Device") or ():
                device = f"{row['major']}:{row['minor']}"
                new.append(("io.max", f"{device} {letter}{name}={row['rate']}"))
                old.append((f"blkio.throttle.{way.lower()}_{name}_device", f"{device} {row['rate']}"))
    yield Setting("io" if v2 else "blkio", "blockIO", new, old)


def io_weight(value: int) -> int:
    """v2's 1 … 10000 for v1's 10 … 1000."""
    return 1 + (value - MIN_BLKIO_WEIGHT) * (MAX_WEIGHT - 1) // (MAX_BLKIO_WEIGHT - MIN_BLKIO_WEIGHT)


def huge_pages(rows: Any) -> Iterator[Setting]:
    """linux.resources.hugepageLimits."""
    for index, row in enumerate(rows):
        size, limit = row.get("pageSize") or "", row.get("limit")
        if not size.endswith(("KB", "MB", "GB")) or not size[:-2].isdecimal() or "/" in size:
            raise InvalidRequest(f"linux.resources.hugepageLimits[{index}].pageSize: {size!r} is no size")
        new, old = f"hugetlb.{size}.max", f"hugetlb.{size}.limit_in_bytes"
        yield Setting("hugetlb", f"hugepageLimits[{index}]", [(new, str(limit))], [(old, str(limit))])


def network(section: Mapping[str, Any], *, v2: bool) -> Iterator[Setting]:
    """linux.resources.network."""
    if value := number(section, "classID", "network"):
        only_v1("network.classID", v2=v2)
        yield Setting("net_cls", "network.classID", [], [("net_cls.classid", str(value))])
    rows = section.get("priorities") or ()
    if rows:
        only_v1("network.priorities", v2=v2)
        pairs = [("net_prio.ifpriomap", f"{row['name']} {row['priority']}") for row in rows]
        yield Setting("net_prio", "network.priorities", [], pairs)


def rdma(devices: Mapping[str, Mapping[str, int]]) -> Iterator[Setting]:
    """linux.resources.rdma."""
    pairs = []
    for name, row in devices.items():
        words = (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object"))
        limits = " ".join(f"{word}={row[key]}" for key, word in words if row.get(key) is not None)
        pairs.append(("rdma.max", f"{name} {limits}"))
    yield Setting("rdma", "rdma", pairs, pairs)


def unified(values: Mapping[str, str]) -> Iterator[Setting]:
    """linux.resources.unified: files of the v2 group by name."""
    for name, value in values.items():
        if not name or "/" in name or "." not in name:
            raise InvalidRequest(f"linux.resources.unified: {name!r} is no file of a cgroup")
        if name.startswith("cgroup."):
            raise InvalidRequest(f"linux.resources.unified: {name!r} is no resource")
        yield Setting(f"unified {name.partition('.')[0]}", f"unified[{name!r}]", [(name, value)], [])


def device_lines(rules: Any) -> Iterator[tuple[str, str]]:
    """The rules of linux.resources.devices as (file, line) of v1's devices controller."""
    for index, rule in enumerate(rules):
        kind, access = check_device(rule, index)
        numbers = [rule.get(key) for key in ("major", "minor")]
        major, minor = ("*" if value is None or value < 0 else str(value) for value in numbers)
        yield f"devices.{'allow' if rule.get('allow') else 'deny'}", f"{kind} {major}:{minor} {access}"


def check_device(rule: Mapping[str, Any], index: int) -> tuple[str, str]:
    """Return the type and the access of a device rule."""
    kind, access = rule.get("type") or "a", rule.get("access") or ""
    if kind not in ("a", "b", "c", "u"):
        raise InvalidRequest(f"linux.resources.devices[{index}].type: unknown type {kind!r}")
    if not access or not set(access) <= ACCESS:
        raise InvalidRequest(f"linux.resources.devices[{index}].access: {access!r} is not of r, w and m")
    for key in ("major", "minor"):
        if (rule.get(key) or 0) < -1:
            raise InvalidRequest(f"linux.resources.devices[{index}].{key}: {rule[key]} is no number of a device")
    return ("c" if kind == "u" else kind), access
