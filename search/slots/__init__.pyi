from .engines import check_resources, create_engine
from .messages import (
    BudgetUsed,
    EpochFinished,
    FinalCutOff,
    FinalFinished,
    FinalStarted,
    JournalEntry,
    Message,
    Note,
    TrialCutOff,
    TrialFinished,
    TrialStarted,
    Waits,
    decode,
    encode,
)
from .process import RunningSlot, SlotSpec
from .resources import ProcessResources, Resources

__all__ = [
    "BudgetUsed",
    "EpochFinished",
    "FinalCutOff",
    "FinalFinished",
    "FinalStarted",
    "JournalEntry",
    "Message",
    "Note",
    "ProcessResources",
    "Resources",
    "RunningSlot",
    "SlotSpec",
    "TrialCutOff",
    "TrialFinished",
    "TrialStarted",
    "Waits",
    "check_resources",
    "create_engine",
    "decode",
    "encode",
]
