"""The precision of a study's arithmetic: chosen before its first trial, and kept with it."""

from __future__ import annotations

import hashlib
import platform
from contextlib import suppress

import torch

from ...objectives.data import read_json, write_json
from ...objectives.devices import has_bfloat16, usual_precision
from ...objectives.errors import InvalidInputError
from ...objectives.networks import BackbonePool
from ...objectives.precision import AUTO, BFLOAT16, FLOAT32, PRECISIONS, Precision, PrecisionChoice
from ...objectives.precision_probe import choose_precision
from ...storage.workspace import Workspace
from ..slots import Resources, create_engine
from .facts import StudyFacts
from .speed import device_of_trials


def precision_faults(wanted: str, resources: Resources) -> list[str]:
    """Return the faults of a precision that a user asked for."""
    if wanted not in PRECISIONS:
        return [f"--precision {wanted!r} is unknown. Valid: {', '.join(PRECISIONS)}."]
    # Of a cluster, each worker says whether it has it.
    here = resources.engine != "ray"
    if here and wanted == BFLOAT16 and (fault := _bfloat16_fault(device_of_trials(resources))):
        return [f"--precision {BFLOAT16}: {fault}. Use --precision {AUTO}, which takes {FLOAT32} here."]
    return []


def study_precision(
    wanted: str, backbones: BackbonePool, resources: Resources, workspace: Workspace, *, keep: bool = True
) -> PrecisionChoice:
    """Return the precision of a new study: the one asked for, or the faster one.

    Measurements are remembered in the workspace, so that studies of one network on one device have one precision.

    Args:
        wanted: ``auto``, ``float32`` or ``bfloat16``.
        backbones: Pool of the study's backbone.
        resources: Resources of the study.
        workspace: Workspace of the study.
        keep: Whether to remember what is measured.
    """
    if wanted != AUTO:
        return PrecisionChoice(Precision.both(wanted), reason=f"--precision {wanted}")
    if resources.engine == "ray":
        usual = usual_precision(torch.device(create_engine(resources).device_type))
        return PrecisionChoice(Precision.both(usual), reason="the devices of a cluster are not measured")
    device, threads = device_of_trials(resources), _threads(resources)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.node()
    spec = backbones.spec
    measured = (spec.name, backbones.fingerprint, spec.image_size, device.type, name, threads, torch.__version__)
    file = workspace.precisions / f"{hashlib.sha256(repr(measured).encode()).hexdigest()}.json"
    try:
        return PrecisionChoice.from_row(read_json(file))
    except (ValueError, KeyError, TypeError):
        choice = choose_precision(backbones, device, threads=threads)
    if keep and choice.gains is not None:
        # A workspace that cannot be written to only costs the time of measuring again.
        with suppress(OSError):
            write_json(file, choice.to_row())
    return choice


def precision_of(facts: StudyFacts, device: torch.device) -> Precision:
    """Return the precision in which a study computes on a device.

    Studies begun before there was a choice keep theirs.

    Raises:
        InvalidInputError: The device does not have it.
    """
    if facts.precision is None:
        return Precision.both(usual_precision(device))
    precision = facts.precision.precision
    if BFLOAT16 in precision.names and (fault := _bfloat16_fault(device)):
        raise InvalidInputError(
            f"The precision of this study is {precision.sentence}, and {fault}. Work on it where there is such a "
            f"device, or start another with --precision {FLOAT32}."
        )
    return precision


def precision_of_features(facts: StudyFacts, device: torch.device) -> str:
    """Return the precision of a study's features on a device; float32 where the device lacks theirs."""
    try:
        return precision_of(facts, device).frozen
    except InvalidInputError:
        return FLOAT32


def _bfloat16_fault(device: torch.device) -> str | None:
    return None if has_bfloat16(device) else f"this device ({device.type}) has no arithmetic in {BFLOAT16}"


def _threads(resources: Resources) -> int:
    """Return the number of threads of each process that trains."""
    engine = create_engine(resources)
    places = engine.places() if engine.in_process else []
    return places[0].threads if len(places) > 1 and places[0].threads else torch.get_num_threads()
