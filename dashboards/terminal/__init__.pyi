from .listings import backbones_table, studies_table, units_table
from .live import LiveProgress
from .notebook import NotebookProgress, to_html
from .plan import print_plan
from .rich_tables import (
    print_curve,
    print_faults,
    print_textbook,
    print_truncation,
    print_verdict,
    status_table,
    verdict_table,
)

__all__ = [
    "LiveProgress",
    "NotebookProgress",
    "backbones_table",
    "print_curve",
    "print_faults",
    "print_plan",
    "print_textbook",
    "print_truncation",
    "print_verdict",
    "status_table",
    "studies_table",
    "to_html",
    "units_table",
    "verdict_table",
]
