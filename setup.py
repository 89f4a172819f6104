"""What pyproject.toml cannot say: the launcher is compiled into the wheel, which is then for one platform."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.dist import Distribution

ROOT = Path(__file__).parent


class BuildWithLauncher(build_py):
    """Compile the launcher where the package's files are collected from."""

    def run(self) -> None:
        """Run make, whose rules are the only description of the launcher's build."""
        built = subprocess.run(["make", "--silent", "launcher", f"PYTHON={sys.executable}"], cwd=ROOT, check=False)
        if built.returncode:
            raise SystemExit("the launcher was not built; on Debian: apt-get install make musl-tools linux-libc-dev")
        super().run()


class Native(Distribution):
    """The launcher counts as compiled code: the wheel is not pure."""

    def has_ext_modules(self) -> bool:
        """Say so."""
        return True


class PlatformWheel(bdist_wheel):
    """Any Python 3, this machine only: the launcher is a static binary without any tie to the interpreter."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return the wheel's tags."""
        return ("py3", "none", super().get_tag()[2])


setup(cmdclass={"build_py": BuildWithLauncher, "bdist_wheel": PlatformWheel}, distclass=Native)
