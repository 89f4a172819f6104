"""Which settings of the kernel belong to a namespace. Pure."""

from __future__ import annotations

IPC = {"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax"}
IPC |= {"kernel.shmmni", "kernel.shm_rmid_forced"}


def namespace_of(key: str) -> str:
    """Return the kind of namespace that has its own value of a setting, "" for one of the whole kernel."""
    if key.startswith("net."):
        return "network"
    if key in IPC or key.startswith("fs.mqueue."):
        return "ipc"
    if key in ("kernel.domainname", "kernel.hostname"):
        return "uts"
    return "user" if key.startswith("user.") else ""
