"""The HTML report in a real browser: it asks for nothing, complains of nothing, fits a phone, and can be read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import documents
from tests.support.browser import Browser, chromium
from twinhull.compare.outputs import changes, conditions, quantities
from twinhull.compare.outputs.html import charts, page

WIDTHS = (1280, 360)
WIDE_ENOUGH = 1280  # for every column of every table
MINIMUM_CONTRAST = 4.5  # WCAG 2.2, 1.4.3, level AA, for text of any size
CONTRASTS = (Path(documents.__file__).parent / "contrast.js").read_text()
# What is wider than the window and lies in nothing that scrolls or is hidden from sight.
WIDE = """
[...document.querySelectorAll('body *:not(svg, svg *)')]
  .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll, pre, .hidden'))
  .map(e => e.outerHTML.slice(0, 80))
"""

# Tables of which a part is out of sight until somebody scrolls.
CUT = """
[...document.querySelectorAll('table')].filter(e => e.parentElement.scrollWidth > e.parentElement.clientWidth)
  .map(e => [e.caption.textContent, e.parentElement.scrollWidth, e.parentElement.clientWidth])
"""

# Names of rows that reach into the plot beside them.
INTO_THE_PLOT = f"""
[...document.querySelectorAll('svg .label')].filter(e => e.getBBox().x + e.getBBox().width > {charts.LABEL})
  .map(e => e.textContent)
"""


def asked() -> dict[str, Any]:
    found = documents.complete(seed=2, factor=1.5)
    expressions = ("vm.startup > 1us", "vm.startup > 99s", "podman.startup > 1s")
    found["conditions"] = conditions.judge_all(map(conditions.parse, expressions), found)
    subjects, names = (
        ("vm_template", "vm_cold", "podman", "plain"),
        (quantity.key for quantity in quantities.QUANTITIES),
    )
    found["gaps"] = {f"{subject}.{name}": "measured of the other starts" for name in names for subject in subjects}
    found["changes"] = changes.changes(documents.complete(seed=1), found, "old.json")
    return found


def hostile() -> dict[str, Any]:
    made: dict[str, Any] = documents.poisoned(asked())
    return made


def tried_everywhere() -> dict[str, Any]:
    """Every subject among the outcomes of the probes, which the plain process begins, and words that are long."""
    found = asked()
    detail = "EPERM opening /sys/fs/cgroup/memory/release_agent/with_a_name_that_has_no_end"
    sides = ("plain", "docker", "machine", "container", "vm")
    for one in found["probes"]:
        one["outcomes"] = {side: {"result": "not tried", "detail": detail} for side in sides}
    return found


DOCUMENTS = {"real": documents.real, "asked": asked, "hostile": hostile, "tried everywhere": tried_everywhere}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = shutil.which("chromium")
    if not program:
        pytest.skip("chromium is not installed")
    with chromium(program, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(
    params=[(name, width, dark) for name in DOCUMENTS for width in WIDTHS for dark in (False, True)], ids=str
)
def opened(request: pytest.FixtureRequest, browser: Browser, tmp_path: Path) -> tuple[Browser, dict[str, Any], int]:
    """The report of a document, open at a width and in a colour scheme."""
    name, width, dark = request.param
    document = DOCUMENTS[name]()
    path = tmp_path / "report.html"
    path.write_text(page.page(document))
    browser.open(path, width=width, dark=dark)
    assert browser.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") is dark
    return browser, document, width


def test_it_asks_for_nothing_fits_and_can_be_read(opened: tuple[Browser, dict[str, Any], int]) -> None:
    browser, document, width = opened
    assert len(browser.of("Network.requestWillBeSent")) == 1, "only the file itself"
    assert (
        browser.of("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Audits.issueAdded") == []
    )
    assert browser.evaluate("[innerWidth, document.documentElement.scrollWidth]") == [width, width]
    assert browser.evaluate(WIDE) == []
    assert browser.evaluate(INTO_THE_PLOT) == []
    assert browser.evaluate(CUT) == [] or width < WIDE_ENOUGH
    if document.get("probes"):
        heads = browser.evaluate("[...document.querySelectorAll('.probes thead th')].map(e => e.textContent)")
        titles = {"vm": "vm", "container": "container"} | {
            subject["name"]: subject["title"] for subject in document["subjects"]
        }
        assert heads[1:3] == [titles["vm"], titles["container"]] or "vm" not in document["probes"][0]["outcomes"]
    contrasts = browser.evaluate(CONTRASTS)
    assert len(contrasts) > 100
    assert [found for found in contrasts if found["contrast"] < MINIMUM_CONTRAST] == []
    titles = browser.evaluate("[...document.querySelectorAll('h2')].map(e => e.textContent)")
    assert titles == [title for title, build in page.SECTIONS if build(document) is not None]
    assert json.loads(browser.evaluate("document.getElementById('document').textContent")) == json.loads(
        json.dumps(document)
    )
    assert browser.evaluate("document.images.length + document.scripts.length") == 1


def test_the_style_is_applied_and_what_follows_is_forbidden(browser: Browser, tmp_path: Path) -> None:
    """A script and a request that someone puts into the file do not run: the policy is in force."""
    made = page.page(documents.real())
    evil = '<script>document.title = "run"</script><img src="http://127.0.0.1:9/x">'
    path = tmp_path / "evil.html"
    path.write_text(made.replace("</body>", f"{evil}</body>"))
    browser.open(path, width=1280, dark=False)
    assert browser.evaluate("document.title") != "run"
    assert browser.evaluate("getComputedStyle(document.querySelector('nav ul')).display") == "flex"
    refused = [issue["issue"]["code"] for issue in browser.of("Audits.issueAdded")]
    assert refused.count("ContentSecurityPolicyIssue") == 2


def test_the_accessibility_tree_names_tables_and_drawings(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(page.page(documents.complete()))
    for width in WIDTHS:
        browser.open(path, width=width, dark=False)
        nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
        named = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if "role" in node]
        assert ("table", "Virtual machine and container, row by row") in named
        assert ("columnheader", "VM ÷ container") in named
        assert len([name for role, name in named if role in ("img", "image") and name]) == 6
