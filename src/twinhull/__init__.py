"""Run any OCI image as a container or as a virtual machine, and measure the difference."""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own costs an import
if TYPE_CHECKING:
    from twinhull import errors
    from twinhull.advice.question import Wishes
    from twinhull.engine import Engine, Result
    from twinhull.errors import TwinhullError
    from twinhull.model import Port, Request, Volume

__version__ = "0.1.0"
__all__ = ["Engine", "Port", "Request", "Result", "TwinhullError", "Volume", "Wishes", "__version__", "errors"]
PLACES = {
    "Engine": "engine",
    "Result": "engine",
    "TwinhullError": "errors",
    "errors": "",
    "Port": "model",
    "Request": "model",
    "Volume": "model",
    "Wishes": "advice.question",
}


def __getattr__(name: str) -> object:
    """Import what is asked for: the command line starts without the SDK's surface."""
    if name not in PLACES:
        raise AttributeError(f"module 'twinhull' has no attribute {name!r}")
    from importlib import import_module

    if not PLACES[name]:
        return import_module(f"twinhull.{name}")
    found: object = getattr(import_module(f"twinhull.{PLACES[name]}"), name)
    return found
