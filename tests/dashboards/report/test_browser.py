"""The report in a browser without a network: it draws, complains of nothing, fits, and can be used by all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from frostline.dashboards.report.report import write_report
from frostline.objectives.data.gallery import Gallery
from frostline.search.study.results import StudyResults

axe_module = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")

VIEWS = [(width, scheme) for width in (1280, 390) for scheme in ("light", "dark")]
# The narrow one, where things stick out and overlap first. The other views are slow.
QUICK = (390, "dark")
SERIOUS = ("serious", "critical")

# Boxes of text that is drawn, by chart or panel; and what sticks out of the page to the right or is cut in its box.
_TEXTS = """() => [...document.querySelectorAll('.chart, .panels svg')].map(chart =>
    [...chart.querySelectorAll('text')].filter(text => text.textContent.trim()).map(text => {
        const box = text.getBoundingClientRect();
        return [text.textContent, box.left, box.top, box.right, box.bottom];
    }).filter(([, left, , right]) => right > left))"""
_TOO_WIDE = """() => [...document.querySelectorAll('body *')].filter(element => {
    if (element.closest('.scroll:not(:has(> .stacks))')) return false;
    if (element.closest('.unseen, script, .stacks thead, #js-plotly-tester')) return false;
    const box = element.getBoundingClientRect();
    return box.width > 0 && (box.right > innerWidth + 0.5 || box.left < -0.5);
}).map(element => element.outerHTML.slice(0, 120))"""
_DRAWN = "() => document.querySelectorAll('.chart .main-svg').length > 0 && !document.querySelector('.chart:empty')"


class Page:
    """An opened report, with what the browser had to say about it."""

    def __init__(self, page: Any, file: Path) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(file.as_uri())
        page.wait_for_function(_DRAWN)
        # Charts are drawn one after the other, and get their colors at the end.
        page.wait_for_function("() => document.querySelectorAll('.chart .main-svg').length % 3 === 0")
        page.wait_for_timeout(300)

    def unfold(self) -> None:
        self.page.evaluate("() => document.querySelectorAll('details').forEach(details => { details.open = true; })")


@pytest.fixture(scope="module")
def file(several: StudyResults, gallery: Gallery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a study large enough to show every part."""
    return write_report(several, tmp_path_factory.mktemp("reports") / "study.html", gallery)


@pytest.fixture(
    scope="module",
    params=[pytest.param(view, marks=[] if view == QUICK else [pytest.mark.slow]) for view in VIEWS],
    ids=lambda view: f"{view[0]} px {view[1]}",
)
def page(request: pytest.FixtureRequest, browser: Any, file: Path) -> Iterator[Page]:
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    yield Page(context.new_page(), file)
    context.close()


def overlapping(texts: list[list[Any]]) -> list[tuple[str, str]]:
    """Pairs of texts of one chart whose boxes share more than a sliver."""
    pairs = [(one, other) for place, one in enumerate(texts) for other in texts[:place]]
    return [(one[0], other[0]) for one, other in pairs if _shared(one, other) > 4]


def _shared(one: list[Any], other: list[Any]) -> float:
    """Area that two upright boxes have in common, in square pixels."""
    width = min(one[3], other[3]) - max(one[1], other[1])
    height = min(one[4], other[4]) - max(one[2], other[2])
    return max(0.0, width) * max(0.0, height)


def test_everything_is_drawn_without_a_word_or_a_request(page: Page, file: Path) -> None:
    assert page.page.locator(".chart .main-svg").count() > 0
    assert page.said == []
    # Plotly makes its marks from data in the page.
    assert [url for url in page.asked if not url.startswith(("data:", "blob:"))] == [file.as_uri()]
    assert page.page.locator(".verdict strong").is_visible()


def test_nothing_sticks_out_or_overlaps(page: Page) -> None:
    page.unfold()
    assert page.page.evaluate("() => document.documentElement.scrollWidth") <= page.page.viewport_size["width"]
    assert page.page.evaluate(_TOO_WIDE) == []
    charts = page.page.evaluate(_TEXTS)
    assert sum(map(len, charts)) > 100
    # Slanted labels have large boxes: those of the depths overlap there and nowhere else.
    upright = [[text for text in texts if text[4] - text[2] < 40] for texts in charts]
    assert [pair for texts in upright for pair in overlapping(texts)] == []


def test_axe_finds_no_serious_fault(page: Page) -> None:
    page.unfold()
    found = axe_module.Axe().run(page.page).response
    faults = {fault["id"]: fault["nodes"][0]["html"] for fault in found["violations"] if fault["impact"] in SERIOUS}
    assert faults == {}
    assert len(found["passes"]) > 10


def test_all_that_opens_or_scrolls_is_reached_by_keyboard(page: Page) -> None:
    reached = page.page.evaluate(
        """() => [...document.querySelectorAll('summary, a, .scroll, pre[tabindex]')]
            .filter(element => element.checkVisibility()).every(element => { element.focus();
                return document.activeElement === element; })"""
    )
    assert reached
    page.page.evaluate("() => { document.querySelector('details').open = false; }")
    page.page.locator("summary").first.focus()
    page.page.keyboard.press("Enter")
    assert page.page.locator("details").first.get_attribute("open") is not None


def test_it_prints_light_and_whole(page: Page) -> None:
    page.page.emulate_media(media="print", color_scheme="dark")
    assert page.page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.page.emulate_media(media="screen", color_scheme="light")


@pytest.mark.slow  # What a page of so many has in it is quick.
def test_a_thousand_trials_are_drawn_too(browser: Any, thousand: StudyResults, tmp_path: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 900}, offline=True)
    page = Page(context.new_page(), write_report(thousand, tmp_path / "thousand.html"))
    assert page.said == []
    assert page.page.evaluate("() => document.documentElement.scrollWidth") <= 390
    context.close()
