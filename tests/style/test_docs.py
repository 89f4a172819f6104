"""The documents say what the project is: lists in them are compared with their source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import twinhull
from scripts import document_cli
from twinhull.cli.verbs import VERBS, Verb, every_verb
from twinhull.compare.outputs import conditions, operands, quantities
from twinhull.prove.claims import CLAIMS

ROOT = Path(__file__).parents[2]
each_verb = pytest.mark.parametrize(("verb", "row"), [pytest.param(*pair, id=pair[0]) for pair in every_verb()])


def package_table() -> dict[str, tuple[str, str]]:
    """Name -> (when, why), from the table that the set-up reads."""
    rows = [line.split("\t") for line in (ROOT / "scripts/packages.tsv").read_text().splitlines() if line[:1] != "#"]
    return {name: (when, why) for name, when, _, why in rows}


def test_every_package_is_documented_with_its_reason() -> None:
    text = (ROOT / "docs/dependencies.md").read_text().partition("## Python packages")[0]
    documented = re.findall(r"^\| `([\w.+-]+)` \| (\w+) \| (.*?) \|$", text, re.MULTILINE)
    assert {name: (when, why) for name, when, why in documented} == package_table()


def test_every_development_tool_is_documented() -> None:
    import tomllib

    text = (ROOT / "docs/dependencies.md").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    optional = [name for group in project["project"]["optional-dependencies"].values() for name in group]
    for requirement in [*project["dependency-groups"]["dev"], *optional]:
        assert f"`{re.split('[<>=]', requirement)[0]}`" in text


def test_the_page_of_commands_is_what_the_parsers_accept() -> None:
    assert (ROOT / "docs/cli.md").read_text() == document_cli.page(), "make docs writes it anew"


@each_verb
def test_help_has_examples_that_the_parser_accepts(verb: str, row: Verb) -> None:
    parser = document_cli.parser_of(verb, row)
    assert row.examples
    for example in row.examples:
        words = example.split()
        before = ["twinhull", *verb.split()]
        assert words[: len(before)] == before
        parser.parse_args(words[len(before) :])
    shown = " ".join(parser.format_help().split())
    assert all(" ".join(example.split()) in shown for example in row.examples)


@each_verb
def test_every_option_says_what_it_is_for(verb: str, row: Verb) -> None:
    actions = document_cli.parser_of(verb, row)._actions
    assert [action.option_strings for action in actions if action.option_strings and not action.help] == []


def test_the_changelog_is_kept_as_it_says() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert all(re.fullmatch(r"\[(Unreleased|\d+\.\d+\.\d+)\]( - \d{4}-\d\d-\d\d)?", title) for title in titles)
    kinds = re.findall(r"^### (.*)$", text, re.MULTILINE)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert titles[0] == "[Unreleased]" or titles[0].startswith(f"[{twinhull.__version__}]")


@pytest.mark.parametrize("path", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]), ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_the_page_of_claims_is_the_table_of_claims() -> None:
    page = (ROOT / "docs/prove.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (\S+) \| (.*?) \| (.*?) \|$", page, re.MULTILINE)
    table = [(str(number), row.topic, row.sentence, row.refuted_by) for number, row in enumerate(CLAIMS, 1)]
    assert rows == table


def test_the_readme_names_only_commands_that_exist() -> None:
    named = re.findall(r"^    (?:sudo )?twinhull ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert set(named) <= set(VERBS)


def test_every_test_that_the_page_of_attacks_names_exists() -> None:
    page = (ROOT / "docs/security.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ") and "---" not in line]
    tests = "".join(path.read_text() for path in ROOT.glob("tests/*/test_*.py"))
    defined = set(re.findall(r"^def (test_\w+)", tests, re.MULTILINE))
    assert set(re.findall(r"`(test_\w+)`", page)) <= defined
    assert [row for row in rows if "`test_" not in row and not row.endswith(" Tests |")] == []


def test_every_name_of_a_condition_is_documented() -> None:
    text = (ROOT / "docs/compare.md").read_text()
    names = (*quantities.SUBJECTS, *quantities.VARIANTS, *quantities.PHASES, *quantities.LOADS)
    rows = [f"| `{one.name}` | `{one.key}` | {one.title} |" for one in quantities.QUANTITIES]
    assert [row for row in rows if row not in text] == []
    assert [name for name in names if f"`{name}`" not in text] == []
    assert [name for name in (*conditions.UNITS, *operands.STATISTICS) if f"`{name}`" not in text] == []
