"""Comparisons from files are those that were made, of the same finals and no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from frostline.search.analysis import kept_comparisons
from frostline.search.analysis.kept_comparisons import KeptComparisons
from frostline.search.analysis.verdict import Verdict, compare, reach_verdict
from frostline.search.records import FinalRecord


def finals(skills: dict[str, float], images: int = 60) -> list[FinalRecord]:
    draw = np.random.default_rng(0)
    labels = np.arange(images) % 3
    records = []
    for strategy, skill in skills.items():
        for seed in (1000, 1001):
            logits = draw.normal(size=(images, 3)) + skill * np.eye(3)[labels]
            probabilities = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
            score = float((probabilities.argmax(axis=1) == labels).mean())
            records.append(FinalRecord(strategy, 0, seed, score, score, 1.0, 10, labels, probabilities))
    return records


SKILLS = {"full": 2.0, "partial": 1.8, "scratch": 0.3}


def told(verdict: Verdict) -> list[object]:
    return [verdict.winner, verdict.contenders, dict(verdict.best_shares)]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Metrics of the comparisons that were made, not read."""
    metrics: list[str] = []

    def spy(*args: object) -> object:
        metrics.append(str(args[1]))
        return compare(*args)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(kept_comparisons, "compare", spy)
    return metrics


def test_a_second_verdict_is_the_first_to_the_last_digit_and_is_not_resampled(tmp_path: Path, made: list[str]) -> None:
    kept = KeptComparisons(tmp_path / "comparisons")
    verdicts = [reach_verdict(finals(SKILLS), "accuracy", comparing=kept) for _ in range(2)]
    assert made == ["accuracy"]
    assert told(verdicts[0]) == told(verdicts[1]) == told(reach_verdict(finals(SKILLS), "accuracy"))


def test_other_predictions_another_metric_or_seed_are_compared_anew(tmp_path: Path, made: list[str]) -> None:
    kept, records = KeptComparisons(tmp_path), finals(SKILLS)
    reach_verdict(records, "accuracy", comparing=kept)
    probabilities = records[0].probabilities.copy()
    probabilities[0] = probabilities[0, ::-1]
    changed = [replace(records[0], probabilities=probabilities), *records[1:]]
    reach_verdict(changed, "accuracy", comparing=kept)
    reach_verdict(records, "macro_f1", comparing=kept)
    reach_verdict(records, "accuracy", seed=1, comparing=kept)
    reach_verdict(records[:-2], "accuracy", comparing=kept)
    assert made == ["accuracy", "accuracy", "macro_f1", "accuracy", "accuracy"]
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"score_intervals": 1, "intervals": [], "best_shares": []}'])
def test_a_file_that_is_damaged_is_made_again(tmp_path: Path, made: list[str], content: str) -> None:
    kept = KeptComparisons(tmp_path)
    before = reach_verdict(finals(SKILLS), "accuracy", comparing=kept)
    (file,) = tmp_path.iterdir()
    file.write_text(content)
    assert told(reach_verdict(finals(SKILLS), "accuracy", comparing=kept)) == told(before)
    reach_verdict(finals(SKILLS), "accuracy", comparing=kept)
    assert made == ["accuracy", "accuracy"]


def test_where_nothing_can_be_written_the_verdict_is_reached_all_the_same(tmp_path: Path, made: list[str]) -> None:
    (tmp_path / "file").write_text("")
    kept = KeptComparisons(tmp_path / "file")
    assert told(reach_verdict(finals(SKILLS), "accuracy", comparing=kept)) == told(
        reach_verdict(finals(SKILLS), "accuracy")
    )
    assert made == ["accuracy"]
