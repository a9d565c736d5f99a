"""What a user sees of a study: the views that the command line and the Python interface use."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from ..objectives.backbones import Backbone
    from ..search.study import DryRun, Observer, Study, StudyResults


class TerminalViews:
    """Output for people: Rich views in a terminal or notebook, plain lines elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console

        # Names of the user's are no markup: nets:a: is no emoji, [bold] no style.
        self._console: Console = Console(highlight=False, markup=False, emoji=False)

    def observer(self) -> Observer:
        from ..search.study import LineProgress
        from .terminal import LiveProgress, NotebookProgress

        if self._console.is_jupyter:
            return NotebookProgress()
        if self._console.is_terminal:
            return LiveProgress(self._console)
        return LineProgress(lambda line: print(line, flush=True))

    def results(self, results: StudyResults) -> None:
        from .terminal import print_faults, print_textbook, print_verdict, status_table

        self._console.print(status_table(results))
        if results.verdict is not None:
            print_verdict(self._console, results.verdict, results.warnings)
        print_faults(self._console, results)
        print_textbook(self._console, results)

    def studies(self, every: list[StudyResults]) -> None:
        from ..search.analysis import count_outcomes
        from .terminal import studies_table

        self._console.print(studies_table(every))
        if counted := count_outcomes(results.textbook for results in every):
            self._console.print(f"\nThe textbook's advice: {counted}")

    def ended(self, study: Study) -> None:
        from .terminal import print_faults, print_textbook, print_verdict

        results = study.results()
        if results.verdict is not None:
            print_verdict(self._console, results.verdict, results.warnings)
        print_faults(self._console, results)
        print_textbook(self._console, results)
        self._console.print()
        self._console.print(f"Report:  {write_study_report(study)}", soft_wrap=True)
        name = f"{study.settings.name}{study.workspace.option}"
        self._console.print(f"Trials:  frostline ui {name}", soft_wrap=True)
        if seeds := results.verdict and results.verdict.remedy.seeds:
            seeds = max(seeds, study.settings.finals_seeds)
            self._console.print(f"Decide:  frostline resume {name} --seeds {seeds}", soft_wrap=True)

    def curve(self, study: Study) -> None:
        from .terminal import print_curve

        curve = study.results().curve
        if curve is not None:
            print_curve(self._console, curve)
        self._console.print()
        self._console.print(f"Report:  {write_study_report(study)}", soft_wrap=True)

    def truncation(self, study: Study) -> None:
        from .terminal import print_truncation

        truncation = study.results().truncation
        if truncation is not None:
            print_truncation(self._console, truncation)
        self._console.print()
        self._console.print(f"Report:  {write_study_report(study)}", soft_wrap=True)

    def report(self, study: Study, path: Path | None = None) -> Path:
        return write_study_report(study, path)

    def plan(self, plan: DryRun) -> None:
        from .terminal import print_plan

        print_plan(self._console, plan)

    def html(self, results: StudyResults) -> str:
        from rich.text import Text

        from .terminal import status_table, to_html, verdict_table

        verdict = results.verdict
        if verdict is None:
            return to_html([status_table(results)])
        return to_html([Text(verdict.sentence(), style="bold"), "", verdict_table(verdict)])

    def backbones(self) -> None:
        from ..objectives.backbones import backbone_table
        from .terminal import backbones_table

        self._console.print(backbones_table(backbone_table()))

    def units(self, backbone: Backbone) -> None:
        from .terminal import units_table

        self._console.print(units_table(backbone))
        for note in backbone.notes.sentences:
            self._console.print(note, soft_wrap=True)


def write_study_report(study: Study, path: Path | None = None) -> Path:
    """Write the report, log it to the study's MLflow run, and return its path."""
    from ..objectives.data import find_gallery
    from ..search.study import finished_neighbors
    from ..search.tracking import log_with_study
    from ..storage.errors import StorageError, UnusableError
    from .report import write_report

    settings = study.settings
    gallery = find_gallery(study.facts.fingerprint, cache_dir=study.workspace.images, seed=settings.seed)
    place = path or study.workspace.report(settings.name)
    try:
        written = write_report(study.results(), place, gallery, finished_neighbors(study))
    except OSError as error:
        said = f"Cannot write the report {place}: {error.strerror}. Name another file: "
        raise (UnusableError if path else StorageError)(
            f"{said}frostline report {settings.name} -o FILE{study.workspace.option}"
        ) from error
    log_with_study(study, written, lambda line: print(line, file=sys.stderr, flush=True))
    return written
