"""From the words of a command line to values, by argparse's rules without the 15 ms that its import costs.

Promise: what argparse makes of the same words, or InvalidRequest in one line. Tests feed both; help, for which there
is time, is argparse's own (twinhull.cli.help).
"""

from __future__ import annotations

from twinhull.errors import InvalidRequest
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Literal, NoReturn

    Action = Literal["store", "store_true", "append", "help"]

REMAINDER = "..."  # everything that is left, flags too; argparse's constant
MANY = ("*", "+", REMAINDER)
WORD, FLAG, DASHES = "A", "O", "-"  # what a word is; DASHES: the first "--", behind which all are plain words


class Argument(NamedTuple):
    """One flag, or one positional argument: then it has no names."""

    names: tuple[str, ...]
    dest: str
    action: Action
    nargs: str  # of a positional: "" one, ? none or one, * any number, + one or more, REMAINDER
    type: Callable[[str], Any] | None
    choices: tuple[str, ...]
    default: Any
    metavar: str | None
    help: str | None

    @property
    def takes_value(self) -> bool:
        """False for a flag that stands alone."""
        return self.action in ("store", "append")

    @property
    def label(self) -> str:
        """What an error calls it."""
        return "/".join(self.names) or self.metavar or self.dest


class Arguments:
    """The values, one attribute each."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"no argument {name!r}")


class Parser:
    """The arguments of one verb."""

    def __init__(self, verb: str, *, description: str = "", epilog: str = "") -> None:
        self.verb = verb
        self.description = description
        self.epilog = epilog
        self.arguments: list[Argument] = []
        self.flags: dict[str, Argument] = {}

    def add_argument(
        self,
        *names: str,
        action: Action = "store",
        nargs: str = "",
        type: Callable[[str], Any] | None = None,
        choices: Sequence[str] = (),
        default: Any = None,
        dest: str = "",
        metavar: str | None = None,
        help: str | None = None,
    ) -> None:
        """Add a flag, or a positional argument, as argparse's method of this name does."""
        longest = next((name for name in names if name.startswith("--")), names[0])
        flags = names if names[0].startswith("-") else ()
        default = False if action == "store_true" else default
        dest = dest or longest.lstrip("-").replace("-", "_")
        argument = Argument(flags, dest, action, nargs, type, tuple(choices), default, metavar, help)
        self.arguments.append(argument)
        self.flags.update(dict.fromkeys(flags, argument))

    def parse_args(self, words: Sequence[str]) -> Arguments:
        """Return the values.

        Raises:
            InvalidRequest: the verb does not take these words.
            SystemExit: one was --help, and was answered.
        """
        return Reading(self, words).read()

    def split(self, word: str) -> tuple[str, str | None] | None:
        """Return the flag that a word is and the value attached to it; None if it is a plain word."""
        if word[:1] != "-" or word == "-":
            return None
        name, equals, value = word.partition("=")
        if word in self.flags:
            return word, None
        if equals and name in self.flags:
            return name, value
        if word[:2] in self.flags:  # -n5, or -ab for -a -b
            return word[:2], word[2:]
        return None if is_number(word) or " " in word else (name, None)

    def fail(self, message: str) -> NoReturn:
        """Say what is wrong, and where to look.

        Raises:
            InvalidRequest: always.
        """
        raise InvalidRequest(f"{self.verb}: {message}", hint=f"twinhull {self.verb} --help")

    def fail_unknown(self, flag: str) -> NoReturn:
        """Say that there is no such flag, with the one that was probably meant.

        Raises:
            InvalidRequest: always.
        """
        from difflib import get_close_matches

        close = get_close_matches(flag, self.flags, 1)
        hint = f"did you mean {close[0]}?" if close else f"twinhull {self.verb} --help"
        raise InvalidRequest(f"{self.verb}: unknown flag {flag}", hint=hint)


class Reading:
    """One command line on its way through a parser."""

    def __init__(self, parser: Parser, words: Sequence[str]) -> None:
        self.parser = parser
        self.words = list(words)
        self.kinds = kinds_of(parser, self.words)
        self.positionals = [argument for argument in parser.arguments if not argument.names]
        self.unexpected: list[str] = []
        self.values = Arguments()
        for argument in parser.arguments:
            if argument.action != "help":
                setattr(self.values, argument.dest, argument.default)

    def read(self) -> Arguments:
        """Take flags and plain words as they come."""
        index, last = 0, self.kinds.rfind(FLAG)
        while index <= last:
            if self.kinds[index] == FLAG:
                index = self.take_flag(index)
                continue
            end = self.take_positionals(index)
            if end == index:
                end = self.kinds.index(FLAG, index)
                self.unexpected += self.words[index:end]
            index = end
        self.unexpected += self.words[self.take_positionals(index) :]
        missing = [argument.label for argument in self.positionals if argument.nargs in ("", "+")]
        if missing:
            self.parser.fail(f"the following arguments are required: {', '.join(missing)}")
        if self.unexpected:
            self.parser.fail(f"unrecognized arguments: {' '.join(self.unexpected)}")
        return self.values

    def take_flag(self, index: int) -> int:
        """Take the flags of one word, with a value if the last has one; return the index behind them."""
        name, attached = self.parser.split(self.words[index]) or ("", None)
        while True:
            flag = self.parser.flags.get(name)
            if flag is None:
                self.parser.fail_unknown(name)
            if flag.takes_value:
                return self.take_value(flag, attached, index)
            if attached is None:
                self.act(flag, "")
                return index + 1
            if name.startswith("--") or f"-{attached[:1]}" not in self.parser.flags:
                self.parser.fail(f"argument {flag.label}: ignored explicit argument {attached!r}")
            self.act(flag, "")
            name, attached = f"-{attached[0]}", attached[1:] or None

    def take_value(self, flag: Argument, attached: str | None, index: int) -> int:
        """Give a flag its value, the next word if none is attached; return the index behind it."""
        if attached is not None:
            self.act(flag, attached)
            return index + 1
        if self.kinds[index + 1 : index + 2] != WORD:
            self.parser.fail(f"argument {flag.label}: expected one argument")
        self.act(flag, self.words[index + 1])
        return index + 2

    def take_positionals(self, index: int) -> int:
        """Give plain words to as many positionals as they suffice for; return the index behind them."""
        while self.positionals:
            argument = self.positionals[0]
            end = reach(argument.nargs, self.kinds, index)
            if end < 0:
                break
            words = [
                self.words[at] for at in range(index, end) if self.kinds[at] != DASHES or argument.nargs == REMAINDER
            ]
            found = [self.convert(argument, word) for word in words]
            if found or argument.nargs != "?":
                setattr(self.values, argument.dest, found if argument.nargs in MANY else found[0])
            self.positionals.pop(0)
            index = end
        return index

    def act(self, flag: Argument, text: str) -> None:
        """Do what a flag says.

        Raises:
            SystemExit: it says to show the help.
        """
        if flag.action == "help":
            from twinhull.cli.help import full_parser

            print(full_parser(self.parser).format_help(), end="")
            raise SystemExit(0)
        value = self.convert(flag, text) if flag.takes_value else True
        if flag.action == "append":
            value = [*getattr(self.values, flag.dest), value]
        setattr(self.values, flag.dest, value)

    def convert(self, argument: Argument, text: str) -> Any:
        """Return a word as the value it stands for."""
        try:
            value = argument.type(text) if argument.type else text
        except Empty:
            self.parser.fail(f"argument {argument.label}: it is empty")
        except (TypeError, ValueError):
            kind = getattr(argument.type, "__name__", "")
            self.parser.fail(f"argument {argument.label}: invalid {kind} value: {text!r}")
        if argument.choices and value not in argument.choices:
            choices = ", ".join(map(repr, argument.choices))
            self.parser.fail(f"argument {argument.label}: invalid choice: {value!r} (choose from {choices})")
        return value


class Empty(ValueError):
    """A value that must not be empty is."""


def given(text: str) -> str:
    """The type of a value that must not be empty: it may come from a variable that was not set, and be no wish at all.

    Raises:
        Empty: it is.
    """
    if not text:
        raise Empty
    return text


def kinds_of(parser: Parser, words: Sequence[str]) -> str:
    """Return a letter a word: WORD, FLAG or DASHES."""
    end = words.index("--") if "--" in words else len(words)
    kinds = "".join([WORD if parser.split(word) is None else FLAG for word in words[:end]])
    return kinds + DASHES * (end < len(words)) + WORD * (len(words) - end - 1)


def reach(nargs: str, kinds: str, index: int) -> int:
    """Return the index behind what a positional takes from `index` on, -1 if there is too little for it."""
    if nargs == REMAINDER:
        return len(kinds)
    start = skip(DASHES, kinds, index)
    present = kinds[start : start + 1] == WORD
    if not present:
        return start if nargs in ("?", "*") else -1
    return skip(WORD + DASHES, kinds, start) if nargs in ("+", "*") else skip(DASHES, kinds, start + 1)


def skip(what: str, kinds: str, index: int) -> int:
    """Return the index of the first kind from `index` on that is none of `what`."""
    while index < len(kinds) and kinds[index] in what:
        index += 1
    return index


def is_number(word: str) -> bool:
    """True for -5 and -.5, which are words: no flag of ours looks like a number."""
    whole, point, part = word[1:].partition(".")
    return (not whole or whole.isdecimal()) and part.isdecimal() if point else whole.isdecimal()
