"""The guest's kernel and first file system: what is read from files of the distribution."""

from __future__ import annotations

import gzip
import lzma
import struct
import subprocess
from pathlib import Path

import pytest

from twinhull.errors import HostUnfit
from twinhull.runtime import bzimage, initrd, kernel, modules, package

ELF = b"\x7fELF" + b"kernel" * 1000 + b"Linux version 6.1.0-1-test (build@host) "


def bz_image(payload: bytes) -> bytes:
    """A bzImage: one setup sector and the payload at the start of what follows."""
    setup = bytearray(1024 * 3)
    setup[0x1F1] = 4
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", setup, 0x248, 16, len(payload) + 4)
    return bytes(setup[: 5 * 512]) + bytes(16) + payload + struct.pack("<I", len(ELF))


@pytest.mark.parametrize(
    "packed",
    [gzip.compress(ELF), lzma.compress(ELF), lzma.compress(ELF, lzma.FORMAT_ALONE)],
    ids=["gzip", "xz", "lzma"],
)
def test_the_kernel_inside_a_bzimage_is_found(packed: bytes) -> None:
    assert bzimage.extract(bz_image(packed)) == ELF


def test_an_uncompressed_kernel_is_taken_as_it_is() -> None:
    assert bzimage.extract(ELF) is ELF
    assert bzimage.release(ELF) == "6.1.0-1-test"


@pytest.mark.parametrize("image", [b"", b"#!/bin/sh\n", bz_image(b"\x1f\x8bnonsense"), bz_image(b"????")])
def test_what_is_no_kernel_is_refused(image: bytes) -> None:
    with pytest.raises(HostUnfit):
        bzimage.extract(image)


def test_the_archive_is_one_that_cpio_reads(tmp_path: Path) -> None:
    data = initrd.archive(initrd.entries(b"init!", [("a.ko", b"first"), ("b.ko", b"second.")]))
    listed = subprocess.run(["cpio", "-tv"], input=data, capture_output=True, check=False)
    if listed.returncode == 0:
        lines = listed.stdout.decode().splitlines()
        assert any(line.startswith("-rwxr-xr-x") and line.endswith(" init") for line in lines)
        assert any(line.startswith("crw-------") and "dev/console" in line for line in lines)
    assert data.count(b"070701") == data.count(b"TRAILER!!!") + len(initrd.entries(b"", [("", b"")] * 2))
    assert b"a.ko\nb.ko\n" in data


def test_the_same_parts_make_the_same_archive() -> None:
    members = initrd.entries(b"init", [("a.ko", b"x")])
    assert initrd.archive(members) == initrd.archive(members)


def module(depends: str) -> bytes:
    """The smallest ELF file with a .modinfo section."""
    info, names = f"license=GPL\0depends={depends}\0name=x\0".encode(), b"\0.modinfo\0.shstrtab\0"
    head = bytearray(64)
    head[:4] = b"\x7fELF"
    offset = 64
    table = offset + len(info) + len(names)
    struct.pack_into("<Q", head, 0x28, table)
    struct.pack_into("<HHH", head, 0x3A, 64, 3, 2)

    def section(name: int, where: int, size: int) -> bytes:
        return struct.pack("<IIQQQQ", name, 1, 0, 0, where, size) + bytes(64 - 40)

    sections = (section(0, 0, 0), section(1, offset, len(info)), section(10, offset + len(info), len(names)))
    return b"".join((bytes(head), info, names, *sections))


def tree(path: Path, files: dict[str, str], builtin: str = "") -> str:
    for name, depends in files.items():
        target = path / "kernel/drivers" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(module(depends))
    (path / "modules.builtin").write_text(builtin)
    return str(path)


def test_modules_are_loaded_after_what_they_depend_on(tmp_path: Path) -> None:
    root = tree(tmp_path, {"virtio.ko": "virtio_ring", "virtio_ring.ko": "", "net/virtio-net.ko": "virtio,net-base"})
    tree(tmp_path, {"net-base.ko": ""}, builtin="kernel/fs/overlayfs/overlay.ko\n")
    chosen = modules.choose(root, ("virtio_net", "overlay", "absent"), frozenset({"virtio_net", "overlay"}))
    assert [file.name for file in chosen.files] == ["virtio_ring", "virtio", "net_base", "virtio_net"]
    assert chosen.available == {"virtio_net", "overlay"}


def test_a_required_module_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(HostUnfit, match="erofs"):
        modules.choose(tree(tmp_path, {"virtio.ko": ""}), ("erofs",), frozenset({"erofs"}))


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"\x7fELF" + b"\xff" * 100])
def test_a_damaged_module_is_refused(content: bytes) -> None:
    with pytest.raises(HostUnfit):
        modules.dependencies(content)


def test_kernels_are_ordered_as_versions() -> None:
    names = ["6.1.0-9-amd64", "6.1.0-56-amd64", "5.10.0-100-amd64"]
    assert sorted(names, key=kernel.version_key)[-1] == "6.1.0-56-amd64"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("boot/vmlinuz-6.1.0", True),
        ("lib/modules/6.1.0/kernel/fs/erofs/erofs.ko", True),
        ("usr/lib/modules/6.1.0/kernel/fs/erofs/erofs.ko", True),
        ("lib/modules/6.1.0/kernel/drivers/net/virtio_net.ko", True),
        ("lib/modules/6.1.0/kernel/drivers/net/wireless/x.ko", False),
        ("lib/modules/6.1.0/kernel/fs/../../../../etc/passwd", False),
        ("../boot/vmlinuz-6", False),
        ("usr/share/doc/x", False),
    ],
)
def test_only_what_a_guest_may_need_is_unpacked(name: str, wanted: bool) -> None:
    assert package.is_wanted(name) is wanted
