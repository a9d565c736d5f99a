"""The record of the finals: each training once, with its opening of the test split."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event

from frostline.storage.database.engine import Database
from frostline.storage.database.finals import FinalsTable
from frostline.storage.database.predictions import pack_classes, unpack_classes
from frostline.storage.errors import StorageError

OUTCOME = {"strategy": "full", "test_score": 0.1 + 0.2, "seconds": 3, "run_id": None, "nested": {"a": [1, 2]}}

SURE = np.eye(2, dtype=np.float32)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(f"sqlite:///{tmp_path / 'studies.db'}")


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_final_is_kept_as_it_was(database: Database, kind: type[np.floating]) -> None:
    labels = np.array([0, 1, 2, 1])
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), size=4).astype(kind)
    FinalsTable(database, "study").add("full-3", 1000, OUTCOME, labels, probabilities)
    (kept,) = FinalsTable(database, "study").all()
    assert (kept.finalist, kept.seed, kept.outcome) == ("full-3", 1000, OUTCOME)
    assert kept.labels.dtype == kept.predictions.dtype == np.int64
    np.testing.assert_array_equal(kept.labels, labels)
    assert kept.probabilities is not None
    assert kept.probabilities.dtype == kind
    np.testing.assert_array_equal(kept.probabilities, probabilities)
    np.testing.assert_array_equal(kept.predictions, probabilities.argmax(axis=1))
    assert abs(datetime.now(UTC).replace(tzinfo=None) - kept.test_opened) < timedelta(minutes=5)


def test_finals_come_in_the_order_of_their_ending(database: Database) -> None:
    table = FinalsTable(database, "study")
    order = [("full-3", 1001), ("full-3", 1000), ("a-0", 1000)]
    for finalist, seed in order:
        table.add(finalist, seed, {}, np.arange(2), SURE)
    assert [(final.finalist, final.seed) for final in table.all()] == order


def test_identities_and_outcomes_are_read_without_predictions(database: Database) -> None:
    table, statements = FinalsTable(database, "study"), list[str]()
    order = [("full-3", 1001), ("full-3", 1000), ("a-0", 1000)]
    for finalist, seed in order:
        table.add(finalist, seed, {"seed": seed}, np.arange(2), SURE)
    FinalsTable(database, "other").add("full-4", 1000, {}, np.arange(2), SURE)

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    assert table.identities() == order
    assert [(final.finalist, final.seed) for final in table.outcomes()] == order
    assert [final.outcome for final in table.outcomes()] == [{"seed": seed} for _, seed in order]
    read = [statement for statement in statements if "frostline_finals" in statement]
    assert len(read) == 3
    assert not any(column in statement for statement in read for column in ("labels", "predictions", "probabilities"))


def test_one_final_is_read_alone(database: Database) -> None:
    table = FinalsTable(database, "study")
    table.add("full-3", 1000, {"number": 1}, np.arange(2), SURE)
    table.add("full-3", 1001, {"number": 2}, np.arange(2), SURE)
    kept = table.get("full-3", 1001)
    assert kept is not None
    assert (kept.finalist, kept.seed, kept.outcome) == ("full-3", 1001, {"number": 2})
    np.testing.assert_array_equal(kept.probabilities, SURE)
    assert table.get("full-3", 1002) is None
    assert FinalsTable(database, "other").get("full-3", 1000) is None


def test_studies_of_one_database_are_apart(database: Database) -> None:
    FinalsTable(database, "one").add("full-3", 1000, {}, np.arange(2), SURE)
    FinalsTable(database, "two").add("full-3", 1000, {}, np.arange(2), SURE)
    assert len(FinalsTable(database, "one").all()) == 1
    assert FinalsTable(database, "three").all() == []


def test_a_final_cannot_be_recorded_twice(database: Database) -> None:
    table = FinalsTable(database, "study")
    table.add("full-3", 1000, {"first": True}, np.arange(2), SURE)
    with pytest.raises(StorageError):
        table.add("full-3", 1000, {"first": False}, np.arange(2), SURE)
    assert [final.outcome for final in table.all()] == [{"first": True}]


@given(st.lists(st.integers(0, 2**31 - 1)))
def test_classes_survive_packing(classes: list[int]) -> None:
    assert unpack_classes(pack_classes(np.array(classes, dtype=np.int64))).tolist() == classes
