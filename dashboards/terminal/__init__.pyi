from .listings import backbones_table, studies_table, units_table
from .live import LiveProgress
from .plan import print_plan
from .rich_tables import print_curve, print_faults, print_textbook, print_truncation, print_verdict, status_table

__all__ = [
    "LiveProgress",
    "backbones_table",
    "print_curve",
    "print_faults",
    "print_plan",
    "print_textbook",
    "print_truncation",
    "print_verdict",
    "status_table",
    "studies_table",
    "units_table",
]
