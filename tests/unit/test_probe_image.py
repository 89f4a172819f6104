"""The probe's image, and the platforms an index names."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

from twinhull.compare import image, probe


def member(archive: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as file:
        content = file.extractfile(name)
        assert content
        return content.read()


def test_the_archive_is_what_docker_save_writes() -> None:
    archive = probe.archive({"probe": b"\x7fELF"}, "twinhull/probe:1")
    (entry,) = json.loads(member(archive, "manifest.json"))
    config = json.loads(member(archive, entry["Config"]))
    layer = member(archive, entry["Layers"][0])

    assert entry["RepoTags"] == ["twinhull/probe:1"]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    assert member(layer, "probe") == b"\x7fELF"


def test_the_same_program_makes_the_same_image() -> None:
    assert probe.archive({"x": b"x"}, "a:1") == probe.archive({"x": b"x"}, "a:1")


def test_platforms_without_attestations_and_no_endless_list() -> None:
    assert image.shortened(("linux/amd64", "unknown/unknown", "linux/arm/v7", "linux/amd64")) == (
        "linux/amd64",
        "linux/arm/v7",
    )
    assert image.shortened(tuple(f"linux/cpu{number}" for number in range(11)))[-1] == "3 more"
