"""Disks of machines: what a header says, and what is refused before QEMU sees it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinhull.errors import Conflict, InvalidRequest, NotFound, TwinhullError
from twinhull.machine import bootable, disk, qcow2

MIB = 1 << 20


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """An empty qcow2 file of 64 MiB, made by QEMU's own tool."""
    return qemu_img(tmp_path / "plain.qcow2", str(64 * MIB))


def qemu_img(path: Path, *words: str) -> Path:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, *words], check=True)
    return path


def header(**changes: int) -> bytes:
    values = {
        "version": 3,
        "backing": 0,
        "length": 0,
        "bits": 16,
        "size": MIB,
        "encryption": 0,
        "features": 0,
    } | changes
    start = qcow2.START.pack(qcow2.MAGIC, *(values[name] for name in list(values)[:6]))
    return (start.ljust(qcow2.FEATURES_AT, b"\0") + qcow2.FEATURES.pack(values["features"])).ljust(1024, b"\0")


@pytest.mark.parametrize("version", ["0.10", "1.1"])
def test_the_size_is_what_qemus_own_tool_wrote(tmp_path: Path, version: str) -> None:
    path = qemu_img(tmp_path / "x", "-o", f"compat={version}", "12345344")
    assert disk.inspect(str(path)).size_bytes == 12345344


def test_a_disk_with_features_that_need_no_other_file_is_taken(tmp_path: Path) -> None:
    path = qemu_img(tmp_path / "x", "-o", "compression_type=zstd,extended_l2=on,lazy_refcounts=on", "1M")
    assert disk.inspect(str(path)).size_bytes == MIB


@pytest.mark.parametrize("length", [1000, 65536, 3 * 65536])
def test_a_file_that_was_cut_short_is_refused(plain: Path, length: int) -> None:
    os.truncate(plain, length)
    with pytest.raises(InvalidRequest, match="cut short"):
        disk.inspect(str(plain))


def test_a_table_that_maps_less_than_the_disk_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="maps less"):
        qcow2.check_tables(header(), MIB, "x")


def test_a_backing_file_is_refused_whatever_it_is(plain: Path, tmp_path: Path) -> None:
    path = qemu_img(tmp_path / "top", "-u", "-b", "/etc/shadow", "-F", "raw", "1M")
    with pytest.raises(InvalidRequest, match="backing file"):
        disk.inspect(str(path))


def test_a_data_file_elsewhere_is_refused(tmp_path: Path) -> None:
    path = qemu_img(tmp_path / "top", "-o", f"data_file={tmp_path / 'data'},data_file_raw=on", "1M")
    with pytest.raises(InvalidRequest, match="another file"):
        disk.inspect(str(path))


def test_an_encrypted_disk_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="encrypted"):
        qcow2.read_header(header(encryption=2), "x")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 511}, "smaller than a sector"),
        ({"version": 4}, "version 4"),
        ({"bits": 40}, r"clusters of 2\^40"),
        ({"features": 2}, "corrupt"),
        ({"features": 1 << 40}, "nobody knows"),
    ],
)
def test_a_header_that_cannot_be_used_is_refused_with_its_reason(changes: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        qcow2.read_header(header(**changes), "x")


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"", "an empty file"),
        (b"KDMV", "VMDK"),
        (b"<<< Oracle VM", "VDI"),
        (b"\0" * 510 + b"\x55\xaa", "a raw disk"),
        (b"#!/bin/sh\n", "no disk at all"),
    ],
)
def test_another_format_is_named_with_what_converts_it(start: bytes, kind: str) -> None:
    with pytest.raises(InvalidRequest, match=kind) as caught:
        qcow2.read_header(start, "/x")
    assert "qemu-img convert" in caught.value.hint


@given(st.binary(max_size=1024))
def test_any_bytes_are_a_header_or_an_error_of_ours(data: bytes) -> None:
    for start in (data, qcow2.MAGIC + data):
        with contextlib.suppress(TwinhullError):
            assert qcow2.read_header(start, "x").size_bytes >= qcow2.SECTOR_BYTES


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(NotFound):
        disk.inspect(str(tmp_path / "absent"))
    with pytest.raises(InvalidRequest, match="directory"):
        disk.inspect(str(tmp_path))
    with pytest.raises(InvalidRequest, match="no regular file"):
        disk.inspect(str(tmp_path / "fifo"))


def test_the_overlay_is_as_large_as_the_disk_and_names_it(plain: Path, tmp_path: Path) -> None:
    found = disk.inspect(str(plain))
    disk.make_overlay(found, str(tmp_path / "overlay"))
    shown = subprocess.run(
        ["qemu-img", "info", "--backing-chain", tmp_path / "overlay"], capture_output=True, text=True, check=True
    ).stdout
    assert f"backing file: {plain}" in shown
    assert shown.count("virtual size: 64 MiB") == 2


def test_a_disk_that_changed_or_was_exchanged_is_refused(plain: Path) -> None:
    found = disk.inspect(str(plain))
    disk.check_unchanged(found, "box")
    os.utime(plain, ns=(1, 1))
    with pytest.raises(Conflict, match="box") as caught:
        disk.check_unchanged(found, "box")
    subprocess.run(caught.value.hint.partition("changed: ")[2], shell=True, check=True)
    disk.check_unchanged(found, "box")
    with plain.open("ab") as file:
        file.write(b"more")
    with pytest.raises(Conflict) as caught:
        disk.check_unchanged(found, "box")
    assert "touch" not in caught.value.hint


def test_the_first_sectors_are_grubs_with_one_partition_and_no_code_in_the_table() -> None:
    boot = bytes(range(256)) * 2
    start = bootable.first_sectors(boot, b"core", 8 << 30)
    assert start[:446] == boot[:446]
    assert (start[446], start[450]) == (0x80, 0x83)
    first, count = (int.from_bytes(start[offset : offset + 4], "little") for offset in (454, 458))
    assert (first, first + count) == (2048, (8 << 30) // 512)
    assert start[462:510] == bytes(48)
    assert start[510:] == b"\x55\xaacore"


def test_a_core_that_would_reach_into_the_partition_is_refused() -> None:
    with pytest.raises(TwinhullError, match="does not fit"):
        bootable.first_sectors(bytes(512), bytes(MIB), 8 << 30)
