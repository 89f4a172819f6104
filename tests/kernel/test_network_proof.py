"""The doctor's packet: it arrives where it can, and says so where it cannot; nothing stays behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import netlab
from tests.support.netlab import Lab, sh
from twinhull.network import proof


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with netlab.opened(tmp_path) as lab:
        yield lab


def state() -> tuple[str, str]:
    return sh("nft list ruleset"), sh("ip -br link | cut -d' ' -f1")


def test_packets_go_out_and_come_in_and_nothing_stays_behind(lab: Lab) -> None:
    before = state()
    assert proof.prove(lab.config, lab.db) == ("", "")
    assert state() == before
    assert lab.db.execute("SELECT count(*) FROM lease").fetchone() == (0,)


def test_the_network_of_workloads_survives_the_proof(lab: Lab) -> None:
    lab.ensure()
    lab.start("8080:80")
    before = state()
    assert proof.prove(lab.config, lab.db) == ("", "")
    assert state() == before


def test_a_firewall_that_we_cannot_open_is_found(lab: Lab) -> None:
    chain = "{ type filter hook forward priority 5; policy accept; }"
    sh(f"nft add table inet wall; nft 'add chain inet wall forward {chain}'; nft add rule inet wall forward drop")
    before = state()
    shown = proof.prove(lab.config, lab.db)
    assert "drops forwarded packets" in shown.outgoing
    assert "drops forwarded packets" in shown.published
    assert state() == before
