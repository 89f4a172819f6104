"""Images of Debian packages from a real registry, run by the real command."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.command import Twinhull
from tests.support.registry import Registry


def test_a_debian_with_python_is_pulled_and_computes(
    twinhull: Twinhull, registry: Registry, python_layout: Path
) -> None:
    name = registry.put(python_layout, "python", "debian/python:3")
    pulled = twinhull("pull", name, check=True)
    assert pulled.stdout.strip().startswith("sha256:")
    ran = twinhull("run", "--rm", "--network", "none", name, "python3", "-c", "import ssl, json; print(6 * 7)")
    assert (ran.exit_code, ran.stdout) == (0, "42\n"), ran.stderr
    listed = twinhull("images", "--format", "json", check=True).json()
    assert [row["name"] for row in listed] == [name]


def test_a_pulled_image_goes_to_another_registry_byte_for_byte(
    twinhull: Twinhull, registry: Registry, python_layout: Path
) -> None:
    name = registry.put(python_layout, "python", "first/python:3")
    twinhull("pull", name, check=True)
    digest = twinhull("push", name, f"{registry.address}/second/python:3", check=True).stdout.strip()
    entries = json.loads((python_layout / "index.json").read_text())["manifests"]
    assert digest == entries[0]["digest"]


def test_an_archive_carries_an_image_to_another_machine(twinhull: Twinhull, tmp_path: Path) -> None:
    twinhull("run", "--rm", "--network", "none", "busybox", "true", check=True)
    twinhull("save", "-o", str(tmp_path / "busybox.tar"), "busybox", check=True)
    other = Twinhull(tmp_path)
    other("load", "-i", str(tmp_path / "busybox.tar"), check=True)
    ran = other("run", "--rm", "--network", "none", "busybox", "echo", "carried")
    assert (ran.exit_code, ran.stdout) == (0, "carried\n"), ran.stderr
