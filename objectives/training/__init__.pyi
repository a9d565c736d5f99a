from .certificate import Certificate, certify, certify_with_head
from .checkpoint import CheckpointStore, NoCheckpoints, TrialState, identity
from .ema import WeightAverage
from .loop import (
    CPU_EVALUATION_BATCH,
    EVALUATION_BATCH,
    PhaseData,
    PhaseRun,
    batches_per_epoch,
    create_criterion,
    epoch_batches,
    predict_logits,
    require_finite,
    score_logits,
    to_probabilities,
    train_phase,
)
from .optimizers import OPTIMIZERS, Optimization, decays, rate_factor
from .penalties import l2_sp
from .solved_heads import solve_logistic_regression
from .stages import Stages, stage_key

__all__ = [
    "CPU_EVALUATION_BATCH",
    "EVALUATION_BATCH",
    "OPTIMIZERS",
    "Certificate",
    "CheckpointStore",
    "NoCheckpoints",
    "Optimization",
    "PhaseData",
    "PhaseRun",
    "Stages",
    "TrialState",
    "WeightAverage",
    "batches_per_epoch",
    "certify",
    "certify_with_head",
    "create_criterion",
    "decays",
    "epoch_batches",
    "identity",
    "l2_sp",
    "predict_logits",
    "rate_factor",
    "require_finite",
    "score_logits",
    "solve_logistic_regression",
    "stage_key",
    "to_probabilities",
    "train_phase",
]
