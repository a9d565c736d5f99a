"""How good the finalist of a strategy is, by the rule that chooses it: replayed on recorded trials in seconds.

    python benchmarks/finalist_choice.py --keep

In each cell (dataset, network, strategy) of the recording, four configurations were trained with three seeds, the
strategy's default among them. One seed is the search, one the fresh training, and the third gives the test score of the
configuration that a rule chooses, compared with that of the search's best; all orders of the seeds are used. The rules
see validation scores only.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import permutations
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness
from benchmarks.recordings import RecordedTrial, read_recording
from frostline.search.study.finalists import may_lead

SEEDS = 3
# From the scores of the search and of a fresh training of each configuration, the default first: the one that is
# chosen, and the share of the three candidates that were trained for it.
Rule = Callable[[np.ndarray, np.ndarray], tuple[int, float]]


def search_alone(search: np.ndarray, fresh: np.ndarray) -> tuple[int, float]:
    """Choose the best of the search."""
    return int(search.argmax()), 0.0


def default(search: np.ndarray, fresh: np.ndarray) -> tuple[int, float]:
    """Choose the default."""
    return 0, 0.0


def all_three(search: np.ndarray, fresh: np.ndarray) -> tuple[int, float]:
    """Choose the best mean of both trainings, of the two best and the default."""
    candidates = _candidates(search)
    return max(candidates, key=lambda each: search[each] + fresh[each]), 1.0


def fresh_alone(search: np.ndarray, fresh: np.ndarray) -> tuple[int, float]:
    """Choose the best fresh training, of the two best and the default."""
    return max(_candidates(search), key=lambda each: fresh[each]), 1.0


def while_it_may_lead(search: np.ndarray, fresh: np.ndarray) -> tuple[int, float]:
    """Choose as of all three, but train the second best only where it may come to lead: the rule of the finals."""
    best, *others = candidates = _candidates(search)
    trained = [each for each in candidates if each in (best, 0)]
    top = max((search[each] + fresh[each]) / 2 for each in trained)
    trained += [each for each in others if each and may_lead(search[each], top)]
    return max(trained, key=lambda each: search[each] + fresh[each]), len(trained) / len(candidates)


def margin(search: np.ndarray, fresh: np.ndarray) -> tuple[int, float]:
    """Choose the default, unless the best of the search scored 5 points more."""
    return (int(search.argmax()) if search.max() > search[0] + 0.05 else 0), 0.0


RULES: Mapping[str, Rule] = {
    "the search's best": search_alone,
    "the default": default,
    "the search's best if 5 points better, else the default": margin,
    "best fresh training of three": fresh_alone,
    "best mean of three": all_three,
    "the same, the second best only while it may lead": while_it_may_lead,
}


def _candidates(search: np.ndarray) -> list[int]:
    order = np.argsort(-search, kind="stable")
    return list(dict.fromkeys([*order[:2].tolist(), 0]))


def scores(trials: list[RecordedTrial]) -> tuple[np.ndarray, np.ndarray] | None:
    """Validation and test scores (configurations, seeds) of those with all seeds, the default first."""
    known = [trial for trial in trials if trial.best_epoch >= 0]
    of = defaultdict(dict)
    for trial in known:
        of[trial.number][trial.seed] = trial.val_score[trial.best_epoch], trial.test_score[trial.best_epoch]
    rows = [[of[number][seed] for seed in sorted(of[number])] for number in sorted(of) if len(of[number]) == SEEDS]
    if len(rows) < 3 or len(of[0]) < SEEDS:
        return None
    both = np.array(rows, dtype=np.float64)
    return both[..., 0], both[..., 1]


def main() -> None:
    options = harness.parser(__doc__)
    options.set_defaults(data="recorded", backbone="none", weights="none", image_size=64)
    arguments = options.parse_args()
    chosen = harness.Setting(**{name: getattr(arguments, name) for name in harness.Setting.__dataclass_fields__})
    cells: dict[tuple[str, str, str], list[RecordedTrial]] = defaultdict(list)
    for trial in read_recording().trials:
        cells[trial.dataset, trial.backbone, trial.strategy].append(trial)
    gains: dict[str, list[list[float]]] = {name: [] for name in RULES}
    trained: dict[str, list[float]] = {name: [] for name in RULES}
    for cell in cells.values():
        if (found := scores(cell)) is None:
            continue
        val, test = found
        for name, rule in RULES.items():
            own = []
            for search, fresh, last in permutations(range(SEEDS)):
                number, share = rule(val[:, search], val[:, fresh])
                own.append(test[number, last] - test[val[:, search].argmax(), last])
                trained[name].append(share)
            gains[name].append(own)
    report = harness.Report("finalist_choice", "The rule that chooses a strategy's finalist, replayed.", chosen)
    count = len(next(iter(gains.values())))
    table = report.table(
        f"{count} cells of recorded trials, {len(list(permutations(range(SEEDS))))} orders of the seeds each",
        *("rule", "test score, points above the search's best", "standard error over cells", "candidates trained"),
    )
    for name, own in gains.items():
        means = 100 * np.mean(own, axis=1)
        share = np.mean(trained[name])
        table.add(name, f"{means.mean():+.2f}", f"{means.std(ddof=1) / np.sqrt(count):.2f}", f"{100 * share:.0f} %")
    harness.finish(report, arguments)


if __name__ == "__main__":
    main()
