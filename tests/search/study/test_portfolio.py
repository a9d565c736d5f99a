"""Portfolios: files of finished studies, written, read and refused; how far studies are from each other."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from frostline.objectives.errors import InvalidInputError
from frostline.search.study.portfolio import MAX_BYTES, Best, Description, PastStudy, Portfolio, read_portfolio


def description(**changed: Any) -> Description:
    values: dict[str, Any] = {"images": 1000, "classes": 10, "image_size": 64, "metric": "accuracy", "units": 8}
    return Description(**{**values, "backbone": "resnet18", "pretrained": True, **changed})


BIRDS = PastStudy(
    name="birds",
    description=description(data=("ab12",)),
    best={"full": Best(values={"learning_rate": 0.002, "optimizer": "sgd", "epochs": 9}, score=0.9, seeds=3)},
)


def plain() -> dict[str, Any]:
    return json.loads(Portfolio(studies=(BIRDS,)).model_dump_json())


def test_a_written_portfolio_reads_back_and_is_plain_json(tmp_path: Path) -> None:
    portfolio = Portfolio(studies=(BIRDS,))
    portfolio.write(tmp_path / "p.json")
    assert read_portfolio(tmp_path / "p.json") == portfolio
    # The format, by hand: what a program in another language reads.
    assert json.loads((tmp_path / "p.json").read_text()) == {
        "format": "frostline portfolio",
        "version": 1,
        "studies": [
            {
                "name": "birds",
                "description": {
                    "data": ["ab12"],
                    "images": 1000,
                    "classes": 10,
                    "image_size": 64,
                    "metric": "accuracy",
                    "backbone": "resnet18",
                    "pretrained": True,
                    "units": 8,
                },
                "best": {
                    "full": {
                        "values": {"learning_rate": 0.002, "optimizer": "sgd", "epochs": 9},
                        "score": 0.9,
                        "seeds": 3,
                    }
                },
            }
        ],
    }


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, 0.0),
        ({"images": 100}, 1.0),
        ({"images": 2000}, math.log10(2)),
        ({"classes": 100, "images": 10}, 3.0),
        ({"backbone": "resnet50"}, 1.0),
        ({"pretrained": False, "classes": 1}, 2.0),
    ],
)
def test_the_distance_counts_decades_and_another_network(changed: dict[str, Any], expected: float) -> None:
    assert description().distance(description(**changed)) == pytest.approx(expected)
    assert description(**changed).distance(description()) == pytest.approx(expected)


def with_value(value: Any, *path: str | int) -> str:
    found = plain()
    inner: Any = found
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return json.dumps(found)


def refused(path: Path) -> str:
    with pytest.raises(InvalidInputError) as error:
        read_portfolio(path)
    message = str(error.value)
    assert len(message) < 2000
    assert message.replace("\n", "").isprintable()
    return message


STUDY = ("studies", 0)
FAULTS = {
    "no JSON": ("[study]", "not valid JSON"),
    "empty": ("", "not valid JSON"),
    "list": ("[]", "not a portfolio"),
    "other JSON": ('{"a": 1}', '"format": "frostline portfolio"'),
    "deep": ("[" * 100_000, "not valid JSON"),
    "huge number": ('{"a": ' + "9" * 5000 + "}", "not valid JSON"),
    "later version": (with_value(2, "version"), "version '2'"),
    "no version": (with_value(None, "version"), "version"),
    "studies as text": (with_value("birds", "studies"), "studies"),
    "unknown key": (with_value(1, *STUDY, "code"), "studies.0.code"),
    "score above one": (with_value(1.5, *STUDY, "best", "full", "score"), "best.full.score"),
    "score not a number": (with_value(math.nan, *STUDY, "best", "full", "score"), "best.full.score"),
    "no seeds": (with_value(0, *STUDY, "best", "full", "seeds"), "best.full.seeds"),
    "list of values": (with_value([1], *STUDY, "best", "full", "values", "epochs"), "values.epochs"),
    "infinite value": (with_value(math.inf, *STUDY, "best", "full", "values", "epochs"), "values.epochs"),
    "no images": (with_value(0, *STUDY, "description", "images"), "description.images"),
    "huge images": (with_value(10**300, *STUDY, "description", "images"), "description.images"),
    "number as text": (with_value("10", *STUDY, "description", "classes"), "description.classes"),
    "name of escapes": (with_value("\x1b[2Jbirds", *STUDY, "name"), "studies.0.name"),
    "name of lines": (with_value("a\nnote: all is well", *STUDY, "name"), "studies.0.name"),
    "long name": (with_value("a" * 201, *STUDY, "name"), "studies.0.name"),
    "key of escapes": (with_value(1, *STUDY, "best", "\x1b[2J"), "best.?[2J"),
    "many faults": (with_value([{}] * 50, "studies"), "other faults"),
}


@pytest.mark.parametrize(("text", "said"), FAULTS.values(), ids=FAULTS)
def test_bad_files_are_refused_by_name(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    file.write_text(text)
    message = refused(file)
    assert str(file) in message
    assert said in message


def test_only_a_portfolio_is_replaced(tmp_path: Path) -> None:
    portfolio, file = Portfolio(studies=(BIRDS,)), tmp_path / "p.json"
    Portfolio().write(file)
    portfolio.write(file)
    assert read_portfolio(file) == portfolio
    (tmp_path / "labels.csv").write_text("path,label")
    for name, said in (("labels.csv", "not replaced"), ("gone/p.json", "cannot be written"), ("", "is not a file")):
        with pytest.raises(InvalidInputError, match=said):
            portfolio.write(tmp_path / name)
    assert (tmp_path / "labels.csv").read_text() == "path,label"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["labels.csv", "p.json"]


def test_what_is_no_text_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert "not a text file" in refused(tmp_path / "binary")
    assert "is not a file" in refused(tmp_path)
    assert "frostline portfolio FILE" in refused(tmp_path / "missing")
    os.mkfifo(tmp_path / "pipe")
    assert "is not a file" in refused(tmp_path / "pipe")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert "more than any portfolio" in refused(tmp_path / "large")
