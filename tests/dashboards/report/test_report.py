from __future__ import annotations

import base64
import gzip
import json
import shlex
import time
import tomllib
from collections import defaultdict
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss

from frostline.dashboards.report.report import describe_evidence, render_report, search_command, write_report
from frostline.dashboards.tables import common_settings
from frostline.objectives.data.gallery import Gallery
from frostline.search.space.parsing import create_space
from frostline.search.study.results import StudyResults

HOSTILE = "<script>alert(1)</script>"
LARGEST = 3_000_000


class Page(HTMLParser):
    """Visible text, tables, addresses and scripts of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text: list[str] = []
        self.rows: list[list[str]] = []
        self.addresses: list[str] = []
        self.scripts: dict[str, str] = {}
        self.names: set[str] = set()
        self.aria: dict[str, set[str]] = defaultdict(set)
        self._script: str | None = None
        self._cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.names.add(named.get("id") or "")
        for name, value in attrs:
            if name.startswith("aria-"):
                self.aria[name] |= {value or ""}
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "data", "action", "srcset")]
        if tag == "script":
            self._script = named.get("id") or f"script{len(self.scripts)}"
            self.scripts[self._script] = ""
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        self._script = None if tag == "script" else self._script
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts[self._script] += data
            return
        self.text.append(data)
        if self._cell:
            self.rows[-1][-1] += data

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def inflate(self, script: str) -> str:
        return gzip.decompress(base64.b64decode(self.scripts[script])).decode()

    @property
    def figures(self) -> dict[str, Any]:
        return json.loads(self.inflate("figures"))


@pytest.fixture(scope="module")
def html(results: StudyResults) -> str:
    return render_report(results)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_verdict_comes_in_words_and_as_a_table(page: Page, results: StudyResults) -> None:
    verdict = results.verdict
    assert verdict is not None
    assert verdict.sentence() in page.words
    for contender in verdict.contenders:
        row = next(row for row in page.rows if row[0] == contender.strategy)
        assert f"{100 * contender.mean:.1f}" in row[2]
        assert row[1] == verdict.standing(contender)


def test_every_metric_of_every_finalist_is_a_row_of_the_second_table(page: Page, results: StudyResults) -> None:
    tables = [place for place, row in enumerate(page.rows) if row[0] == "strategy"]
    titles = ["accuracy %", "balanced accuracy %", "macro F1 %", "AUROC %", "log loss", "calibration error %"]
    assert page.rows[tables[1]] == ["strategy", *titles]
    for row in page.rows[tables[1] + 1 : tables[1] + 6]:
        finals = [final for final in results.finals if final.strategy == row[0]]
        losses = [log_loss(final.labels, final.probabilities) for final in finals]
        assert row[1] == f"{100 * np.mean([final.test_score for final in finals]):.1f}"
        assert row[5] == f"{np.mean(losses):.3f}"


def test_what_calibration_changes_is_the_third_table(page: Page, results: StudyResults) -> None:
    titles = [
        "temperature",
        "log loss",
        "log loss, calibrated",
        "calibration error %",
        "calibration error %, calibrated",
    ]
    place = page.rows.index(["strategy", *titles])
    for row in page.rows[place + 1 : place + 6]:
        finals = [final for final in results.finals if final.strategy == row[0]]
        temperatures = [final.temperature for final in finals if final.temperature is not None]
        assert row[1] == f"{np.mean(temperatures):.2f}"
        assert row[2] == f"{np.mean([log_loss(final.labels, final.probabilities) for final in finals]):.3f}"
        powers = [final.probabilities.astype(float) ** (1 / t) for final, t in zip(finals, temperatures, strict=True)]
        after = [log_loss(f.labels, p / p.sum(axis=1, keepdims=True)) for f, p in zip(finals, powers, strict=True)]
        assert row[3] == f"{np.mean(after):.3f}" != row[2]


def test_finals_of_older_versions_have_no_table_of_calibration(results: StudyResults) -> None:
    before = replace(results, finals=tuple(replace(final, temperature=None) for final in results.finals))
    assert "calibrated" not in Page(render_report(before)).words
    # A study whose finals were made by two versions.
    mixed = replace(results, finals=(replace(results.finals[0], temperature=None), *results.finals[1:]))
    rows = Page(render_report(mixed)).rows
    (row,) = [row for row in rows if row[0] == results.finals[0].strategy and len(row) == 6 and row[1] == "–"]
    assert (row[3], row[5]) == ("–", "–")


def test_metrics_that_predicted_classes_do_not_give_are_left_blank(results: StudyResults) -> None:
    before = replace(results, finals=tuple(replace(final, classes_only=True) for final in results.finals))
    rows = Page(render_report(before)).rows
    place = next(place for place, row in enumerate(rows) if row[-1] == "calibration error %")
    assert all(row[4:] == ["–"] * 3 and "–" not in row[1:4] for row in rows[place + 1 : place + 6])


def test_every_chart_is_there_with_its_numbers(page: Page) -> None:
    names = ["strategies", "data-curve", "cost", "depth", "weights", "budget", "progress", "curves"]
    assert list(page.figures) == names
    assert page.words.count("The numbers in this chart") == len(names)
    assert "Plotly" in page.inflate("plotly")


def test_assistive_technology_finds_what_describes_a_chart(page: Page) -> None:
    # Attributes of WAI-ARIA 1.2, as spelled there; a browser ignores any other.
    assert set(page.aria) <= {"aria-label", "aria-labelledby", "aria-describedby", "aria-hidden", "aria-live"}
    assert {"aria-labelledby", "aria-describedby"} <= set(page.aria)
    assert page.aria["aria-labelledby"] | page.aria["aria-describedby"] <= page.names


def test_nothing_is_loaded_from_anywhere(html: str, page: Page) -> None:
    assert all(address.startswith("#") for address in page.addresses)
    targets = {address.removeprefix("#") for address in page.addresses}
    assert all(f'id="{target}"' in html for target in targets)
    assert "default-src 'none'" in html
    assert "@import" not in html
    assert "url(" not in html


def test_names_cannot_break_out(html: str, page: Page) -> None:
    assert HOSTILE not in html
    assert [HOSTILE, "80", "30", "15", "125"] in page.rows
    assert len(page.scripts) == 3


def test_every_field_is_escaped(results: StudyResults) -> None:
    names = {"name": HOSTILE, "data": HOSTILE, "backbone": HOSTILE, "weights": HOSTILE}
    facts = replace(
        results.facts,
        skipped=((HOSTILE, HOSTILE),),
        notes=(HOSTILE,),
        data_notes=(HOSTILE,),
        fingerprint=HOSTILE,
        units=(HOSTILE,) * 9,
    )
    trials = tuple(replace(trial, reason=trial.reason and HOSTILE) for trial in results.trials)
    hostile = replace(
        results,
        settings=results.settings.model_copy(update=names),
        facts=facts,
        trials=trials,
        device=HOSTILE,
        versions={HOSTILE: HOSTILE},
    )
    html = render_report(hostile)
    assert HOSTILE not in html
    assert len(Page(html).scripts) == 3


def test_what_failed_and_what_was_left_out_is_told(page: Page) -> None:
    reasons = [row for row in page.rows if row[-1].startswith("training loss is nan")]
    assert [row[:2] for row in reasons] == [["9", "scratch"], ["22", "full"]]
    assert "rose & tulip/broken.jpg" in page.words


def test_the_report_says_which_parameters_get_no_importance(several: StudyResults) -> None:
    assert "Conditional parameters, which only some trials have" in Page(render_report(several)).words


def test_what_the_network_sees_of_an_image_is_told(page: Page, results: StudyResults) -> None:
    assert "images Each image is squashed to 224 x 224 px." in page.words
    older = Page(render_report(replace(results, facts=replace(results.facts, prepared=""))))
    assert "squashed" not in older.words


def test_reproduction_is_told(page: Page, results: StudyResults) -> None:
    for text in (results.facts.fingerprint, "torch 2.15.0", "NVIDIA H200", "7; finals with 3 seeds"):
        assert text in page.words


def test_command_can_be_pasted(results: StudyResults) -> None:
    words = shlex.split(search_command(results.settings).replace("\\\n", ""))
    assert words[:5] == ["frostline", "search", "photos of/flowers", "--backbone", "resnet18"]
    assert "--strategy" not in words


def test_command_names_strategies_where_only_some_compete(results: StudyResults) -> None:
    few = results.settings.model_copy(update={"space": results.settings.space.only(["full", "scratch"])})
    assert "--strategy full \\\n  --strategy scratch" in search_command(few)


def test_command_names_folds_and_how_the_finals_run_where_that_is_not_the_default(results: StudyResults) -> None:
    def command(**more: object) -> str:
        return search_command(results.settings.model_copy(update={"racing": True, **more}))

    assert "race" not in command()
    assert "--indifference" not in command()
    assert "--folds" not in command()
    assert "--stop-when-sure" not in command()
    assert "--stop-when-sure 0.95" in command(stop_when_sure=0.95)
    assert "--folds 5" in command(folds=5)
    assert "--no-race" in command(racing=False)
    assert "--indifference 0.5" in command(indifference=0.5)


def test_many_classes_are_folded_away(results: StudyResults) -> None:
    facts = replace(results.facts, classes=tuple(f"class {place}" for place in range(102)), class_counts={})
    html = render_report(replace(results, facts=facts, finals=()))
    assert "<details><summary>The classes</summary>" in html
    assert "class 101" in Page(html).words


def test_the_verdict_says_its_price_and_how_near_the_next_comes(page: Page, results: StudyResults) -> None:
    verdict = results.verdict
    assert verdict is not None
    evidence = describe_evidence(verdict)
    other = verdict.contenders[1] if verdict.winner is verdict.leader else verdict.leader
    assert f"{verdict.winner.seconds:.0f} s" in evidence
    assert f", {other.strategy}, scored " in evidence
    assert evidence in page.words.replace("\u00a0", " ")


def test_studies_from_before_classes_were_counted_show_their_totals(results: StudyResults) -> None:
    words = Page(render_report(replace(results, facts=replace(results.facts, class_counts={})))).words
    assert f"classes 3: daisy, rose & tulip, {HOSTILE}" in words
    assert "420 images" in words


def test_the_space_can_be_saved_and_searched_again(html: str, results: StudyResults) -> None:
    text = unescape(html.split('<pre tabindex="0">')[1].split("</pre>")[0])
    assert create_space(tomllib.loads(text)) == results.settings.space


def test_what_nobody_searched_is_told_once(page: Page, results: StudyResults) -> None:
    settings = common_settings(results)
    assert settings["augmentation"] == "flip_crop"
    assert "augmentation flip_crop" in page.words
    assert not settings.keys() & {row[0] for row in page.rows}
    assert not settings.keys() & {"learning_rate", "head.pooling", "freeze_depth"}


def test_best_configurations_show_active_parameters_only(page: Page) -> None:
    row = next(row for row in page.rows if row[0] == "freeze_depth")
    assert row[1] == "–"
    assert row[2] != "–"


def test_before_the_finals_it_says_what_to_type(undecided: StudyResults) -> None:
    page = Page(render_report(undecided))
    assert "The verdict is not reached yet." in page.words
    assert "frostline verdict flowers-resnet18" in page.words
    assert list(page.figures) == ["cost", "depth", "weights", "budget", "progress", "curves"]
    assert "What it gets wrong" not in page.words


def test_before_the_first_trial_there_is_a_report(undecided: StudyResults) -> None:
    page = Page(render_report(replace(undecided, trials=())))
    assert "0 of 25 trials done" in page.words
    assert page.scripts == {}


def test_of_a_thousand_trials_the_table_has_the_best_and_says_so_in_a_small_and_quick_page(
    thousand: StudyResults, gallery: Gallery, tmp_path: Path
) -> None:
    started = time.perf_counter()
    path = write_report(thousand, tmp_path / "reports" / "many.html", gallery)
    assert time.perf_counter() - started < 10
    assert path.stat().st_size <= LARGEST
    page = Page(path.read_text(encoding="utf-8"))
    start = next(place for place, row in enumerate(page.rows) if row[:3] == ["trial", "strategy", "state"])
    shown = {int(row[0]) for row in page.rows[start + 1 : start + 201]}
    best = sorted(thousand.trials, key=lambda trial: -(trial.score or 0.0))[:100]
    assert len(shown) == 200
    assert {trial.number for trial in best} <= shown
    assert "Only the best trials are shown. 800 more are in MLflow" in page.words


def test_the_panels_of_the_winner_are_open(several: StudyResults) -> None:
    verdict = several.verdict
    assert verdict is not None
    opened = render_report(several).split('<details class="block" open><summary><h3>')
    assert len(opened) == 2
    assert opened[1].startswith(verdict.winner.strategy)


def test_pictures_of_mistakes_are_in_the_page(html: str, results: StudyResults, gallery: Gallery) -> None:
    with_pictures = render_report(results, gallery)
    assert with_pictures.count('src="data:image/jpeg;base64,') >= 5
    assert "this section has no pictures" not in with_pictures
    assert "all 96 × 96 pixels" in with_pictures
    assert "this section has no pictures" in html


def test_a_report_replaces_an_older_one(undecided: StudyResults, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    assert write_report(undecided, path) == path
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert "not reached yet" in path.read_text(encoding="utf-8")
