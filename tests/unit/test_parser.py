"""The light parser takes and refuses what argparse does with the same arguments."""

from __future__ import annotations

import contextlib
import io
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinhull.cli.arguments import make_parser
from twinhull.cli.help import full_parser
from twinhull.cli.parser import Parser
from twinhull.cli.verbs import every_verb
from twinhull.errors import InvalidRequest

LINES = """
IMAGE
IMAGE sh -c 'x' --rm
-- IMAGE -x
IMAGE -- echo hi
IMAGE echo -- hi
--rm -it -e A=B --env=C=D -eE=F --name web -d IMAGE top -d
-dit IMAGE
-itd IMAGE
-di IMAGE -t
-m 64m --memory=32m -m32m IMAGE
-m=64m IMAGE
--pids-limit -1 IMAGE
--pids-limit x IMAGE
--name= IMAGE
--name - IMAGE
--name -- IMAGE
--name --rm IMAGE
-e
--rm=yes IMAGE
-d=yes IMAGE
-dx IMAGE
-x IMAGE
--nosuch IMAGE
--isolation vm IMAGE
--isolation jail IMAGE
--iso vm IMAGE
-f a b
a b -f
a -f b
-t 5 a
-t5 a
-t=5 a b
-t -5 a
-ta b
-f -t 1 a
-fa b
-f5 a
a -- -b
--
-- -a -b
-5
-.5
-q a -q
a b
a b c
a -q b
--format json
--format=table a
--format x
-n5 a
-n 5 -f a
-fn5 a
-fn a
--quick IMAGE -- echo hi
--quick --format json
""".strip().splitlines()
VERBS = dict(every_verb())
POOL = ["a", "b", "-", "", "a b", "-x", "--nosuch", "--nosuch=1", "-5", "-x y", "5", "json", "table", "vm", "64m", "--"]


def parser_of(verb: str) -> Parser:
    """The parser of a verb with its flags."""
    parser = make_parser(verb, VERBS[verb])
    getattr(import_module(f"twinhull.cli.{VERBS[verb].module}"), f"configure_{VERBS[verb].function}")(parser)
    return parser


def outcome(parse: Any, words: list[str]) -> Any:
    """The values, or that the words were refused."""
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            return vars(parse(words))
        except (InvalidRequest, SystemExit):
            return "refused"


@pytest.mark.parametrize("verb", VERBS)
def test_command_lines_are_read_as_argparse_reads_them(verb: str) -> None:
    parser = parser_of(verb)
    for line in ["", *LINES]:
        words = line.split()
        ours, theirs = outcome(parser.parse_args, words), outcome(full_parser(parser).parse_args, words)
        assert ours == theirs, f"{verb} {line}"


@pytest.mark.parametrize("verb", VERBS)
def test_any_words_are_read_as_argparse_reads_them(verb: str) -> None:
    parser = parser_of(verb)
    flags = [name for name in parser.flags if name != "--help"]
    glued = [f"{name}{end}" for name in flags for end in ("=", "=a", "a", "5", "t")]
    word = st.one_of(st.sampled_from(POOL), st.sampled_from(flags or ["-x"]), st.sampled_from(glued or ["-x"]))

    # argparse fails with a traceback of its own where "--" comes twice and a name is expected for the second.
    @settings(max_examples=30)
    @given(st.lists(word, max_size=6).filter(lambda words: words.count("--") < 2))
    def check(words: list[str]) -> None:
        assert outcome(parser.parse_args, words) == outcome(full_parser(parser).parse_args, words)

    check()


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("run", "run: the following arguments are required: IMAGE", "twinhull run --help"),
        ("run --nmae x busybox", "run: unknown flag --nmae", "did you mean --name?"),
        ("run --zzzzz=1 busybox", "run: unknown flag --zzzzz", "twinhull run --help"),
        ("run -X busybox", "run: unknown flag -X", "twinhull run --help"),
        ("run --name", "run: argument --name: expected one argument", "twinhull run --help"),
        ("run --rm=1 busybox", "run: argument --rm: ignored explicit argument '1'", "twinhull run --help"),
        ("run --pids-limit x busybox", "run: argument --pids-limit: invalid int value: 'x'", "twinhull run --help"),
        (
            "ps --format xml",
            "ps: argument --format: invalid choice: 'xml' (choose from 'table', 'json')",
            "twinhull ps --help",
        ),
        ("rm", "rm: the following arguments are required: NAME", "twinhull rm --help"),
        ("tag a", "tag: the following arguments are required: NAME", "twinhull tag --help"),
        ("ps a b", "ps: unrecognized arguments: a b", "twinhull ps --help"),
    ],
)
def test_a_refusal_is_one_line_and_says_where_to_look(line: str, message: str, hint: str) -> None:
    verb, *words = line.split()
    with pytest.raises(InvalidRequest) as caught:
        parser_of(verb).parse_args(words)
    assert caught.value.message == message and caught.value.hint.startswith(hint)


@pytest.mark.parametrize("words", [["--help"], ["--rm", "--help", "busybox"]])
def test_help_is_argparse_s(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    parser = parser_of("run")
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(words)
    assert caught.value.code == 0 and capsys.readouterr().out == full_parser(parser).format_help()


def test_help_behind_the_image_is_the_workload_s() -> None:
    assert vars(parser_of("run").parse_args(["busybox", "ls", "--help"]))["command"] == ["ls", "--help"]
