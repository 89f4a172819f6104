"""What `twinhull-oci` honours (features.md of runtime-spec 1.2), and a config.json to begin with. Pure."""

from __future__ import annotations

from twinhull.oci.spec import OCI_VERSION
from twinhull.plan import defaults, filters
from twinhull.plan.mount_options import ATTRIBUTES, MEANS_NOTHING, RECURSIVE, SUPERBLOCK
from twinhull.plan.namespaces import KINDS, PROPAGATION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
HOOKS_INSIDE = ("createContainer", "startContainer")
ARCHITECTURES = (
    "X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 S390X"
)
CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
MAX_FILES = 1024
CHECKPOINTS = "org.opencontainers.runc.checkpoint.enabled"


def document(*, guest: bool = False) -> dict[str, Any]:
    """Return the features document.

    Args:
        guest: of virtual machines, which honour less.
    """
    found = everything()
    if guest:
        found["hooks"] = [kind for kind in HOOKS if kind not in HOOKS_INSIDE]
        linux = found["linux"]
        linux["namespaces"] = [kind for kind in linux["namespaces"] if kind not in ("time", "user")]
        linux |= {"apparmor": {"enabled": False}, "selinux": {"enabled": False}}
        linux["mountExtensions"] = {"idmap": {"enabled": False}}
        found["annotations"] = {}
    return found


def everything() -> dict[str, Any]:
    """Return what containers have."""
    options = {*ATTRIBUTES, *RECURSIVE, *PROPAGATION, *MEANS_NOTHING, *SUPERBLOCK}
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": list(HOOKS),
        "mountOptions": sorted(options | {"bind", "rbind", "idmap", "ridmap", "remount", "tmpcopyup"}),
        "linux": {
            "namespaces": sorted(KINDS),
            "capabilities": sorted(f"CAP_{name}" for name in defaults.CAPABILITY_NUMBERS),
            "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": True},
            "seccomp": {
                "enabled": True,
                "actions": sorted(filters.ACTIONS),
                "operators": sorted(filters.OPERATORS),
                "archs": [f"SCMP_ARCH_{name}" for name in ARCHITECTURES.split()],
                "knownFlags": sorted(filters.FLAGS),
                "supportedFlags": sorted(filters.FLAGS),
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": True}},
        },
        "annotations": {CHECKPOINTS: "true"},
        "potentiallyUnsafeConfigAnnotations": [defaults.ISOLATION_ANNOTATION],
    }


def example(*, unified: bool, rootless: tuple[int, int] | None = None) -> dict[str, Any]:
    """Return a config.json for a shell in `rootfs`.

    Args:
        unified: whether the machine has cgroup v2 alone; with v1 its tools look for a group by the host's path.
        rootless: uid and gid of a user without privileges, for whom it shall be.
    """
    held = {kind: list(CAPABILITIES) for kind in ("bounding", "effective", "permitted")}
    linux: dict[str, Any] = {
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "namespaces": [{"type": kind} for kind in defaults.NAMESPACES if unified or rootless or kind != "cgroup"],
        "maskedPaths": list(defaults.MASKED_PATHS),
        "readonlyPaths": list(defaults.READONLY_PATHS),
    }
    mounts = [
        {"destination": target, "type": kind, "source": source, "options": list(options)}
        for target, kind, source, options in defaults.MOUNTS
    ]
    if rootless:
        linux["namespaces"] = [row for row in linux["namespaces"] if row["type"] != "network"] + [{"type": "user"}]
        for key, number in zip(("uidMappings", "gidMappings"), rootless, strict=True):
            linux[key] = [{"containerID": 0, "hostID": number, "size": 1}]
        del linux["resources"]
        for mount in mounts:
            mount["options"] = [option for option in mount["options"] if option != "gid=5"]
            if mount["type"] == "sysfs":
                mount.update(type="none", source="/sys", options=["rbind", "nosuid", "noexec", "nodev", "ro"])
    return {
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [defaults.PATH, "TERM=xterm"],
            "cwd": "/",
            "capabilities": held,
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": MAX_FILES, "soft": MAX_FILES}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "twinhull",
        "mounts": mounts,
        "linux": linux,
    }
