"""A trial as one script of plain PyTorch: its data, its network, what trains at which rates, and the training."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ...objectives.augmentation import AugmentedViews, Mixer, mixed_loss, random_ops
from ...objectives.backbones import Backbone
from ...objectives.config import BackboneSpec, TrialConfig, flatten
from ...objectives.data import ImageDataset, to_canvas, to_rgb, upright
from ...objectives.errors import InvalidInputError
from ...objectives.logistic_regression import solve_probe
from ...objectives.networks import LowRank, seen_by_head
from ...objectives.phases import Phase, every_parameter
from ...objectives.precision import BFLOAT16, EXACT
from ...objectives.preprocessing import RGB, plural_channels
from ...objectives.strategies import get_strategy, plan_phases
from ...objectives.training import (
    CPU_EVALUATION_BATCH,
    EVALUATION_BATCH,
    WeightAverage,
    batches_per_epoch,
    create_criterion,
    decays,
    epoch_batches,
    l2_sp,
    rate_factor,
)
from ...objectives.user_metrics import is_users
from ..study import ChosenTrial, Observer, Study, choose_trial, reopen, restore_config
from .embedded_sources import embed
from .plain_head import describe_head
from .plain_network import build_arguments, feature_names, feature_nodes, find_weights
from .plain_phases import describe_phases, phase_faults

_READ_BY_STEPS = (
    "optimizer", "momentum", "nesterov", "weight_decay", "schedule", "warmup", "gradient_clip", "ema_decay",
    "label_smoothing", "class_weights", "sampling", "augmentation", "views", "mixing", "mixing_alpha", "batch_size",
    "patience",
)  # fmt: skip
_IMPORT = re.compile(r"^(?:from \S+ import (?P<names>.+)|import (?P<module>\S+)(?: as (?P<alias>\S+))?)$")


def write_script(study: Study, name: str | None = None) -> str:
    """Write a trial as a script that needs neither Frostline nor the study.

    Args:
        study: Study of the trial.
        name: See :func:`choose_trial`.

    Raises:
        InvalidInputError: There is no such trial, or plain PyTorch cannot repeat it; the message says why.
    """
    chosen = choose_trial(study, name)
    config = restore_config(chosen.trial.config)
    prepared = reopen(study, Observer(), trains=False)
    spec, pretrained = study.settings.spec, get_strategy(config.strategy).pretrained
    backbone = prepared.backbones.fresh(pretrained=True, seed=0)
    phases = plan_phases(config, len(backbone.units))
    try:
        _require_repeatable(config, phases, prepared.dataset, study)
        cut = seen_by_head(backbone.truncated(config.truncate), config.head)
        network = _network(cut, spec, pretrained=pretrained and spec.weights != "none")
        head = describe_head(config.head, cut, len(prepared.dataset.classes))
        splits = _splits(prepared.dataset, study)
    except InvalidInputError as error:
        what = f"Trial {chosen.trial.number} cannot be written as a script"
        instead = f"The trained network itself needs no script: frostline export {study.settings.name} --to FOLDER"
        raise InvalidInputError([*(f"{what}: {fault}" for fault in error.faults), instead]) from None
    values = {
        **_about(study, chosen, spec),
        **_recipe(config, phases, cut, prepared.dataset, study.settings.metric),
        "mixed_precision": _mixed_precision(phases, study),
        "network": network,
        "feature_names": feature_names(cut),
        "head_parts": head.parts,
        "head_layers": head.layers,
        "head_init": head.init,
        "solver": _solver() if _solves(phases) else "",
        "splits": splits,
        "reader": _reader(study),
        "data_default": _data_default(study),
    }
    return _tidy(_template("trial_script.py.j2").render(values))


def _require_repeatable(config: TrialConfig, phases: Sequence[Phase], dataset: ImageDataset, study: Study) -> None:
    """Refuse what the script has no words for.

    Raises:
        InvalidInputError: The strategy or the data need more than plain PyTorch; the message names all.
    """
    faults = list(phase_faults(phases))
    if study.settings.folds:
        faults.append(
            "its images are divided into folds, and a trial is a training on each, which a script does not repeat"
        )
    if config.head.function is not None:
        faults.append(
            f"its head is yours ({config.head.function}), which a script does not repeat: import it in your own"
        )
    if dataset.preprocessing.channels != RGB:
        faults.append(f"its images have {plural_channels(dataset.preprocessing.channels)}; a script reads color")
    if study.facts.pixel_scale:
        faults.append("its images have more than 8 bits, whose scale a script does not repeat")
    if study.settings.data.startswith("torchvision:"):
        faults.append(f"its images are those of {study.settings.data}; a script reads folders and sklearn:digits")
    if faults:
        raise InvalidInputError(faults)


def _mixed_precision(phases: Sequence[Phase], study: Study) -> bool:
    """Return whether the backbone computes in bfloat16: its trained part where there is one, else its frozen part."""
    precision = study.facts.precision.precision if study.facts.precision else EXACT
    trains = any(any(phase.unit_learning_rates) for phase in phases)
    return (precision.trained if trains else precision.frozen) == BFLOAT16


def _solves(phases: Sequence[Phase]) -> bool:
    return any(phase.solve for phase in phases)


def _solver() -> str:
    """Return the exact head; SciPy's L-BFGS, which a script does without, is replaced by torch's."""
    return _template("exact_head.py.j2").render(probe=embed(solve_probe, without=("fit_logistic_regression",)))


def _about(study: Study, chosen: ChosenTrial, spec: BackboneSpec) -> dict[str, Any]:
    """Return what the head of the script says."""
    trial, final, facts = chosen.trial, chosen.final, study.results()
    recorded = {"validation": final.val_score, "test": final.test_score} if final else {"validation": trial.score}
    made = ", ".join(f"{name} {facts.versions[name]}" for name in ("torch", "torchvision") if name in facts.versions)
    needs = ["torch", "torchvision"]
    if spec.name.startswith("timm:"):
        needs.append("timm (its backbone is one of timm's)")
    elif ":" in spec.name:
        needs.append(f"your module {spec.name.partition(':')[0]}")
    if is_users(study.settings.metric):
        needs.append(f"your module {study.settings.metric.partition(':')[0]} (its metric)")
    if study.settings.data.startswith("sklearn:"):
        needs.append("scikit-learn (its images are scikit-learn's)")
    return {
        "title": f"{trial.strategy} of {spec.name} on {Path(study.settings.data).name}, as plain PyTorch.",
        "version": version("frostline"),
        "study": study.settings.name,
        "trial": trial.number,
        "needs": " and ".join(needs) if len(needs) < 3 else ", ".join(needs[:-1]) + f" and {needs[-1]}",
        "seed": chosen.seed,
        "made_with": ", ".join(filter(None, (facts.device, made))) or "in an older version",
        "recorded": repr({name: score for name, score in recorded.items() if score is not None}),
        "metric_name": study.settings.metric,
    }


def _recipe(
    config: TrialConfig, phases: Sequence[Phase], backbone: Backbone, dataset: ImageDataset, metric: str
) -> dict[str, Any]:
    flat, ops, mixes = flatten(config), random_ops(config), config.mixing != "none"
    preprocessing = dataset.preprocessing
    seen = ("image_size", "resize_size", "canvas_size", "interpolation", "crop_mode", "fill", "mean", "std")
    trained = any(any(phase.unit_learning_rates) for phase in phases)
    used = [rate_factor, decays, (rate_factor, "OPTIMIZERS"), epoch_batches, batches_per_epoch, create_criterion]
    used += [l2_sp] if any(phase.penalty for phase in phases) else []
    return {
        "classes": repr(dataset.classes),
        "preprocessing": {name: repr(getattr(preprocessing, name)) for name in seen},
        "recipe": {name: repr(flat[name]) for name in _READ_BY_STEPS},
        "phases": describe_phases(phases, backbone),
        "continues": any(phase.continues for phase in phases),
        "selects": any(phase.selects is not every_parameter for phase in phases),
        "adapts": any(phase.adapt for phase in phases),
        "penalizes": any(phase.penalty for phase in phases),
        "spares": not all(phase.decays_backbone for phase in phases),
        "adapter": embed(LowRank) if any(phase.adapt for phase in phases) else "",
        "undecayed": repr(tuple(sorted(backbone.undecayed))),
        "views": embed(AugmentedViews, *([type(ops)] if ops else [])),
        "ops": repr(ops),
        "mixes": mixes,
        "mixing": embed(Mixer, mixed_loss) if mixes else "",
        "decoding": embed(to_canvas, upright, to_rgb),
        "averages": config.ema_decay > 0,
        "training": embed(*used, *([WeightAverage] if config.ema_decay else [])),
        "metric": _template("metrics.py.j2").render(metric=metric),
        "evaluation_batch": CPU_EVALUATION_BATCH if trained else EVALUATION_BATCH,
        "trains": any(phase.solve is None for phase in phases),
        "solves": _solves(phases),
    }


def _network(backbone: Backbone, spec: BackboneSpec, *, pretrained: bool) -> str:
    """Return the function that builds the network up to its features."""
    if not pretrained and ":" in spec.name and not spec.name.startswith("timm:"):
        raise InvalidInputError(f"{spec.name} starts from random weights, which Frostline draws for a network of yours")
    file = find_weights(backbone, spec) if pretrained else None
    weights = spec.weights if pretrained else None
    arguments = build_arguments(spec, weights)
    if pretrained and file is None and arguments and ":" not in spec.name:
        # torchvision's builders set these themselves for published weights; another image size they refuse.
        arguments = {name: value for name, value in arguments.items() if name == "image_size"}
    return _template("network.py.j2").render(
        kind="timm" if spec.name.startswith("timm:") else "own" if ":" in spec.name else "torchvision",
        name=spec.name.removeprefix("timm:"),
        weights=weights,
        file=file,
        arguments=arguments,
        nodes=dict(zip(feature_nodes(backbone, spec.image_size), feature_names(backbone), strict=True)),
    )


def _splits(dataset: ImageDataset, study: Study) -> dict[str, list[tuple[str, int]]]:
    found = sorted(dataset.audited().found, key=lambda image: image.position)
    splits = {
        split: [(repr(image.name), image.label) for image in found if image.split == split]
        for split in ("train", "val", "test")
    }
    root = _root(study)
    if root and (lost := [image.name for image in found if not (root / image.name).is_file()]):
        raise InvalidInputError(
            f"there is no file {lost[0]} in {root}: a script reads image files by their names, none inside an archive "
            "or a saved dataset"
        )
    return splits


def _root(study: Study) -> Path | None:
    """Return the folder of the images; None if they are no files."""
    data = study.settings.data
    return None if data.startswith("sklearn:") else Path(study.settings.listing.root_of(data))


def _reader(study: Study) -> str:
    return _template("reader.py.j2").render(digits=study.settings.data.startswith("sklearn:"))


def _data_default(study: Study) -> str:
    root = _root(study)
    return f"Path({str(root)!r})" if root else "None"


def _tidy(text: str) -> str:
    """Drop the imports that the script does not use, and blank lines that a template leaves."""
    used = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    lines = [kept for line in text.splitlines() if (kept := _needed(line, used | _mentioned(text))) is not None]
    return re.sub(r"\n{4,}", "\n\n\n", "\n".join(lines)).strip() + "\n"


def _mentioned(text: str) -> set[str]:
    """Return the names in annotations, which are read too."""
    return set(
        re.findall(r"\b[A-Za-z_]\w*\b", "\n".join(line for line in text.splitlines() if not _IMPORT.match(line)))
    )


def _needed(line: str, used: set[str]) -> str | None:
    found = _IMPORT.match(line)
    if found is None or line.startswith("from __future__"):
        return line
    if found["names"]:
        names = [name for name in found["names"].split(", ") if name.split(" as ")[-1] in used]
        return f"{line.partition(' import ')[0]} import {', '.join(names)}" if names else None
    return line if (found["alias"] or found["module"].split(".")[0]) in used else None


@cache
def _environment() -> Environment:
    # The script is Python, no page: nothing is escaped but what repr() escapes.
    return Environment(
        loader=PackageLoader(__package__ or "", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        autoescape=False,
    )


def _template(name: str) -> Any:
    return _environment().get_template(name)
