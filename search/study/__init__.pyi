from .checks import train_images
from .chosen_trial import ChosenTrial, choose_trial
from .dry_run import DryRun, StrategyPlan, dry_run
from .ending import Ending, judge_ending
from .extension import Extension
from .facts import StudyFacts
from .finalists import (
    SEED_OFFSET,
    Finalist,
    choose_finalists,
    find_default,
    list_candidates,
    place_of_final,
    restore_config,
)
from .fingerprints import sources_digest, training_package, training_sources
from .forecast import trials_left
from .given_values import check_given
from .neighbors import finished_neighbors, portfolio_of, write_portfolio
from .observer import LineProgress, Observer
from .optuna_storage import open_storage
from .optuna_tables import (
    PendingChanges,
    make_trial,
    read_states,
    read_trials,
    remove_trial,
    set_state,
    start_trials,
    write_changes,
)
from .precision import precision_of, precision_of_features
from .prepare import Prepared, prepare_search
from .progress import progress_sentence
from .request import Request
from .results import StudyResults
from .resume import prepare_fork, prepare_resume, reopen
from .settings import CANDIDATES, StudySettings
from .speed import device_of_trials
from .stored_records import FOLDS, OUTCOME, STARTED, read_folds, trial_record
from .studies import study_names
from .study import Study
from .study_file import is_study_file
from .trial_supply import issue_further
from .watch import watch_study

__all__ = [
    "CANDIDATES",
    "FOLDS",
    "OUTCOME",
    "SEED_OFFSET",
    "STARTED",
    "ChosenTrial",
    "DryRun",
    "Ending",
    "Extension",
    "Finalist",
    "LineProgress",
    "Observer",
    "PendingChanges",
    "Prepared",
    "Request",
    "StrategyPlan",
    "Study",
    "StudyFacts",
    "StudyResults",
    "StudySettings",
    "check_given",
    "choose_finalists",
    "choose_trial",
    "device_of_trials",
    "dry_run",
    "find_default",
    "finished_neighbors",
    "is_study_file",
    "issue_further",
    "judge_ending",
    "list_candidates",
    "make_trial",
    "open_storage",
    "place_of_final",
    "portfolio_of",
    "precision_of",
    "precision_of_features",
    "prepare_fork",
    "prepare_resume",
    "prepare_search",
    "progress_sentence",
    "read_folds",
    "read_states",
    "read_trials",
    "remove_trial",
    "reopen",
    "restore_config",
    "set_state",
    "sources_digest",
    "start_trials",
    "study_names",
    "train_images",
    "training_package",
    "training_sources",
    "trial_record",
    "trials_left",
    "watch_study",
    "write_changes",
    "write_portfolio",
]
