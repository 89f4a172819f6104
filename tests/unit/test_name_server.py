"""Which complaints of dnsmasq are worth another try."""

from __future__ import annotations

import pytest

from twinhull.network.dns import HUNG, is_passing

BUSY = "failed to create listening socket for 10.87.0.1: Address already in use"


@pytest.mark.parametrize("said", [BUSY, "failed to find list of interfaces: No such device", HUNG])
def test_what_may_pass_is_tried_again(said: str) -> None:
    assert is_passing(said)


@pytest.mark.parametrize("said", ["", "unknown user or group: nobody", "cannot read /x: Permission denied"])
def test_what_stays_is_told(said: str) -> None:
    assert not is_passing(said)
