"""Foreign text made harmless to look at: names of images, and what a guest or a program printed.

Promise: what comes out has no control, direction-changing or invisible character; each is shown as its escape.
"""

from __future__ import annotations


def printable(text: str) -> str:
    r"""The text with every character that cannot be seen as its \u escape; line ends become spaces."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else escape(letter) for letter in " ".join(text.splitlines()))


def escape(letter: str) -> str:
    r"""One character as \uXXXX, or \UXXXXXXXX above the first plane."""
    code = ord(letter)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
