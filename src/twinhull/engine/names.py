"""Names for workloads that were given none: two plain words, so that people can say them."""

from __future__ import annotations

import os

FIRST = """amber brisk calm clear cosy crisp eager early fair fleet fresh gentle glad golden grand green hardy keen
kind level light lively loyal lucky mellow mild neat noble plain proud quick quiet ready royal sharp silver sleek
smart snug solid sound spry stable steady still stout sunny swift tidy trim true vivid warm wise witty""".split()
SECOND = """anchor barge bay beam boat bow brig buoy cabin canal canoe cape cargo clipper coast compass coral crane
cutter deck delta dinghy dock drift ferry fjord galley gull harbour haven helm hull island jetty kayak keel lagoon
lighter lock mast oar pier pilot port prow quay raft reef rigging rudder sail schooner shoal sloop sound spar tide
trawler tug wharf yacht yawl""".split()

RULE = "letters, digits, '_', '.', '-'; two at least; the first no sign"


def pick() -> str:
    """Return a name; the caller's unique index says whether it is free."""
    number = int.from_bytes(os.urandom(4), "little")
    return f"{FIRST[number % len(FIRST)]}-{SECOND[number // len(FIRST) % len(SECOND)]}"


def is_valid(name: str) -> bool:
    """[a-zA-Z0-9][a-zA-Z0-9_.-]+, as Docker has it."""
    allowed = name.isascii() and all(letter.isalnum() or letter in "_.-" for letter in name)
    return allowed and len(name) >= 2 and name[0].isalnum()
