"""The SDK: one method a verb, the same for both isolations. `import twinhull; twinhull.Engine()`."""

from __future__ import annotations

from twinhull.engine.engine import Engine, Result

__all__ = ["Engine", "Result"]
