"""The nouns of the engine as values: what is asked for, what an image is, what a workload is."""

from __future__ import annotations

from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Isolation = Literal["container", "vm", "machine"]
    IsolationChoice = Literal["container", "vm", "machine", "auto"]
    Status = Literal["created", "running", "paused", "restarting", "exited", "lost"]


class Volume(NamedTuple):
    """One -v or --mount: what is seen at a path inside.

    Attributes:
        source: a path of the host; of the kind "volume" its name, "" for one that gets a name of its own.
        nocopy: a new volume stays empty, whatever the image has there.
        anonymous: nobody named it: it goes with its workload.
    """

    source: str
    target: str
    readonly: bool = False
    kind: Literal["bind", "volume"] = "bind"
    nocopy: bool = False
    anonymous: bool = False


def depth(target: str) -> int:
    """How deep a path inside lies: what lies deeper is mounted later, or it would be covered."""
    return target.rstrip("/").count("/")


def in_order(volumes: tuple[Volume, ...]) -> list[Volume]:
    """The volumes in the order of their mounts."""
    return sorted(volumes, key=lambda volume: depth(volume.target))


class Device(NamedTuple):
    """One --device: a node of the host (or of a guest's kernel) seen inside. `access` is of r, w and m."""

    source: str
    target: str
    access: str


class Port(NamedTuple):
    """One -p. `address` "" means the configuration's default_bind; `host_port` 0 means any free one."""

    address: str
    host_port: int
    port: int
    protocol: Literal["tcp", "udp"] = "tcp"


class Attachment(NamedTuple):
    """One --network: a network by its name, with what was asked for on it; "" is any address that is free."""

    network: str
    address: str = ""
    aliases: tuple[str, ...] = ()
    address6: str = ""


class Health(NamedTuple):
    """How a workload is asked whether it is well; what is empty or 0 is the image's, else as Docker has it.

    Attributes:
        test: "CMD" and words, "CMD-SHELL" and a text, or "NONE".
        start_period_ms: while it may fail without counting, asked every `start_interval_ms`.
    """

    test: tuple[str, ...] = ()
    interval_ms: int = 0
    timeout_ms: int = 0
    retries: int = 0
    start_period_ms: int = 0
    start_interval_ms: int = 0


class Disk(NamedTuple):
    """A given disk of a machine, as it was when the machine was created.

    Attributes:
        size_bytes: of the disk that the guest sees.
        stamp: changes when the file does.
    """

    path: str
    size_bytes: int
    stamp: str


class Request(NamedTuple):
    """What `run` and `create` ask for, before anything is looked up. Sizes in bytes.

    Attributes:
        image: of a machine, the name of its disk.
        network: "none", "host", or the name of the only or first network.
        attachments: every network, in the order of the links; () where the name says all.
        disk: of a machine, which has no image; None of all others.
    """

    image: str
    command: tuple[str, ...] = ()
    isolation: IsolationChoice = "container"
    name: str = ""
    entrypoint: tuple[str, ...] | None = None
    environment: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    hostname: str = ""
    volumes: tuple[Volume, ...] = ()
    volumes_from: tuple[str, ...] = ()  # NAME[:ro|:rw] of workloads, whose volumes it has too; () once they are known
    memory_bytes: int = 0
    cpus: float = 0.0
    pids_limit: int = 0
    network: str = "bridge"
    attachments: tuple[Attachment, ...] = ()
    ports: tuple[Port, ...] = ()
    expose: tuple[str, ...] = ()  # PORT/PROTOCOL, beside those that the image names
    publish_all: bool = False  # each of these on any free port of the host
    tty: bool = False
    interactive: bool = False
    stdin_open: bool = False  # with interactive: it stays open though nobody who started it feeds it
    remove: bool = False
    readonly: bool = False
    platform: str = ""
    stop_signal: str = ""
    user_namespace: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    disk: Disk | None = None
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    seccomp: str = ""  # "unconfined", or the JSON text of a profile
    no_new_privileges: bool = False
    unmasked: bool = False  # nothing of /proc and /sys is hidden or read-only
    ulimits: tuple[tuple[str, int, int], ...] = ()  # name, soft and hard; -1 is no limit
    sysctls: tuple[tuple[str, str], ...] = ()
    init: bool = False
    tmpfs: tuple[tuple[str, str], ...] = ()  # path inside, options
    shm_bytes: int = 0
    devices: tuple[Device, ...] = ()
    groups: tuple[str, ...] = ()
    swap_bytes: int = 0  # memory and swap together; -1 is no limit
    cpu_shares: int = 0
    cpuset: str = ""
    oom_score_adj: int | None = None
    stop_timeout: int | None = None  # seconds; -1 for ever
    restart: str = ""  # on-failure, on-failure:N, always or unless-stopped; "": it does not start by itself
    health: Health = Health()
    umask: int | None = None
    hosts: tuple[tuple[str, str], ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    domainname: str = ""
    mac: str = ""
    untrusted: bool = False  # it starts behind a wall that somebody promises, or not at all
    accept_weak_wall: bool = False  # unless this says that another will do
    boots: bool = False  # a virtual machine boots, though there is a saved guest
    runtime: str = ""  # an OCI runtime that makes the container in place of our launcher

    @property
    def walled(self) -> bool:
        """True if it may start under KVM only."""
        return self.untrusted and not self.accept_weak_wall

    @property
    def has_options(self) -> bool:
        """True if its process, its settings or its devices are not those of most."""
        texts = self.ulimits or self.sysctls or self.shm_bytes or self.devices or self.domainname or self.init
        return bool(texts) or self.oom_score_adj is not None or self.umask is not None

    @property
    def has_privileges(self) -> bool:
        """True if its capabilities or its system call filter are not those of most."""
        return bool(self.cap_add or self.cap_drop or self.privileged or self.seccomp or self.unmasked)

    @property
    def networks(self) -> tuple[Attachment, ...]:
        """The networks to be on, the first link's first; () with none or the host's."""
        if self.network in ("none", "host"):
            return ()
        return self.attachments or (Attachment(self.network),)


class Layer(NamedTuple):
    """One layer of an image: `digest` of the blob as transferred, `diff_id` of its tar."""

    digest: str
    diff_id: str
    size_bytes: int
    media_type: str


class Image(NamedTuple):
    """An image that is here. `config` is the image-spec config document, as JSON text.

    `passwd` and `group` are the image's /etc/passwd and /etc/group as text, read once at pull, so
    that no run opens a file of the image on the host.
    """

    digest: str  # of the manifest
    config_digest: str  # Docker's image id
    platform: str  # os/architecture[/variant]
    config: str
    layers: tuple[Layer, ...]
    size_bytes: int
    passwd: str = ""
    group: str = ""


class Endpoint(NamedTuple):
    """A workload's place on a bridge network.

    Attributes:
        number: of its link inside: 0 is eth0.
        internal: the network leads nowhere else.
        default: what is for no network goes out here.
        aliases: further names by which the network's others find it.
        address6, gateway6: of a network of /64.
    """

    network: str
    bridge: str
    bridge_index: int
    address: str
    prefix: int
    gateway: str
    mac: str
    host_link: str  # the veth's end on the host
    number: int = 0
    internal: bool = False
    default: bool = True
    aliases: tuple[str, ...] = ()
    address6: str = ""  # "" on a network without IPv6
    gateway6: str = ""


class Instance(NamedTuple):
    """One row of the instance table: intent and resources, never state."""

    id: str
    name: str
    image: str  # the reference as the user wrote it
    image_digest: str
    isolation: Isolation
    created: float
    command: tuple[str, ...]
    request: str  # JSON of the Request
    started: float  # 0.0: no start mark
    boot_id: str
    endpoints: tuple[Endpoint, ...]
    ports: tuple[Port, ...]
    remove: bool
    accelerator: str = ""  # what QEMU ran under at the last start, "" before it and in a container

    @property
    def endpoint(self) -> Endpoint | None:
        """The place on the first network."""
        return self.endpoints[0] if self.endpoints else None

    @property
    def program(self) -> str:
        """The words before the verbs that manage it."""
        return "twinhull machine" if self.isolation == "machine" else "twinhull"


class ExitRecord(NamedTuple):
    """What the shim wrote when the workload ended."""

    code: int
    signal: int
    oom: bool
    finished: float


class Facts(NamedTuple):
    """What `plan.compile` may know about the place where the plan will be performed.

    Attributes:
        cgroup2: the mount point of the v2 hierarchy, "" without one.
        cgroup2_controllers: those that a leaf of it can use.
        cgroup1: (controller, mount point) of each v1 hierarchy.
        last_capability: number of the highest capability the kernel knows.
        capabilities: the bounding set of the process that will perform the plan.
        max_files: the hard limit of open files, which no plan may exceed.
        swap_limit: a v1 memory group has memory.memsw.*.
        bfq: a v1 group of block devices weighs them for the BFQ scheduler, in files of that name.
        rootless: root here is a user without root on this machine, in a user namespace of his.
    """

    cgroup2: str = ""
    cgroup2_controllers: tuple[str, ...] = ()
    cgroup1: tuple[tuple[str, str], ...] = ()
    last_capability: int = 40
    capabilities: int = (1 << 41) - 1
    max_files: int = 0
    cpu_count: int = 1
    swap_limit: bool = False
    bfq: bool = False
    rootless: bool = False

    @property
    def cgroup_mode(self) -> str:
        """v2, v1, hybrid or none."""
        if self.cgroup2:
            return "hybrid" if self.cgroup1 else "v2"
        return "v1" if self.cgroup1 else "none"
