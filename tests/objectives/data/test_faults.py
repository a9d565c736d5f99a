"""What follows from lists of copies, and what is kept of them."""

from __future__ import annotations

import json

from frostline.objectives.data import Copies, DataFaults, FoundImage, LabelError, StraddlingGroup, describe_faults


def image(row: int, split: str, label: int = 0, position: int = 0, fold: int = 0) -> FoundImage:
    return FoundImage(f"{split}/{row}.jpg", split, label, row, position, fold)


FAULTS = DataFaults(
    copies=(
        Copies((image(0, "train"), image(1, "test", position=7), image(2, "test", position=3)), exact=True),
        Copies((image(3, "val"), image(4, "test", label=1, position=5)), exact=False),
        Copies((image(5, "train"), image(6, "val")), exact=True),
        Copies((image(7, "train"), image(8, "train", label=1)), exact=True),
        Copies((image(9, "test", position=8), image(10, "test", position=9)), exact=True),
    ),
    label_errors=(LabelError(image(11, "train"), 1, 0.9, 0.01),),
    never_right=(1,),
    test_images=40,
    not_sought={"near copies": "too many"},
)


def test_a_test_image_leaked_if_training_or_validation_shows_it_too() -> None:
    assert FAULTS.leaked_test == (3, 5, 7)
    assert FAULTS.counts == {
        "leaked_test_images": 3,
        "leaked_validation_images": 1,
        "test_images_of_straddling_groups": 0,
        "validation_images_of_straddling_groups": 0,
        "pictures_under_several_labels": 2,
        "copies_within_a_split": 1,
        "likely_label_errors": 1,
        "classes_never_right": 1,
    }


def test_faults_are_kept_as_json_and_read_again() -> None:
    assert DataFaults.from_row(json.loads(json.dumps(FAULTS.to_row()))) == FAULTS


FOLDED = DataFaults(
    copies=(
        # The splits from which the folds were made say nothing.
        Copies((image(0, "train", fold=1), image(1, "train", fold=1)), exact=True),
        Copies((image(2, "train", fold=1), image(3, "val", fold=1)), exact=True),
        Copies((image(4, "train", fold=1), image(5, "train", fold=2), image(6, "train", fold=2)), exact=True),
        Copies((image(7, "val", fold=3), image(8, "test", position=2)), exact=True),
        Copies((image(9, "train", fold=1), image(10, "val", fold=2), image(11, "test", position=4)), exact=True),
    ),
    test_images=40,
)


def test_with_folds_a_copy_in_another_fold_leaks_and_one_in_the_same_fold_does_not() -> None:
    assert FOLDED.leaked_test == (2, 4)
    assert [group.images[0].row for group in FOLDED.validation_leaks] == [4, 9]
    # Of each of these, one trains while the other validates: the search sees all of them too well.
    assert FOLDED.leaked_validation == 5
    assert [group.images[0].row for group in FOLDED.other_copies] == [0, 2]
    assert describe_faults(FOLDED, ("cat", "dog")) == (
        "2 of 40 test images (5.0 %) are also in the training or validation images. "
        "5 images are also in another fold, which trains what they validate."
    )
    assert DataFaults.from_row(json.loads(json.dumps(FOLDED.to_row()))) == FOLDED


def test_faults_that_an_older_version_kept_know_no_folds() -> None:
    row = json.loads(json.dumps(FAULTS.to_row()))
    for found in (*(image for group in row["copies"] for image in group["images"]), row["label_errors"][0]["image"]):
        del found["fold"]
    assert DataFaults.from_row(row) == FAULTS


GROUPED = DataFaults(
    test_images=40,
    straddling=(
        StraddlingGroup("p1", {"train": 4, "test": 2}, (9, 3), (image(0, "train"), image(1, "test", position=9))),
        StraddlingGroup("p2", {"train": 1, "val": 3}, (), (image(2, "train"), image(3, "val"))),
        StraddlingGroup("p3", {"val": 1, "test": 1}, (5,), (image(4, "val"), image(5, "test", position=5))),
    ),
)


def test_groups_in_several_splits_count_by_the_images_of_the_later_split() -> None:
    assert GROUPED.straddling_test == (3, 5, 9)
    assert GROUPED.counts["test_images_of_straddling_groups"] == 3
    assert GROUPED.counts["validation_images_of_straddling_groups"] == 3
    assert describe_faults(GROUPED, ("cat", "dog")) == (
        "3 of 40 test images (7.5 %) are of groups that have training or validation images too. "
        "3 validation images are of groups that have training images too."
    )
    assert DataFaults.from_row(json.loads(json.dumps(GROUPED.to_row()))) == GROUPED
    older = GROUPED.to_row()
    del older["straddling"]
    assert DataFaults.from_row(older) == DataFaults(test_images=40)


def test_sentences_count_and_nothing_is_said_of_clean_data() -> None:
    assert describe_faults(FAULTS, ("cat", "dog")) == (
        "3 of 40 test images (7.5 %) are also in the training or validation images. "
        "1 validation image is also in the training images. 2 pictures are in the data under several labels. "
        "1 label is probably wrong. A linear probe is never right on dog."
    )
    assert describe_faults(DataFaults(test_images=40), ("cat", "dog")) == ""
