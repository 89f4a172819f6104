"""What is told of the wall around a workload, and that an earlier version's database learns to hold it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Literal

import pytest

from twinhull.config import Config
from twinhull.engine.state import open_home, wall
from twinhull.errors import HostUnfit
from twinhull.model import Instance, Request
from twinhull.store import db, instances

CONTAINER = Instance("1", "web", "busybox", "sha256:0", "container", 1.0, (), "{}", 0.0, "", None, (), False)


@pytest.mark.parametrize(
    ("isolation", "accelerator", "request_", "short", "text"),
    [
        ("container", "", Request(""), "host kernel", "host kernel (namespaces, seccomp)"),
        ("container", "", Request("", user_namespace=True), "user namespace", "host kernel, user namespace"),
        ("container", "", Request("", privileged=True), "none (privileged)", "none (privileged)"),
        ("vm", "kvm", Request("", untrusted=True), "KVM", "KVM"),
        ("vm", "kvm", Request("", privileged=True), "KVM", "KVM"),
        ("vm", "tcg", Request(""), "none (TCG)", "none (TCG)"),
        ("vm", "", Request(""), "not started", "not known before it starts"),
        (
            "vm",
            "tcg",
            Request("", untrusted=True, accept_weak_wall=True),
            "none (TCG), accepted",
            "none (TCG), accepted",
        ),
        (
            "container",
            "",
            Request("", untrusted=True, accept_weak_wall=True),
            "host kernel, accepted",
            "host kernel (namespaces, seccomp), accepted",
        ),
    ],
)
def test_a_wall_is_called_what_it_is(
    isolation: Literal["container", "vm"], accelerator: str, request_: Request, short: str, text: str
) -> None:
    found = wall(CONTAINER._replace(isolation=isolation), request_, accelerator)
    assert (found.short, found.text) == (short, text)
    weak = isolation == "vm" and accelerator != "kvm"
    assert ("nobody" in found.promised_by) == (weak or (isolation == "container" and request_.privileged))


def test_trust_and_the_accelerator_of_the_start_are_kept(tmp_path: Path) -> None:
    home = open_home(Config(state=str(tmp_path / "state"), run=str(tmp_path / "run")))
    request = Request("busybox", isolation="vm", untrusted=True, accept_weak_wall=True)
    instances.insert(home.db, CONTAINER._replace(isolation="vm", request=instances.request_text(request)))
    assert instances.find(home.db, "web").accelerator == ""
    instances.mark_started(home.db, "1", 2.0, "boot", "tcg")
    found = instances.find(home.db, "web")
    assert (found.accelerator, instances.request_from(found.request)) == ("tcg", request)
    home.db.close()


def test_a_database_of_the_first_version_is_brought_up_to_date_with_its_rows(tmp_path: Path) -> None:
    config = Config(state=str(tmp_path / "state"), run=str(tmp_path / "run"))
    open_home(config).db.close()
    with sqlite3.connect(config.database) as old:
        old.execute("ALTER TABLE instance DROP COLUMN accelerator")
        old.execute("PRAGMA user_version=1")
        row = ("1", "web", "busybox", "sha256:0", "vm", 1.0, "[]", "{}", 3.0, "boot", None, "[]", 0)
        old.execute(f"INSERT INTO instance VALUES ({','.join('?' * len(row))})", row)
    home = open_home(config)
    assert instances.find(home.db, "web").accelerator == ""
    assert home.db.execute("PRAGMA user_version").fetchone() == (db.SCHEMA_VERSION,)
    home.db.close()


def test_a_database_of_a_later_version_is_refused(tmp_path: Path) -> None:
    config = Config(state=str(tmp_path / "state"), run=str(tmp_path / "run"))
    open_home(config).db.close()
    with sqlite3.connect(config.database) as later:
        later.execute(f"PRAGMA user_version={db.SCHEMA_VERSION + 1}")
    with pytest.raises(HostUnfit, match="later twinhull"):
        open_home(config)
