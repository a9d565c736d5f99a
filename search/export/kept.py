"""The network that a study registers for a strategy: found in the workspace, else downloaded from MLflow."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...objectives.errors import InvalidInputError, unknown_name
from ...objectives.networks import Classifier, ModelCard, TrainedModel, load_classifier, load_network, read_card
from ...objectives.user_code import folder_first
from ...storage.errors import RefusedError, StorageError
from ..analysis import Contender, shipped_final
from ..records import FinalScores
from ..study import Study, StudyResults
from ..tracking import alias, network_folder


@dataclass(frozen=True)
class KeptNetwork:
    """The network of a strategy: of its seeds, the one with the best validation score, or their model stock.

    Attributes:
        results: Results of the study.
        contender: The strategy in the verdict.
        final: Scores of the final whose network it is.
        folder: Folder with the network and the user's own modules that it needs.
    """

    results: StudyResults
    contender: Contender
    final: FinalScores
    folder: Path

    @property
    def card(self) -> ModelCard:
        """Return the description of the network."""
        return read_card(self.folder / "network")


@contextmanager
def open_kept(study: Study, strategy: str | None = None) -> Iterator[KeptNetwork]:
    """Find a strategy's network; its files exist within the block.

    Args:
        study: Study that reached its verdict.
        strategy: Name of the strategy; None for the one that the verdict recommends.

    Raises:
        InvalidInputError: The study has no verdict yet, or the strategy has no final in it.
        StorageError: The network's files are gone.
    """
    results = study.results()
    contender = _contender(study, results, strategy)
    final = shipped_final(contender.finals, results.stock)
    folder = network_folder(study, final)
    if folder.is_dir():
        yield KeptNetwork(results, contender, final, folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield KeptNetwork(results, contender, final, _downloaded(study, final, folder, Path(temporary)))


def load_kept(kept: KeptNetwork, device: str) -> TrainedModel:
    """Load a kept network to predict; the user's own modules are those that it was trained with."""
    with folder_first(kept.folder / "code"):
        return load_network(kept.folder / "network", device)


def load_classifier_of(study: Study, strategy: str | None, device: str) -> Classifier:
    """Load the network that a study registers for a strategy, as a plain module that can be trained further.

    Raises:
        InvalidInputError: See :func:`open_kept`; or this machine does not have the device.
        StorageError: The network's files are gone.
    """
    with open_kept(study, strategy) as kept, folder_first(kept.folder / "code"):
        return load_classifier(kept.folder / "network", device)


def _contender(study: Study, results: StudyResults, strategy: str | None) -> Contender:
    verdict, name = results.verdict, study.settings.name
    if verdict is None:
        raise InvalidInputError(
            f"Study {name!r} has no verdict yet, so no network is chosen. "
            f"Finish it: frostline resume {name}{study.workspace.option}"
        )
    if strategy is None:
        return verdict.winner
    contenders = {contender.strategy: contender for contender in verdict.contenders}
    if strategy in contenders:
        return contenders[strategy]
    if strategy in study.settings.strategies:
        raise InvalidInputError(
            f"Strategy {strategy!r} has no final in study {name!r}: none of its trials completed. "
            f"There are networks of: {', '.join(sorted(contenders))}."
        )
    raise InvalidInputError(unknown_name("strategy in this study", strategy, contenders))


def _downloaded(study: Study, final: FinalScores, folder: Path, temporary: Path) -> Path:
    """Return the folder of a network that only MLflow has."""
    # MLflow takes seconds to import, and the workspace usually has the network.
    from ...storage.tracking import download_model

    uri, name = study.tracking_uri or study.workspace.tracking_url, study.settings.name
    try:
        found = download_model(uri, study.mark, alias(final.strategy), temporary)
        origin = read_card(found / "network").origin
        if (origin.get("trial"), origin.get("seed")) != (final.trial_number, final.seed):
            raise RefusedError(f"MLflow has the network of seed {origin.get('seed')} of trial {origin.get('trial')}")
    except (StorageError, InvalidInputError) as error:
        raise StorageError(
            f"The network of {final.strategy} (trial {final.trial_number}, seed {final.seed}) is not in {folder}, and "
            f"not in MLflow either ({error}). Another machine may have trained it: copy that folder from its "
            f"workspace. Or train again: frostline resume {name} --fork {name}-again{study.workspace.option}"
        ) from error
    return found
