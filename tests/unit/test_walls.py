"""What is told of the wall around a workload, and that an earlier version's database learns to hold it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Literal

import pytest

from twinhull.config import Config
from twinhull.engine.state import open_home, wall
from twinhull.errors import HostUnfit
from twinhull.model import Device, Instance, Request, Volume
from twinhull.network import networks
from twinhull.store import db, instances

CONTAINER = Instance("1", "web", "busybox", "sha256:0", "container", 1.0, (), "{}", 0.0, "", (), (), False)


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


@pytest.mark.parametrize(
    ("isolation", "asked", "opened"),
    [
        ("container", Request("", cap_add=("NET_RAW", "SYS_ADMIN")), ("--cap-add SYS_ADMIN",)),
        ("container", Request("", cap_add=("ALL",), seccomp="unconfined"), ("--cap-add ALL", "seccomp=unconfined")),
        ("container", Request("", unmasked=True, network="host"), ("systempaths=unconfined", "--network host")),
        ("container", Request("", volumes=(Volume("/", "/h"), Volume("/srv/data", "/data"))), ("-v /",)),
        ("container", Request("", volumes=(Volume("/run/docker.sock", "/s"),)), ("-v /run/docker.sock",)),
        (
            "container",
            Request("", devices=(Device("/dev/vda", "/dev/vda", "rw"), Device("/dev/null", "/dev/x", "rw"))),
            ("--device /dev/vda",),
        ),
        ("container", Request("", privileged=True, volumes=(Volume("/srv/data", "/data"),)), ()),
        ("container", Request("", volumes=(Volume("etc", "/data", kind="volume"),), cap_add=("CHOWN",)), ()),
        ("vm", Request("", cap_add=("ALL",), seccomp="unconfined", volumes=(Volume("/srv/data", "/d"),)), ()),
        ("vm", Request("", volumes=(Volume("/etc", "/h", readonly=True),)), ("-v /etc (read-only)",)),
    ],
)
def test_what_leads_past_a_wall_is_said_with_it(
    isolation: Literal["container", "vm"], asked: Request, opened: tuple[str, ...]
) -> None:
    found = wall(CONTAINER._replace(isolation=isolation), asked, "kvm" if isolation == "vm" else "")
    assert found.text.endswith(f", opened by {', '.join(opened)}") == bool(opened), found
    assert found.short.endswith(", opened") == bool(opened)
    assert ("but for what was opened" in found.promised_by) == bool(opened)


def test_trust_and_the_accelerator_of_the_start_are_kept(tmp_path: Path) -> None:
    home = open_home(Config(state=str(tmp_path / "state"), run=str(tmp_path / "run")))
    request = Request("busybox", isolation="vm", untrusted=True, accept_weak_wall=True)
    instances.insert(home.db, CONTAINER._replace(isolation="vm", request=instances.request_text(request)))
    assert instances.find(home.db, "web").accelerator == ""
    instances.mark_started(home.db, "1", 2.0, "boot", "tcg")
    found = instances.find(home.db, "web")
    assert (found.accelerator, instances.request_from(found.request)) == ("tcg", request)
    home.db.close()


# The tables as the first version made them, as far as later ones changed them.
FIRST_TABLES = """
CREATE TABLE instance (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, image TEXT NOT NULL, image_digest TEXT NOT NULL,
    isolation TEXT NOT NULL, created REAL NOT NULL, command TEXT NOT NULL, request TEXT NOT NULL,
    started REAL NOT NULL DEFAULT 0, boot_id TEXT NOT NULL, endpoint TEXT, ports TEXT NOT NULL DEFAULT '[]',
    remove INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE network (
    name TEXT PRIMARY KEY, link TEXT NOT NULL, subnet TEXT NOT NULL, version INTEGER NOT NULL,
    link_index INTEGER NOT NULL, chain_handle INTEGER NOT NULL, cursor INTEGER NOT NULL DEFAULT 1
);
CREATE TABLE port (
    protocol TEXT NOT NULL, host_port INTEGER NOT NULL, address TEXT NOT NULL, port INTEGER NOT NULL,
    instance TEXT NOT NULL, PRIMARY KEY (protocol, host_port, address)
) WITHOUT ROWID;
INSERT INTO network VALUES ('bridge', 'twinhull0', '10.87.0.0/16', 2, 7, 1, 1);
INSERT INTO port VALUES ('tcp', 8080, '0.0.0.0', 80, '1');
"""
PLACE = '["bridge", "twinhull0", 7, "10.87.0.2", 16, "10.87.0.1", "02:74:0a:57:00:02", "tw0123"]'


@pytest.mark.parametrize("version", [1, 2])
def test_a_database_of_an_earlier_version_is_brought_up_to_date_with_its_rows(tmp_path: Path, version: int) -> None:
    config = Config(state=str(tmp_path / "state"), run=str(tmp_path / "run"))
    (tmp_path / "state").mkdir()
    with closing(sqlite3.connect(config.database)) as old, old:
        old.executescript(FIRST_TABLES)
        if version == 2:
            old.execute("ALTER TABLE instance ADD COLUMN accelerator TEXT NOT NULL DEFAULT ''")
        old.execute(f"PRAGMA user_version={version}")
        for name, place in (("web", PLACE), ("apart", None)):
            plain = (name, name, "busybox", "sha256:0", "vm", 1.0, "[]", "{}", 3.0, "boot", place, "[]", 0)
            row = plain if version == 1 else (*plain, "")
            old.execute(f"INSERT INTO instance VALUES ({','.join('?' * len(row))})", row)
    home = open_home(config)
    found = instances.find(home.db, "web")
    assert (found.accelerator, [place.address for place in found.endpoints]) == ("", ["10.87.0.2"])
    assert instances.find(home.db, "apart").endpoints == ()
    assert home.db.execute("SELECT network FROM port").fetchall() == [("bridge",)]
    (network,) = networks.everything(home.db)
    assert (network.name, network.gateway, network.internal, len(network.id)) == ("bridge", "10.87.0.1", False, 64)
    assert home.db.execute("PRAGMA user_version").fetchone() == (db.SCHEMA_VERSION,)
    home.db.close()


def test_a_database_of_a_later_version_is_refused(tmp_path: Path) -> None:
    config = Config(state=str(tmp_path / "state"), run=str(tmp_path / "run"))
    open_home(config).db.close()
    with closing(sqlite3.connect(config.database)) as later, later:
        later.execute(f"PRAGMA user_version={db.SCHEMA_VERSION + 1}")
    with pytest.raises(HostUnfit, match="later twinhull"):
        open_home(config)
