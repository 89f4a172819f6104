"""Manifests, indexes, configs and platforms."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinhull.errors import InvalidRequest, RegistryError
from twinhull.oci import manifest, platform
from twinhull.oci.platform import Platform

pytestmark = pytest.mark.unit
DIGEST = "sha256:" + "0" * 64
LAYER: dict[str, Any] = {"mediaType": manifest.OCI_LAYER_GZIP, "digest": DIGEST, "size": 7}
CONFIG: dict[str, Any] = {"mediaType": manifest.OCI_CONFIG, "digest": DIGEST, "size": 9}
DOCKER_LAYER = {**LAYER, "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip"}
PLATFORMS = ("linux/amd64", "linux/arm/v6", "linux/arm/v7", "linux/arm64/v8", "windows/amd64", "unknown/unknown")


def manifest_bytes(**changes: Any) -> bytes:
    document = {"schemaVersion": 2, "mediaType": manifest.OCI_MANIFEST, "config": CONFIG, "layers": [LAYER], **changes}
    return json.dumps({key: value for key, value in document.items() if value is not None}).encode()


def index_bytes(*names: str) -> bytes:
    entries = []
    for number, name in enumerate(names):
        parts = dict(zip(("os", "architecture", "variant"), name.split("/"), strict=False))
        entries.append({**CONFIG, "digest": "sha256:" + f"{number:064x}", "platform": parts})
    return json.dumps({"schemaVersion": 2, "mediaType": manifest.OCI_INDEX, "manifests": entries}).encode()


@pytest.mark.parametrize("media_type", [*manifest.MANIFESTS, None])
def test_oci_and_docker_manifests_are_read_alike(media_type: str | None) -> None:
    read = manifest.parse_manifest(manifest_bytes(mediaType=media_type, layers=[LAYER, DOCKER_LAYER]), "x")
    assert read.config == (manifest.OCI_CONFIG, DIGEST, 9)
    assert [layer.size_bytes for layer in read.layers] == [7, 7]


@pytest.mark.parametrize(
    "changes",
    [
        {"schemaVersion": 1},
        {"layers": []},
        {"layers": None},
        {"layers": [LAYER] * 501},
        {"layers": [{**LAYER, "mediaType": "application/vnd.in-toto+json"}]},
        {"layers": [{**LAYER, "mediaType": manifest.OCI_LAYER_GZIP + "+encrypted"}]},
        {"layers": [{**LAYER, "size": -1}]},
        {"layers": [{**LAYER, "size": True}]},
        {"layers": [{**LAYER, "size": 1 << 60}]},
        {"layers": [{**LAYER, "digest": "sha256:../../etc/passwd"}]},
        {"layers": [{**LAYER, "digest": "sha512:" + "0" * 128}]},
        {"layers": [7]},
        {"config": None},
        {"config": []},
        {"mediaType": manifest.OCI_INDEX},
    ],
)
def test_a_manifest_that_is_none_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(RegistryError):
        manifest.parse_manifest(manifest_bytes(**changes), "x")


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000, b" " * (5 << 20)])
def test_documents_are_bounded_and_objects(content: bytes) -> None:
    for read in (manifest.parse_manifest, manifest.parse_config, manifest.platforms):
        with pytest.raises(RegistryError):
            read(content, "x")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner), max_leaves=8))
def test_odd_values_never_break_the_reader(value: Any) -> None:
    for key in ("schemaVersion", "mediaType", "config", "layers", "manifests"):
        content = manifest_bytes(**{key: value})
        try:
            manifest.parse_manifest(content, "x")
        except RegistryError:
            pass
    try:
        manifest.parse_config(json.dumps({"rootfs": value, "os": value}).encode(), "x")
    except RegistryError:
        pass


def test_an_index_lists_its_platforms_without_attestations() -> None:
    listed = manifest.platforms(index_bytes(*PLATFORMS), "x")
    assert list(map(str, listed)) == ["linux/amd64", "linux/arm/v6", "linux/arm", "linux/arm64", "windows/amd64"]


def test_a_config_names_platform_and_layers() -> None:
    document = {"os": "linux", "architecture": "arm64", "variant": "v8", "rootfs": {"diff_ids": [DIGEST]}}
    assert manifest.parse_config(json.dumps(document).encode(), "x") == (Platform("linux", "arm64"), (DIGEST,))


def test_an_older_variant_runs_on_a_newer_one_only() -> None:
    old, new = platform.parse("linux/arm/v6"), platform.parse("linux/arm/v7")
    assert platform.runs(new, old)
    assert not platform.runs(old, new)


@pytest.mark.parametrize("text", ["", "/", "linux/", "a/b/c/d", "linux amd64", "../x"])
def test_a_bad_platform_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        platform.parse(text)
