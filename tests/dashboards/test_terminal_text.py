"""Names of the user's are printed as they are: no markup, no emoji."""

from __future__ import annotations

from dataclasses import replace

import pytest
from torch import nn

from frostline.dashboards.cli import TerminalViews
from frostline.objectives.backbones.backbone import cut
from frostline.search.study.results import StudyResults

NAME = "nets:a:smile: [red]x[/red] [link=http://x]y"


def test_a_network_of_any_name(capsys: pytest.CaptureFixture[str]) -> None:
    backbone = cut(NAME, nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Linear(128, 2)), 8)
    TerminalViews().units(backbone)
    assert NAME in " ".join(capsys.readouterr().out.split())


def test_a_study_of_any_name(capsys: pytest.CaptureFixture[str], results: StudyResults) -> None:
    named = replace(results, settings=results.settings.model_copy(update={"name": NAME}))
    TerminalViews().studies([named])
    printed = capsys.readouterr().out
    assert all(part in printed for part in NAME.split())
