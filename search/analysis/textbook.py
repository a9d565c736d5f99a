"""The textbook's rule of thumb beside what was measured: which strategy it advises, and how that one did.

Small or far data: feature extraction; large and near: fine-tuning; what lies between: the hybrid, which trains the head
first and then everything (Karpathy et al., "CS231n: Transfer Learning"; on distance Yosinski et al. 2014, "How
transferable are features in deep neural networks?"; on the hybrid Kumar et al. 2022, "Fine-Tuning can Distort
Pretrained Features and Underperform Out-of-Distribution"). The textbook gives no numbers. Ours are measured before
training: data are near where pretraining removes at least half of the errors of a probe on random features, far where
it removes less than a quarter (Kornblith, Shlens & Le 2019, "Do Better ImageNet Models Transfer Better?", judge
pretrained features by such probes); small below 100 training images a class, large from 1,000 on, as in ImageNet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ...objectives.data import Nearness
from .verdict import Contender, Verdict

SMALL, LARGE = 100, 1000
FAR, NEAR = 0.25, 0.5
# What became of the advised strategy.
WINNER, TIE, BEHIND, ABSENT = "winner", "tie", "behind", "absent"


@dataclass(frozen=True)
class Advice:
    """The textbook's advice for a study, and its outcome.

    Attributes:
        images_per_class: Mean number of training images of a class.
        size: small, medium or large.
        domain: far, middling or near.
        nearness: What the domain was measured by.
        strategy: Name of the advised strategy.
        outcome: What became of it; None before the verdict.
        contender: The advised strategy in the verdict; None without one.
    """

    images_per_class: float
    size: str
    domain: str
    nearness: Nearness
    strategy: str
    outcome: str | None = None
    contender: Contender | None = None

    def sentence(self) -> str:
        """Return advice and outcome in one or two sentences."""
        gap = self.nearness.probe_gap
        compared = f"{abs(100 * gap):.0f} % {'fewer' if gap >= 0 else 'more'}"
        return (
            f"The textbook advises {self.strategy} for {self.size} data ({self.images_per_class:,.0f} training images "
            f"a class) from a {self.domain} domain (a probe on the pretrained features makes {compared} errors than "
            f"one on random ones).{self._outcome_sentence()}"
        )

    def _outcome_sentence(self) -> str:
        if self.outcome is None:
            return ""
        if self.contender is None:
            return " It was not among the strategies."
        if self.outcome == WINNER:
            return " It is the recommended one."
        gap = f"{100 * self.contender.gap_to_leader:.1f} points behind the leader"
        return f" It tied: {gap}." if self.outcome == TIE else f" It is {gap}."


def advise(images: int, classes: int, nearness: Nearness | None, verdict: Verdict | None) -> Advice | None:
    """Return the textbook's advice and what became of it; None if nearness was not measured.

    Args:
        images: Number of training images.
        classes: Number of classes.
        nearness: Nearness of the data to those of the pretraining.
        verdict: Verdict of the study, if it is reached.

    Examples:
        >>> from frostline.objectives.data import Nearness
        >>> from frostline.search.analysis import advise
        >>> near = Nearness(pretrained=0.9, random=0.6)
        >>> [advise(images, 10, near, None).strategy for images in (500, 5_000, 50_000)]
        ['feature_extraction', 'lp_ft', 'full']
    """
    if nearness is None or nearness.reason:
        return None
    per_class = images / classes
    size = "small" if per_class < SMALL else "large" if per_class >= LARGE else "medium"
    domain = "far" if nearness.probe_gap < FAR else "near" if nearness.probe_gap >= NEAR else "middling"
    strategy = "lp_ft"
    if size == "small" or domain == "far":
        strategy = "feature_extraction"
    elif (size, domain) == ("large", "near"):
        strategy = "full"
    contender = next((each for each in verdict.contenders if each.strategy == strategy), None) if verdict else None
    outcome = _outcome(verdict, contender) if verdict else None
    return Advice(per_class, size, domain, nearness, strategy, outcome, contender)


def _outcome(verdict: Verdict, contender: Contender | None) -> str:
    if contender is None:
        return ABSENT
    if contender is verdict.winner:
        return WINNER
    return TIE if contender.tied or contender.as_good else BEHIND


def count_outcomes(advices: Iterable[Advice | None]) -> str:
    """Return how often the textbook was right, over finished studies, as a sentence; empty if there are none to count.

    Args:
        advices: Advice of each study; those without advice or outcome, or whose strategy did not compete, do not count.
    """
    found = Counter(each.outcome for each in advices if each is not None)
    judged = found[WINNER] + found[TIE] + found[BEHIND]
    if not judged:
        return ""
    studies = "the one finished study" if judged == 1 else f"{judged} finished studies"
    return (
        f"Of {studies} with such advice, the advised strategy was the recommended one in {found[WINNER]}, tied in "
        f"{found[TIE]} and was behind in {found[BEHIND]}."
    )
