"""The command that brings the extras is one that works where this package lies."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from twinhull.host import extras

ROOT = Path(__file__).parents[2]


def test_of_a_checkout_make_knows_the_command() -> None:
    words = shlex.split(extras.command("compose"))
    assert words == ["make", "-C", str(ROOT), "extras"]
    planned = subprocess.run([*words, "--dry-run"], capture_output=True, text=True, check=True)
    assert "scripts/setup extras" in planned.stdout


def test_of_a_wheel_it_is_the_pip_of_its_environment_or_of_its_directory(tmp_path: Path) -> None:
    site = tmp_path / "an env/lib/python3.11/site-packages"
    assert extras.command("compose", f"{site}/twinhull") == shlex.join(
        ["python3", "-m", "pip", "install", "--target", str(site), "ruamel.yaml"]
    )
    site.mkdir(parents=True)
    (tmp_path / "an env/pyvenv.cfg").touch()
    assert extras.command("compose", f"{site}/twinhull") == shlex.join(
        [f"{tmp_path}/an env/bin/python3", "-m", "pip", "install", "ruamel.yaml"]
    )


@pytest.mark.parametrize("name", sorted({name for names in extras.PACKAGES.values() for name in names}))
def test_what_make_installs_is_pinned_as_in_the_tests(name: str) -> None:
    def pinned(file: str) -> list[str]:
        stem = name.replace(".", "-")
        return [line for line in (ROOT / file).read_text().splitlines() if line.startswith(f"{stem}==")]

    assert pinned("requirements-extras.txt") == pinned("requirements-dev.txt") != []
