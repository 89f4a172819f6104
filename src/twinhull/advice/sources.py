"""On whose word a rule stands. Pure."""

from __future__ import annotations

NIST = "NIST SP 800-190, 3.5.2 (shared kernel)"
QEMU = "QEMU documentation, Security (non-virtualization use case)"
QEMU_KVM = "QEMU documentation, Security (virtualization use case)"
DOCKER = "Docker documentation, Docker Engine security"
NAMESPACES = "namespaces(7)"
MEASURED, HERE, USER = "measured here", "this machine", "the user"
COMPARED = f"{MEASURED} with compare"
