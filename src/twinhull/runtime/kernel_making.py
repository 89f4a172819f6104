"""Making a guest's kernel: from the distribution's package, a file that is named, or the host's own.

Promise: a directory under <state>/kernels without a temporary name is whole: the uncompressed kernel and
every module a guest needs, in load order. Nothing is ever installed on the host.
"""

from __future__ import annotations

import hashlib
import os

from twinhull import jsontext
from twinhull.errors import HostUnfit
from twinhull.host import facts, files
from twinhull.runtime import bzimage, modules, package
from twinhull.runtime.kernel import META, Kernel, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from twinhull.plan.qemu import Architecture
    from twinhull.runtime.kernel import Progress

# In load order, where a module needs another that it does not name: libcrc32c asks for the algorithm.
WANTED = (
    *("crc32c_generic", "virtio_mmio", "virtio_blk", "virtio_console", "erofs", "overlay"),
    *("virtio_rng", "virtio_net", "ext4", "9pnet_virtio", "9p", "af_packet", "virtio_balloon"),
)
REQUIRED = frozenset({"virtio_mmio", "virtio_blk", "virtio_console", "erofs", "overlay"})


def from_distribution_or_host(root: str, architecture: Architecture, progress: Progress) -> Kernel:
    """Return the distribution's kernel, or else the host's own if it is one for this architecture.

    Raises:
        HostUnfit: neither can be had.
    """
    reasons = []
    own = architecture == facts.architecture()
    for source in (from_package, from_host) if own else (from_package,):
        try:
            return source(root, architecture, progress)
        except HostUnfit as error:
            reasons.append(error.message)
    where = "" if own else f" of {architecture}"
    raise HostUnfit(
        f"no kernel for virtual machines{where}: {'; '.join(reasons)}",
        hint="apt-get update, or set vm_kernel in the configuration to a vmlinux or bzImage" if own else "",
    )


def from_configuration(root: str, name: str, path: str, progress: Progress) -> Kernel:
    """Return the kernel that the configuration names, unpacked once for each state of its file."""
    progress(f"Preparing guest kernel {path}")
    image = bzimage.extract(files.read(path))
    release = bzimage.release(image)
    trees = [f"{os.path.dirname(path)}/../lib/modules/{release}", f"/lib/modules/{release}"]
    tree = next((tree for tree in trees if os.path.isdir(tree)), "")
    return keep(root, name, image, tree, f"configuration {path}")


def from_package(root: str, architecture: Architecture, progress: Progress) -> Kernel:
    """Return the distribution's kernel, downloaded and unpacked with its own package tools."""
    files.make_directory(root)
    with package.unpacked_kernel(root, architecture, progress) as tree:
        image = bzimage.extract(files.read(tree.image))
        return keep(root, tree.release, image, tree.modules, f"package {tree.package}")


def from_host(root: str, _: Architecture, progress: Progress) -> Kernel:
    """Return the kernel this host runs, if its file can be read."""
    release = os.uname().release
    paths = (f"/boot/vmlinuz-{release}", f"/lib/modules/{release}/vmlinuz", f"/usr/lib/modules/{release}/vmlinuz")
    path = next((path for path in paths if os.access(path, os.R_OK)), "")
    if not path or not os.path.isdir(f"/lib/modules/{release}"):
        raise HostUnfit(f"the host's kernel {release} has no readable image with modules")
    progress(f"Preparing guest kernel {path}")
    return keep(root, release, bzimage.extract(files.read(path)), f"/lib/modules/{release}", f"host {path}")


def keep(root: str, name: str, image: bytes, tree: str, origin: str, more: tuple[str, ...] = ()) -> Kernel:
    """Write kernel and modules below `root` and return them; the directory appears whole or not at all.

    Args:
        tree: a /lib/modules/RELEASE directory, "" where everything needed is built in.
        more: features that modules do not tell.
    """
    chosen = modules.choose(tree, WANTED, REQUIRED) if tree else modules.Chosen((), frozenset(WANTED))
    staging = f"{root}/.{name}.{os.getpid()}"
    files.make_directory(f"{staging}/modules")
    summary = hashlib.sha256(image)
    files.publish(f"{staging}/vmlinux", image, 0o644)
    for module in chosen.files:
        content = module.content
        summary.update(content)
        files.publish(f"{staging}/modules/{module.name}.ko", content, 0o644)
    meta = {
        "release": bzimage.release(image),
        "origin": origin,
        "modules": [f"{module.name}.ko" for module in chosen.files],
        "features": sorted({*features(chosen.available), *more}),
        "digest": summary.hexdigest(),
    }
    files.publish(f"{staging}/{META}", jsontext.dumps(meta).encode(), 0o644)
    settle(staging, f"{root}/{name}")
    kernel = load(f"{root}/{name}")
    assert kernel, "a published kernel can be read"
    return kernel


def settle(staging: str, final: str) -> None:
    """Give the directory its final name; another command that was faster wins."""
    files.sync_directory(staging)
    try:
        os.rename(staging, final)
    except OSError:
        if load(final):
            files.remove_tree(staging)
            return
        files.remove_tree(final)
        os.rename(staging, final)
    files.sync_directory(os.path.dirname(final))


def features(available: frozenset[str]) -> Iterator[str]:
    """What guests of a kernel can do: network, shares (9p), scratch (ext4)."""
    if "virtio_net" in available:
        yield "network"
    if {"9p", "9pnet_virtio"} <= available:
        yield "shares"
    if "ext4" in available:
        yield "scratch"
