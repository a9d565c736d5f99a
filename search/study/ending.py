"""The early end of a search that is sure of its leader: when it comes, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..analysis import judge_sureness
from ..formats import duration, plural
from ..records import FINISHED, TrialRecord, finished
from ..sampling import strategy_floor
from .settings import StudySettings

if TYPE_CHECKING:
    from .facts import StudyFacts


@dataclass(frozen=True)
class Ending:
    """Why a search ended before all of its trials ran.

    Attributes:
        ended: Number of trials that had ended.
        leader: Strategy with the best validation score.
        chance: Probability that another strategy would win by more than what does not matter.
        chances: That of each of the others.
        sure: Probability with which the search was to end, as asked for.
        trials: Number of trials that the study had then; None for no limit.
        budget: Budget in device seconds that it had then; None for no limit.
    """

    ended: int
    leader: str
    chance: float
    chances: Mapping[str, float]
    sure: float
    trials: int | None
    budget: float | None

    def is_of(self, settings: StudySettings) -> bool:
        """Return whether a study still has the settings under which it ended; an extended one goes on."""
        return (self.sure, self.trials, self.budget) == (settings.stop_when_sure, settings.trials, settings.budget)

    def to_row(self) -> dict[str, Any]:
        """Return plain values that JSON keeps."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Ending:
        """Return the ending of plain values."""
        return cls(**row)

    def sentence(self, settings: StudySettings, ended: int, used_seconds: float) -> str:
        """Say why and when the search ended.

        Args:
            settings: Settings of the study.
            ended: Number of trials that have ended, with those that were running when it ended.
            used_seconds: Device seconds that they used.

        >>> ending = Ending(23, "full", 0.04, {"partial": 0.04}, 0.95, 40, None)
        >>> settings = StudySettings.model_construct(trials=40, budget=None, indifference=1.0)
        >>> ending.sentence(settings, 23, 300.0)
        'The search ended after 23 of 40 trials: that another strategy would win by more than 1 point had become \
unlikely (4 %).'
        """
        of = plural(ended, "trial") if settings.trials is None else f"{ended} of {settings.trials} trials"
        if settings.budget is not None:
            of += f" and {duration(used_seconds)} of the budget of {duration(settings.budget)}"
        points = f"{settings.indifference:g} point{'' if settings.indifference == 1 else 's'}"
        chance = "less than 1 %" if self.chance < 0.01 else f"{100 * self.chance:.0f} %"
        return (
            f"The search ended after {of}: that another strategy would win by more than {points} had become unlikely "
            f"({chance})."
        )


def judge_ending(
    settings: StudySettings, facts: StudyFacts, trials: Sequence[TrialRecord], used_seconds: float
) -> Ending | None:
    """Return why a search ends now; None if it goes on.

    It goes on while a strategy lacks trials of its floor. A strategy whose trials all failed cannot win.

    Args:
        settings: Settings of the study.
        facts: Facts about its data.
        trials: Trials of the study.
        used_seconds: Device seconds that they have used.
    """
    images, sure = _images(facts, settings.metric), settings.stop_when_sure
    if sure is None or images is None:
        return None
    ended: dict[str, list[TrialRecord]] = {name: [] for name in settings.strategies}
    for trial in trials:
        if trial.state in FINISHED and trial.strategy in ended:
            ended[trial.strategy].append(trial)
    if min(map(len, ended.values())) < strategy_floor(settings.planned_trials, len(ended)):
        return None
    known = {name: [score for each in every if (score := _score(each)) is not None] for name, every in ended.items()}
    scores = {name: own for name, own in known.items() if own}
    left = {name: _trials_left(settings, finished(trials), used_seconds, every) for name, every in ended.items()}
    said = judge_sureness(scores, left, images, settings.indifference / 100)
    if said is None or said.chance > 1 - sure:
        return None
    return Ending(finished(trials), said.leader, said.chance, said.chances, sure, settings.trials, settings.budget)


def _score(trial: TrialRecord) -> float | None:
    """Return the best validation score of a trial; None if it has none."""
    if trial.state == "pruned" and trial.curve and not trial.folds:
        return max(trial.curve.values())
    return None if trial.state == "failed" else trial.score


def _trials_left(settings: StudySettings, ended: int, used_seconds: float, own: Sequence[TrialRecord]) -> int:
    """Return how many trials a strategy would have if it got all that is left."""
    limits: list[float] = [] if settings.trials is None else [settings.trials - ended]
    seconds = [trial.seconds for trial in own if trial.seconds]
    if settings.budget is not None and seconds:
        limits.append((settings.budget - used_seconds) / (sum(seconds) / len(seconds)))
    # Without a price or a limit, as many as there were of all.
    return max(0, round(min(limits, default=ended)))


def _images(facts: StudyFacts, metric: str) -> float | None:
    """Return how many validation images of an accuracy would be as sure as those of a metric; None if unknown.

    A mean over classes is as unsure as its smallest classes make it.
    """
    splits = ("train", "val") if facts.folds else ("val",)
    of_classes = [sum(facts.class_counts.get(split, {}).get(name, 0) for split in splits) for name in facts.classes]
    if metric == "accuracy" or min(of_classes, default=0) < 1:
        return facts.val_images
    return len(of_classes) ** 2 / sum(1 / count for count in of_classes)
