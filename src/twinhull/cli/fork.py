"""`twinhull fork`: copies of a running virtual machine."""

from __future__ import annotations

from twinhull.cli.progress import prepared
from twinhull.errors import InvalidRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config


def configure_fork(parser: Parser) -> None:
    """Flags of fork."""
    add = parser.add_argument
    add("-n", "--count", type=copies, default=1, metavar="N", help="so many copies (1)")
    add("--name", default="", metavar="NEW", help="of the copy; of several NEW-1, NEW-2 and so on")
    add("original", metavar="NAME", help="name, id, or beginning of an id")


def copies(text: str) -> int:
    """A number of copies.

    Raises:
        InvalidRequest: no whole number from 1 on.
    """
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise InvalidRequest(f"-n {text}: a whole number from 1 on")
    return int(text)


def run_fork(arguments: Arguments, config: Config) -> int:
    """Make copies and print their ids."""
    engine = prepared(config)
    made = engine.live.fork(arguments.original, count=arguments.count, copy_name=arguments.name)
    for copy in made.copies:
        print(copy.id)
    return 0
