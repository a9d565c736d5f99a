"""Tables of paths and labels: what they list, and that a folder and its table are one dataset."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.objectives.data.dataset_sources import list_source
from frostline.objectives.data.listing import Listing
from frostline.objectives.data.listing_options import ListingOptions
from frostline.objectives.data.splits import resolve_splits
from frostline.objectives.errors import InvalidInputError

from .test_dataset_sources import class_folders, fill, rows


def listed(file: Path, **options: str | bool) -> Listing:
    own = ListingOptions(**options)  # type: ignore[arg-type]
    return list_source(str(file), own.located(str(file)), download_dir=file.parent / "downloads")


def faults_of(file: Path, **options: str | bool) -> list[str]:
    with pytest.raises(InvalidInputError) as caught:
        listed(file, **options)
    return caught.value.faults


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def of_folder(root: Path) -> pandas.DataFrame:
    """The table of a folder of splits and classes, written without Frostline."""
    paths = sorted(path.relative_to(root) for path in root.rglob("*.jpg"))
    return pandas.DataFrame(
        {
            "path": [path.as_posix() for path in paths],
            "label": [path.parts[1] for path in paths],
            "split": [path.parts[0] for path in paths],
        }
    )


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for split, count in (("train", 5), ("valid", 2), ("test", 3)):
        class_folders(tmp_path / "photos" / split, count=count)
    return tmp_path / "photos"


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.parquet", "semicolons.csv"])
def test_a_folder_and_its_table_are_one_dataset(photos: Path, name: str) -> None:
    table, file = of_folder(photos).sample(frac=1, random_state=0), photos / name
    if name.endswith("parquet"):
        table.to_parquet(file)
    else:
        table.to_csv(file, index=False, sep="\t" if name.endswith("tsv") else ";" if "semi" in name else ",")
    own, folder = listed(file), list_source(str(photos), download_dir=photos / "downloads")
    assert (own.classes, own.items) == (folder.classes, folder.items)
    assert own.name == file.stem


def test_columns_of_other_names_and_an_image_root(photos: Path, tmp_path: Path) -> None:
    table = of_folder(photos).rename(columns={"path": "Where Is It", "label": "species", "split": "fold"})
    file = tmp_path / "tables" / "birds.csv"
    file.parent.mkdir()
    # As Excel saves it, with cells that other programs wrote.
    table.assign(label=1, extra="").to_csv(file, index=False, encoding="utf-8-sig")
    own = listed(file, path_column="Where Is It", label_column="species", split_column="fold", image_root=str(photos))
    assert own.items == list_source(str(photos), download_dir=tmp_path).items


def test_a_moved_root_is_the_same_dataset(photos: Path, tmp_path: Path) -> None:
    of_folder(photos).to_csv(photos / "x.csv", index=False)
    before = rows(listed(photos / "x.csv"))
    photos.rename(tmp_path / "moved")
    assert rows(listed(tmp_path / "moved/x.csv")) == before


def test_a_root_in_the_folder_of_the_table_is_stored_relative_to_it(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "data/images").mkdir(parents=True)
    file = write(tmp_path / "data/x.csv", "path,label\n")
    monkeypatch.chdir(tmp_path)
    for root, stored in (("", ""), ("data", ""), ("data/images", "images"), (".", str(tmp_path))):
        options = ListingOptions(image_root=root).located("data/x.csv")
        assert options.image_root == stored
        assert options.root_of(str(file)) == str(tmp_path / (root or "data"))
        # What is stored stays as it is, from the folder of the table.
    link = tmp_path / "link.csv"
    link.symlink_to(file)
    assert ListingOptions().located("link.csv").root_of(str(file)) == str(tmp_path), "beside the link"


def test_absolute_paths_below_the_root_are_relative(photos: Path, tmp_path: Path) -> None:
    table = of_folder(photos)
    table["path"] = [str(photos / path) for path in table["path"]]
    table.to_csv(tmp_path / "x.csv", index=False)
    own = listed(tmp_path / "x.csv", image_root=str(photos))
    assert own.items == list_source(str(photos), download_dir=tmp_path).items


def test_paths_outside_the_root_are_taken_if_the_user_says_so(photos: Path, tmp_path: Path) -> None:
    table = of_folder(photos)
    table["path"] = [
        f"../photos/{path}" if index % 2 else str(photos / path) for index, path in enumerate(table["path"])
    ]
    file = tmp_path / "tables/x.csv"
    file.parent.mkdir()
    table.to_csv(file, index=False)
    (fault,) = faults_of(file)
    assert f"is outside {file.parent}" in fault
    assert "(lines 2, 3, 4 and 17 more)" in fault
    assert "--allow-outside" in fault
    own = listed(file, allow_outside=True)
    assert {os.path.realpath(str(item.content)) for item in own.items} == {str(path) for path in photos.rglob("*.jpg")}


def test_labels_are_texts_without_spaces_around_and_in_one_unicode_form(tmp_path: Path) -> None:
    fill(tmp_path, *(f"{number}.jpg" for number in range(9)))
    labels = ["café", "cafe\u0301", " café", "NA", "NA ", "NA", "7", "7.5", '"7"']
    file = write(tmp_path / "x.csv", "file,class\n" + "".join(f"{n}.jpg,{label}\n" for n, label in enumerate(labels)))
    assert [fault.split(" but ")[0] for fault in faults_of(file)] == [
        "Class '7' has 2 usable images",
        "Class '7.5' has 1 usable image",
    ]
    file.write_text(file.read_text().replace("7.5", "7"))
    own = listed(file)
    assert own.classes == ("7", "NA", "café")
    assert [own.classes[item.label] for item in own.items] == ["café"] * 3 + ["NA"] * 3 + ["7"] * 3


def test_whole_numbers_of_parquet_are_classes(tmp_path: Path) -> None:
    fill(tmp_path, *(f"{number}.jpg" for number in range(6)))
    names = [f"{number}.jpg" for number in range(6)]
    pandas.DataFrame({"image": names, "target": [0.0, 1.0] * 3}).to_parquet(tmp_path / "x.parquet")
    assert listed(tmp_path / "x.parquet").classes == ("0", "1")
    pandas.DataFrame({"image": names, "target": pandas.Categorical(["a", "b"] * 3)}).to_parquet(tmp_path / "y.parquet")
    assert listed(tmp_path / "y.parquet").classes == ("a", "b")


def test_a_class_name_with_a_comma_is_one_class(tmp_path: Path) -> None:
    """ImageNet's names: 'maillot' and 'maillot, tank suit' are two classes."""
    fill(tmp_path, *(f"{number}.jpg" for number in range(9)))
    names = ["maillot", "maillot, tank suit", "tench, Tinca tinca"] * 3
    table = pandas.DataFrame({"path": [f"{number}.jpg" for number in range(9)], "label": names})
    table.to_csv(tmp_path / "x.csv", index=False)
    assert listed(tmp_path / "x.csv").classes == tuple(sorted(set(names)))


def test_few_missing_files_are_left_to_the_decoder_and_blank_lines_count(tmp_path: Path) -> None:
    fill(tmp_path, *(f"{number}.jpg" for number in range(20)))
    lines = [f"{number}.jpg,{'cat' if number % 2 else 'dog'}" for number in range(22)]
    file = write(tmp_path / "x.csv", "\n".join(["path,label", "", *lines[:10], "", *lines[10:], ""]))
    assert len(listed(file).items) == 22
    file.write_text(file.read_text().replace("5.jpg,cat", "5.jpg,", 1))
    assert faults_of(file) == ["x.csv: no label in line 8, column 'label'. Fill it in, or remove the row."]


def test_a_column_without_splits_gives_none_and_groups_come_along(tmp_path: Path) -> None:
    fill(tmp_path, *(f"{number}.jpg" for number in range(12)))
    lines = "".join(f"{n}.jpg,{'cd'[n % 2]},,p{n // 2}\n" for n in range(12))
    file = write(tmp_path / "x.csv", f"path,label,split,group\n{lines}")
    own = listed(file)
    assert {item.split for item in own.items} == {None}
    assert own.groups == [f"p{int(item.name[:-4]) // 2}" for item in own.items]
    assert own.grouped_by == "column 'group'"
    assert listed(file, group="none").groups is None
    by_name = listed(file, group_regex=r"^(\d)")
    assert by_name.groups == [item.name[0] for item in by_name.items]


def test_nested_folders_of_classes(tmp_path: Path) -> None:
    root = tmp_path / "life"
    class_folders(root, ("animals/cat", "animals/dog", "plants/rose"))
    fill(root, *(f"plants/{number}.jpg" for number in range(3)))
    options = ListingOptions(nested_classes=True)
    nested = list_source(str(root), options, download_dir=tmp_path)
    assert nested.classes == ("animals/cat", "animals/dog", "plants", "plants/rose")
    assert all(item.name.rpartition("/")[0] == nested.classes[item.label] for item in nested.items)
    assert list_source(str(root), download_dir=tmp_path).classes == ("animals", "plants")
    for split in ("train", "test"):
        class_folders(tmp_path / "split" / split, ("fruit/red", "fruit/green", "crops/red", "crops/green"))
    split = list_source(str(tmp_path / "split"), options, download_dir=tmp_path)
    assert split.classes == ("crops/green", "crops/red", "fruit/green", "fruit/red")
    assert {item.split for item in split.items} == {"train", "test"}


def test_options_of_another_kind_of_data_are_refused(tmp_path: Path) -> None:
    class_folders(tmp_path / "pets")
    wrong = ListingOptions(label_column="x", image_root="y", nested_classes=True, group_regex="a|b")
    with pytest.raises(InvalidInputError) as caught:
        list_source(str(tmp_path / "pets"), wrong, download_dir=tmp_path)
    assert [fault.split(" does")[0] for fault in caught.value.faults] == ["--label-column", "--image-root"]
    with pytest.raises(InvalidInputError) as caught:
        list_source("sklearn:digits", wrong, download_dir=tmp_path)
    assert len(caught.value.faults) == 4


# Cells of any text, but those that are missing values.
texts = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=6
).filter(lambda text: text.strip() not in ("", "nan", "NaN", "<NA>"))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    fill(folder, *(f"{number:02d}.jpg" for number in range(60)))
    return folder


@settings(deadline=None, max_examples=60)
@given(
    classes=st.lists(texts, min_size=2, max_size=4, unique_by=lambda text: text.strip().casefold()),
    members=st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(["train", "dev", "Test set"])), min_size=3, max_size=60
    ),
    groups=st.lists(texts, min_size=10, max_size=10),
    splits=st.booleans(),
    suffix=st.sampled_from([".csv", ".tsv", ".parquet"]),
)
def test_what_a_table_says_is_what_is_listed_or_it_is_refused(
    pool: Path, classes: list[str], members: list[tuple[int, str]], groups: list[str], splits: bool, suffix: str
) -> None:
    """Written by pandas, read by Frostline; and no group is in two splits that are made."""
    names = [f"{number:02d}.jpg" for number in range(len(members))]
    labels = [classes[number % len(classes)] for number in range(len(members))]
    table = pandas.DataFrame({"path": names, "label": labels, "group": [groups[group] for group, _ in members]})
    if splits:
        table["split"] = [split for _, split in members]
    file = pool / f"table{suffix}"
    if suffix == ".parquet":
        table.to_parquet(file)
    else:
        table.to_csv(file, index=False, sep="," if suffix == ".csv" else "\t")
    own, faults = None, []
    try:
        own = listed(file)
    except InvalidInputError as error:
        faults = error.faults
    if own is None:
        said = "usable image", "of groups", "group", "no train", "multi-label", "case alone", "numbers", "texts"
        assert faults
        assert all(any(word in fault for word in said) for fault in faults), faults
        return
    meant = {"train": "train", "dev": "val", "Test set": "test"}
    assert [item.name for item in own.items] == names
    for item, label, (group, split) in zip(own.items, labels, members, strict=True):
        assert own.classes[item.label] == unicodedata.normalize("NFC", label.strip())
        assert item.group == groups[group].strip()
        assert item.split == (meant[split] if splits else None)
    parts = resolve_splits(own.splits, own.labels, 0, own.groups)
    made = [name for name in parts if name not in own.splits or name == "train"]
    homes = [{(own.groups or [])[row] for row in parts[name]} for name in made]
    assert sum(map(len, homes)) == len(set().union(*homes))
