"""The HTML report as a file: what is in it, what it may do, and what hostile text cannot."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import documents
from twinhull.compare import statistics
from twinhull.compare.outputs import changes, conditions
from twinhull.compare.outputs.html import axis, element, page, stacks
from twinhull.compare.outputs.printable import printable

VOID = {"meta", "br", "hr"}
SECTIONS = [title for title, _ in page.SECTIONS]


class Reader(HTMLParser):
    """The tree as a browser's parser would see it, flat: tags, attributes and text; fails on a tag out of order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.stack[-1] if self.stack else "", []).append(data)

    def text(self) -> str:
        return " ".join(part for tag, parts in self.texts.items() if tag not in ("style", "script") for part in parts)


def asked() -> dict[str, Any]:
    found = documents.complete(seed=2, factor=1.5)
    expressions = ("vm.startup > 1us", "podman.startup > 1s")
    found["conditions"] = conditions.judge_all(map(conditions.parse, expressions), found)
    found["changes"] = changes.changes(documents.complete(seed=1), found, "old.json")
    return found


@pytest.fixture(params=["real", "complete", "asked", "poisoned"])
def document(request: pytest.FixtureRequest) -> dict[str, Any]:
    makers = {"real": documents.real, "complete": documents.complete, "asked": asked}
    made: dict[str, Any] = documents.poisoned(asked()) if request.param == "poisoned" else makers[request.param]()
    return made


def test_tags_are_in_order_and_no_markup_comes_from_the_document(document: dict[str, Any]) -> None:
    found = Reader(page.page(document))
    allowed = {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "header",
        "nav",
        "main",
        "section",
        "script",
        "div",
        "p",
    }
    allowed |= {"h1", "h2", "h3", "ul", "ol", "li", "a", "dl", "dt", "dd", "pre", "code", "small", "span", "strong"}
    allowed |= {
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "details",
        "summary",
        "svg",
        "desc",
        "g",
        "text",
    }
    allowed |= {"line", "rect", "circle", "polyline"}
    assert {tag for tag, _ in found.tags} <= allowed
    attributes = {name for _, named in found.tags for name in named}
    assert not [
        name for name in attributes if name.startswith("on") or name in ("style", "src", "action", "formaction")
    ]
    assert all((named["href"] or "").startswith("#") for tag, named in found.tags if "href" in named)


def test_the_only_script_is_the_data_and_it_is_the_document(document: dict[str, Any]) -> None:
    found = Reader(page.page(document))
    assert [named for tag, named in found.tags if tag == "script"] == [{"type": "application/json", "id": "document"}]
    assert json.loads("".join(found.texts["script"])) == json.loads(json.dumps(document))


def test_the_policy_allows_this_style_sheet_and_nothing_else(document: dict[str, Any]) -> None:
    found = Reader(page.page(document))
    policies = [named["content"] for _, named in found.tags if named.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256("".join(found.texts["style"]).encode()).digest()).decode()
    assert policies == [f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"]
    assert "url(" not in "".join(found.texts["style"])
    assert "@import" not in "".join(found.texts["style"])


def test_ids_are_one_each_and_every_reference_leads_to_one(document: dict[str, Any]) -> None:
    found = Reader(page.page(document))
    ids = [named["id"] for _, named in found.tags if "id" in named]
    assert len(ids) == len(set(ids))
    named = " ".join(attributes.get("aria-labelledby") or "" for _, attributes in found.tags).split()
    links = [(attributes["href"] or "")[1:] for _, attributes in found.tags if "href" in attributes]
    assert set(named) | set(links) <= set(ids)


def test_every_drawing_has_a_title_and_a_description() -> None:
    found = Reader(page.page(documents.complete()))
    drawings = [named for tag, named in found.tags if tag == "svg"]
    assert len(drawings) == 6
    assert all(named["role"] == "img" and named["aria-labelledby"] for named in drawings)
    assert len(found.texts["desc"]) == len(drawings)


def test_what_was_not_measured_is_a_gap_with_its_reason() -> None:
    document = documents.real()
    document["gaps"] = {"probes": "the probe did not load", "load": "only with --full", "density": "one ran"}
    shown = Reader(page.page(document)).text()
    for reason in document["gaps"].values():
        assert f"Not measured: {reason}." in shown
    assert "Not measured: this run did not look at it." in shown


def test_all_sections_are_there_whatever_was_measured() -> None:
    for document, wanted in ((documents.real(), SECTIONS[2:]), (asked(), SECTIONS)):
        headings = Reader(page.page(document)).texts["h2"]
        assert headings == wanted


def test_a_guest_under_tcg_is_never_called_a_wall() -> None:
    shown = Reader(page.page(documents.real())).text()
    assert "No wall around the VM here" in shown
    assert "promised by KVM" not in shown
    document = documents.real()
    document["host"]["accelerator"] = "kvm"
    assert "The wall: promised by KVM" in Reader(page.page(document)).text()


def test_every_sample_of_a_time_or_size_is_a_dot() -> None:
    document = documents.complete()
    dots = sum((named.get("class") or "").startswith("dot ") for _, named in Reader(page.page(document)).tags)
    values = [values for key, values in document["samples"].items() if key.endswith(("_s", "_bytes"))]
    assert dots == sum(map(len, values))


def test_few_samples_have_a_range_in_parentheses_and_no_bar() -> None:
    document = documents.complete()
    bars = page.page(document).count('class="interval')
    document["samples"]["vm.first_output_s"] = [0.1, 0.2, 0.3]
    document["statistics"]["vm.first_output_s"] = statistics.summarise([0.1, 0.2, 0.3]).document()
    made = page.page(document)
    assert made.count('class="interval') == bars - 1
    assert "(100 ms–300 ms)" in made
    assert "200 ms (100–300)" in made


def test_every_limit_and_probe_and_layer_is_shown() -> None:
    document = documents.complete()
    shown = Reader(page.page(document)).text()
    for found in document["density"].values():
        for limit in found["limits"]:
            assert limit["name"] in shown
            assert f"{limit['count']:,.0f}" in shown
    assert all(probe["title"] in shown for probe in document["probes"])
    assert all(layer["name"] in shown for layers in document["stacks"].values() for layer in layers)


def test_layers_that_all_stand_on_are_drawn_once() -> None:
    layers = list(documents.complete()["stacks"].values())
    assert stacks.foundation(layers) == 2
    assert stacks.foundation(layers[:1]) == 0
    changed = [[{**layers[0][0], "version": "2"}, *layers[0][1:]], *layers[1:]]
    assert stacks.foundation(changed) == 0


@given(st.text(), st.text())
def test_any_text_is_text(content: str, value: str) -> None:
    made = element.render(element.element("p", content, title=value))
    found = Reader(made)
    assert [tag for tag, _ in found.tags] == ["p"]
    assert list(found.tags[0][1]) == ["title"]
    assert "".join(found.texts.get("p", [])) == printable(content)


@pytest.mark.slow
@given(
    st.recursive(
        st.none() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_data_comes_back_and_cannot_end_its_block(value: Any) -> None:
    made = element.render(element.data("x", value))
    start, _, rest = made.partition(">")
    assert start == '<script type="application/json" id="x"'
    assert json.loads(rest.removesuffix("</script>")) == value
    assert rest.count("<") == 1


@given(st.lists(st.floats(1e-6, 1e12), min_size=1, max_size=20))
def test_an_axis_holds_its_values_in_their_order_with_few_ticks(values: list[float]) -> None:
    found = axis.log_axis(values, 100.0, 700.0)
    places = [found.place(value) for value in sorted(values)]
    assert places == sorted(places)
    assert all(100 <= place <= 700 for place in places)
    assert len(found.ticks()) >= 1
    assert len(found.ticks()) <= axis.MOST_LABELS or found.high / found.low > 10**axis.MOST_LABELS
    assert all(math.isfinite(found.place(tick)) for tick in found.ticks())


def test_facts_of_any_depth_are_shown_as_far_as_they_can_be_read() -> None:
    document = documents.complete()
    deep: Any = "lowest"
    for _ in range(200):
        deep = {"inner": [deep]}
    document["portability"] = {"first_start_s": {"vm": 1.9}, "archive_bytes": 2_100_000, "works": True, "deep": deep}
    shown = Reader(page.page(document)).text()
    for part in ("1.90 s", "2.10 MB", "yes", "… (in the raw data)"):
        assert part in shown
    assert "lowest" not in shown
