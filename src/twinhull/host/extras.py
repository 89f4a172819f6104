"""The Python packages that make some things better, and the command that brings them to this very installation."""

from __future__ import annotations

import os
import shlex

PACKAGES = {"compose": ("ruamel.yaml",)}
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def command(extra: str, package: str = PACKAGE) -> str:
    """What to type: of a checkout its own make, of a wheel the pip that put it there.

    Args:
        extra: a key of PACKAGES.
        package: the directory of the package twinhull.
    """
    site = os.path.dirname(package)
    checkout = os.path.dirname(site)
    if os.path.exists(f"{checkout}/requirements-extras.txt"):
        return shlex.join(("make", "-C", checkout, "extras"))
    prefix = os.path.abspath(f"{site}/../../..")
    if os.path.exists(f"{prefix}/pyvenv.cfg"):
        return shlex.join((f"{prefix}/bin/python3", "-m", "pip", "install", *PACKAGES[extra]))
    return shlex.join(("python3", "-m", "pip", "install", "--target", site, *PACKAGES[extra]))
