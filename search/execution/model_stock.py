"""The model stock of a study: made of its recommended strategy's seeds when the verdict stands, kept to be shipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from ...objectives.calibration import fit_temperature
from ...objectives.errors import ObjectiveError
from ...objectives.features import FeatureStore
from ...objectives.finetune import Task, predict
from ...objectives.metrics import score
from ...objectives.networks import (
    Network,
    head_for,
    measure_serving,
    model_stock,
    read_card,
    read_weights,
    seen_by_head,
)
from ...objectives.precision import EXACT
from ...objectives.strategies import get_strategy, head_phase
from ..analysis import STOCK, Contender, ModelStock, best_final
from ..records import FinalScores
from ..slots import Resources
from ..study import Observer, Prepared, Study, device_of_trials, precision_of, restore_config
from ..tracking import keep_network, network_folder


def complete_stock(
    prepared: Prepared, resources: Resources, contender: Contender, known: ModelStock | None, observer: Observer
) -> ModelStock | None:
    """Make the model stock of a contender's seeds, and keep it where it validates better than each of them.

    Made once for the same seeds. There is none of a single seed, of networks from random weights, or where another
    machine keeps some of the networks; nor with folds, since each image trained one of the networks. A stock that
    cannot be made is a note: the verdict stands without it.

    Args:
        prepared: The study with its dataset and backbones.
        resources: Resources of the study.
        contender: The recommended strategy.
        known: The stock that the study has; None without one.
        observer: Observer of the work.

    Returns:
        The stock that the study has now.
    """
    study, finals = prepared.study, contender.finals
    folders = [network_folder(study, final) for final in finals]
    judgeable = get_strategy(contender.strategy).pretrained and not study.settings.folds
    together = judgeable and all(folder.is_dir() for folder in folders)
    if len(finals) < 2 or not together or (known is not None and known.is_of(finals)):
        return known
    best = best_final(finals)
    made = ModelStock(best.finalist, tuple(final.seed for final in finals), None, best.val_score)
    device = device_of_trials(resources)
    train, val = prepared.dataset.search_splits()
    task = Task(train, val, prepared.backbones, study.settings.metric, device, FeatureStore(0))
    try:
        built = _Networks(prepared, task, best)
        tuned = [read_weights(folder / "network") for folder in folders]
        merged = model_stock(built.pretrained, tuned)
        if merged is not None:
            made = replace(made, best_val_score=_best_score(study, built, tuned, best))
            made = _judged(prepared, task, made, built.of(merged), finals)
    except ObjectiveError as error:
        observer.note(f"no model stock of {best.finalist} could be made: {error}")
        return known
    study.diagnoses.keep_stock(made)
    return made


class _Networks:
    """Networks of a configuration, from their weights; each takes the place of the one before.

    Attributes:
        pretrained: Weights of the backbone from which all began, by name.
    """

    def __init__(self, prepared: Prepared, task: Task, best: FinalScores) -> None:
        trial = next(each for each in prepared.study.trials() if each.number == best.trial_number)
        config = restore_config(trial.config)
        whole = prepared.backbones.fresh(pretrained=True, seed=0).to(task.device)
        self.task, self._backbone = task, seen_by_head(whole.truncated(config.truncate), config.head)
        self._units = len(self._backbone.units)
        self._head = head_for(self._backbone, config.head, len(task.val.classes)).to(task.device)
        self._body = self._backbone.prefix(self._units)
        self.pretrained = {f"backbone.{name}": value.cpu().clone() for name, value in self._body.state_dict().items()}

    def of(self, weights: Mapping[str, Tensor]) -> Network:
        """The network with weights by name."""
        for part, module in (("backbone.", self._body), ("head.", self._head)):
            own = {name.removeprefix(part): value for name, value in weights.items() if name.startswith(part)}
            module.load_state_dict(own)
        return Network(self._backbone, head_phase("stock", self._units, 1, 0.0), self._head).eval()


def _best_score(study: Study, built: _Networks, tuned: Sequence[Mapping[str, Tensor]], best: FinalScores) -> float:
    """Highest validation score of a single network in float32, in which the stock is validated, and either is shipped.

    Finals are validated in the precision of their training.
    """
    task = built.task
    if precision_of(study.facts, task.device) == EXACT:
        return best.val_score
    return max(score(task.metric, predict(built.of(each), task.val, task), task.val.labels) for each in tuned)


def _judged(
    prepared: Prepared, task: Task, made: ModelStock, network: Network, finals: tuple[FinalScores, ...]
) -> ModelStock:
    """Return the stock with its scores; it is tested, and kept, where it validates better than each single network."""
    study, best = prepared.study, best_final(finals)
    probabilities = predict(network, task.val, task)
    val_score = score(task.metric, probabilities, task.val.labels)
    if val_score <= made.best_val_score:
        return replace(made, val_score=val_score)
    # Only now: its test score chooses nothing.
    test = prepared.dataset.open_test()
    given = prepared.dataset.preprocessing
    costs = measure_serving(network, given.image_size, task.device, given.channels)
    final = FinalScores(
        strategy=best.strategy,
        trial_number=best.trial_number,
        seed=STOCK,
        val_score=val_score,
        test_score=score(task.metric, predict(network, test, task), test.labels),
        seconds=sum(each.seconds for each in finals),
        trainable_parameters=best.trainable_parameters,
        temperature=fit_temperature(probabilities, task.val.labels),
        latency=costs.latency,
        size=costs.size,
    )
    single = read_card(network_folder(study, best) / "network")
    origin = {**single.origin, "seed": STOCK, "stock_of_seeds": ", ".join(map(str, made.seeds))}
    card = single.model_copy(update={"temperature": final.temperature, "origin": origin})
    keep_network(study, final, card, network, task.val.canvas[task.val.indices[0]])
    return replace(made, val_score=val_score, final=final)
