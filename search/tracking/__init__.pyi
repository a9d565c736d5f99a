from .ended_runs import complete_runs, curve_name, finish_curve_run, finish_final_run
from .kept_networks import drop_networks, final_card, keep_network
from .keys import curve_key, final_key, strategy_key, ticket_key, trial_key
from .nvml import GpuUse, open_nvml
from .provenance import parent_tags
from .registered_models import alias, chosen_network, kept_models, log_models, network_folder
from .shipped_code import copy_code
from .sync import log_with_study, sync_studies
from .system_metrics import Readings, sampled
from .training_runs import (
    SCORE_CURVE,
    describe,
    describe_datasets,
    epoch_metrics,
    finish_trial_run,
    fold_metrics,
    log_certificate,
    log_errors,
    log_mistake_sheet,
    log_traceback,
    log_unseen,
    numbers,
    start_final_run,
    start_trial_run,
    test_numbers,
)
from .verdict_run import log_verdict, start_strategy_run

__all__ = [
    "SCORE_CURVE",
    "GpuUse",
    "Readings",
    "alias",
    "chosen_network",
    "complete_runs",
    "copy_code",
    "curve_key",
    "curve_name",
    "describe",
    "describe_datasets",
    "drop_networks",
    "epoch_metrics",
    "final_card",
    "final_key",
    "finish_curve_run",
    "finish_final_run",
    "finish_trial_run",
    "fold_metrics",
    "keep_network",
    "kept_models",
    "log_certificate",
    "log_errors",
    "log_mistake_sheet",
    "log_models",
    "log_traceback",
    "log_unseen",
    "log_verdict",
    "log_with_study",
    "network_folder",
    "numbers",
    "open_nvml",
    "parent_tags",
    "sampled",
    "start_final_run",
    "start_strategy_run",
    "start_trial_run",
    "strategy_key",
    "sync_studies",
    "test_numbers",
    "ticket_key",
    "trial_key",
]
