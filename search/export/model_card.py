"""The model card of an exported network, in Markdown: what it is, how good, how to load it, and its limits."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...objectives.data import TIFF_LIBRARIES, describe_faults
from ...objectives.metrics import METRICS, find_metric
from ...objectives.networks import OPSET, ModelCard
from ...objectives.preprocessing import RGB, plural_channels
from ...objectives.strategies import STRATEGIES
from ..analysis import STOCK, Contender, Verdict
from ..formats import in_markdown, markdown_code
from ..study import Study, StudyResults, place_of_final
from ..tracking import chosen_network
from .kept import KeptNetwork

# Of more classes, the table of the numbers of images is left out.
_MOST_CLASSES = 100


@dataclass(frozen=True)
class Graphs:
    """What a card says about the files that run without the network's code.

    Attributes:
        pixels: Whether they take uint8 pixels.
        files: Names of the files that were written.
        checked: What they were compared with, and the result.
    """

    pixels: bool
    files: tuple[str, ...]
    checked: str


def describe_network(study: Study, kept: KeptNetwork, graphs: Graphs) -> str:
    """Return the card of a kept network.

    Args:
        study: Study that chose the network.
        kept: The network.
        graphs: Files beside the weights.
    """
    card, results, verdict = kept.card, kept.results, _verdict(kept)
    settings, final = study.settings, kept.final
    parts = [
        ["---", "pipeline_tag: image-classification", "library_name: pytorch", "tags: [frostline]", "---"],
        [f"# {settings.name}: {final.strategy} on {settings.backbone}"],
        [_what(study, kept, card)],
        ["## How to load it", "", *_loading(card, graphs)],
        ["## Input and output", "", *_contract(card)],
        ["## Data", "", *_data(study, results)],
        ["## Scores", "", *_scores(kept.contender, verdict, kept)],
        ["## Limits", "", *_limits(results, verdict, kept)],
        ["## Training", "", *_training(study, kept, results)],
        ["## Checks of this export", "", graphs.checked],
    ]
    text = "\n\n".join("\n".join(part) for part in parts) + "\n"
    return re.sub(r"\n{3,}", "\n\n", text)


def _what(study: Study, kept: KeptNetwork, card: ModelCard) -> str:
    name, final = kept.final.strategy, kept.final
    chosen = (
        "The verdict recommends this strategy." if _recommended(kept) else "The verdict recommends another strategy."
    )
    return (
        f"A classifier of images into {len(card.classes)} classes. Strategy `{name}`, the configuration of trial "
        f"{final.trial_number}, {chosen_network(final, len(kept.contender.scores))}. {chosen} Frostline's study "
        f"`{study.settings.name}` compared the strategies:\n\n"
        f"> {_verdict(kept).sentence()}"
    )


def _verdict(kept: KeptNetwork) -> Verdict:
    assert kept.results.verdict is not None, "only a verdict keeps a network"
    return kept.results.verdict


def _recommended(kept: KeptNetwork) -> bool:
    return _verdict(kept).winner.strategy == kept.final.strategy


def _loading(card: ModelCard, graphs: Graphs) -> list[str]:
    side, channels = card.preprocessing.image_size, card.preprocessing.channels
    rgb = ", RGB" if channels == RGB else ""
    timm = ", timm" if card.backbone.startswith("timm:") else ""
    tiff = "" if channels == RGB else f"; for TIFF files {' and '.join(TIFF_LIBRARIES)}"
    given = (
        f"pixels: uint8 (N, {side}, {side}, {channels}){rgb}"
        if graphs.pixels
        else f"normalized images: float32 (N, {channels}, {side}, {side})"
    )
    lines = [
        "Predictions for photos, folders or lists of files, with Frostline:",
        *_code("console", "$ frostline predict FOLDER photo.jpg more-photos/ --csv"),
        f"Without Frostline (torch, torchvision, safetensors, pydantic, numpy, pillow, lazy-loader{timm}{tiff}):",
        *_code(
            "python",
            "import torch",
            "",
            'network = torch.hub.load("FOLDER", "classifier", source="local")    # a plain torch.nn.Module',
            'predictor = torch.hub.load("FOLDER", "predictor", source="local")   # takes image files',
            'probabilities = predictor.predict(["photo.jpg"])                    # calibrated, (N, classes)',
        ),
        "The tensors of `model.safetensors` have the names of the module's `state_dict()`. `hubconf.py` and `code/` "
        "build the module from `config.json`; nothing is downloaded. It can be trained further.",
    ]
    if "model.pt2" in graphs.files:
        lines += ["", f"`model.pt2` needs torch alone and takes {given}:"]
        lines += _code("python", 'network = torch.export.load("FOLDER/model.pt2").module()')
    if "model.onnx" in graphs.files:
        name = "pixels" if graphs.pixels else "images"
        lines += ["", f"`model.onnx` (opset {OPSET}, any number of images) takes {given}:"]
        lines += _code(
            "python",
            "import onnxruntime",
            "",
            'session = onnxruntime.InferenceSession("FOLDER/model.onnx")',
            f'(logits,) = session.run(None, {{"{name}": {name}}})',
        )
    return lines


def _contract(card: ModelCard) -> list[str]:
    given = card.preprocessing
    alpha = "transparency becomes white" if given.channels == RGB else "an alpha channel is one of them"
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (given.mean, given.std))
    return [
        f"Input: {_channels(card)}. {given.sentence} The resize is {given.interpolation}, antialiased. The pixels are "
        f"scaled to [0, 1], and normalized with mean ({mean}) and standard deviation ({std}). `predict` and the "
        f"predictor do all of this; EXIF orientation is applied, {alpha}.",
        "",
        f"Output: **logits**, already divided by the temperature {card.temperature:.4g}. Their softmax gives "
        f"{'calibrated ' if card.temperature != 1 else ''}probabilities of the classes, in this order: "
        f"{', '.join(map(markdown_code, card.classes))}.",
    ]


def _channels(card: ModelCard) -> str:
    """Return what the channels of an image are."""
    channels = card.preprocessing.channels
    if channels == RGB:
        return "RGB"
    scale = card.scale.sentence()
    files = "TIFF files, arrays of NumPy (.npy), or other images of so many channels"
    return f"{plural_channels(channels)}, 8 bits each, from {files}{f'; {scale}' if scale else ''}"


def _data(study: Study, results: StudyResults) -> list[str]:
    facts = results.facts
    counts = ", ".join(f"{count:,} {split}" for split, count in facts.counts.items())
    data = markdown_code(_unlocated(study.settings.data))
    lines = [f"{data}: {counts} images. SHA-256 of the contents: `{facts.fingerprint}`."]
    if facts.class_counts and len(facts.classes) <= _MOST_CLASSES:
        splits = list(facts.class_counts)
        rows = [
            [in_markdown(name), *(facts.class_counts[split].get(name, 0) for split in splits)] for name in facts.classes
        ]
        lines += ["", *_table(["class", *splits], rows)]
    return lines


def _scores(contender: Contender, verdict: Verdict, kept: KeptNetwork) -> list[str]:
    title = find_metric(verdict.metric).title
    low, high = contender.score_interval
    rows = [
        [
            f"**{each.strategy}**" if each is contender else each.strategy,
            f"{100 * each.mean:.1f} ± {100 * each.spread:.1f} % ({len(each.scores)})",
            verdict.standing(each) or "behind",
        ]
        for each in verdict.contenders
    ]
    return [
        f"On {verdict.test_images:,} test images, which no trial saw: {100 * contender.mean:.1f} % {title}, "
        f"{contender.average} ({verdict.confidence:.0%} interval {100 * low:.1f} to "
        f"{100 * high:.1f}). "
        f"This network alone: {100 * kept.final.test_score:.1f} %; {_chosen(kept)}",
        "",
        *_table(["metric, mean of the seeds", "value"], _metrics(contender)),
        "",
        *_table(["strategy", f"test {title}, mean ± sd (seeds)", "standing"], rows),
        "",
        _calibration(contender, kept),
    ]


def _chosen(kept: KeptNetwork) -> str:
    stock = kept.results.stock
    if kept.final.seed == STOCK and stock is not None:
        return (
            f"it is the model stock of the seeds (Jang et al. 2024), with {100 * kept.final.val_score:.1f} % on the "
            f"validation images, where the best of their networks has {100 * stock.best_val_score:.1f} %. The table is "
            "that of the single networks."
        )
    return "its seed was chosen by its validation score, so the mean says more about new images."


def _metrics(contender: Contender) -> list[list[str]]:
    plain = [[METRICS[name].title, f"{value:.4f}"] for name, value in contender.metrics.items()]
    calibrated = [
        [f"{METRICS[name].title}, calibrated", f"{value:.4f}"] for name, value in contender.calibrated_metrics.items()
    ]
    return [*plain, *calibrated]


def _calibration(contender: Contender, kept: KeptNetwork) -> str:
    if kept.final.temperature is None:
        return "Calibration: none, an older version trained this network. Its probabilities may be too sure."
    results, seed = kept.results, kept.final.seed
    images = results.facts.final_val_images(place_of_final(results.settings, seed))
    return (
        f"Calibration: temperature {kept.final.temperature:.3f}, fitted on {images:,} validation images (Guo et al. "
        "2017). It changes no predicted class."
    )


def _limits(results: StudyResults, verdict: Verdict, kept: KeptNetwork) -> list[str]:
    classes = [in_markdown(name) for name in results.facts.classes]
    faults = describe_faults(results.data_faults, classes) if results.data_faults else ""
    never = [in_markdown(name) for name in results.never_right] if _recommended(kept) else []
    said = [
        "The scores hold for images like those of the test split. Images of another source, camera or time may be "
        "harder, and an image of none of the classes still gets one of them.",
        *results.warnings,
        *([f"No test image of these classes was predicted right: {', '.join(never)}."] if never else []),
        *([f"Faults in the data: {faults}"] if faults else []),
        *([verdict.leaks.sentence(kept.final.strategy)] if verdict.leaks else []),
    ]
    return [f"- {each}" for each in said if each]


def _training(study: Study, kept: KeptNetwork, results: StudyResults) -> list[str]:
    trial = next(each for each in results.trials if each.number == kept.final.trial_number)
    weights = markdown_code(_unlocated(study.settings.weights))
    versions = ", ".join(f"{name} {number}" for name, number in results.versions.items())
    strategy = STRATEGIES.get(kept.final.strategy)
    adapted = results.facts.first_layer if strategy is None or strategy.pretrained else ""
    return [
        *([f"The first layer is {adapted}.", ""] if adapted else []),
        f"`{study.settings.backbone}`, weights {weights}; {kept.final.trainable_parameters:,} trained weights, "
        f"{kept.final.seconds:.1f} s on {results.device} ({versions}). Adapters are merged into the weights.",
        *_code("json", json.dumps(trial.config, indent=1)),
    ]


def _unlocated(name: str) -> str:
    """Return a name without the folders of this machine."""
    return Path(name).name if Path(name).is_absolute() else name


def _code(language: str, *lines: str) -> list[str]:
    return ["", f"```{language}", *lines, "```", ""]


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    return [_row(head), "|---" * len(head) + "|", *map(_row, rows)]


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"
