import gzip
import inspect
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from torchvision import datasets

from frostline.objectives.data import torchvision_datasets
from frostline.objectives.data.dataset_sources import list_source
from frostline.objectives.data.listing import Listing
from frostline.objectives.data.splits import resolve_splits
from frostline.objectives.errors import InvalidInputError


def fill(folder: Path, *names: str) -> None:
    """Empty files do: listing never opens them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def class_folders(root: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 3) -> None:
    fill(root, *(f"{name}/{number}.jpg" for name in classes for number in range(count)))


def faults_of(source: str | Path, tmp_path: Path) -> list[str]:
    with pytest.raises(InvalidInputError) as caught:
        list_source(str(source), download_dir=tmp_path / "downloads")
    return caught.value.faults


def listed(source: str | Path, tmp_path: Path) -> Listing:
    return list_source(str(source), download_dir=tmp_path / "downloads")


def rows(listing: Listing) -> list[tuple[str, str, str | None]]:
    return [(item.name, listing.classes[item.label], item.split) for item in listing.items]


# Folders


def test_class_folders_are_listed_in_order_at_any_depth(tmp_path: Path) -> None:
    root = tmp_path / "my pets"
    fill(root, "dog/b.JPG", "dog/a.png", "dog/old/2019/c.webp", "cat/ünï.jpeg", "cat/two words.gif", "cat/3.tiff")
    fill(root, "cat/.hidden.jpg", "cat/notes.txt", "cat/.cache/x.jpg", ".git/x.jpg", "preview.jpg")
    listing = listed(root, tmp_path)
    assert listing.name == "my pets"
    assert listing.classes == ("cat", "dog")
    assert rows(listing) == [
        ("cat/3.tiff", "cat", None),
        ("cat/two words.gif", "cat", None),
        ("cat/ünï.jpeg", "cat", None),
        ("dog/a.png", "dog", None),
        ("dog/b.JPG", "dog", None),
        ("dog/old/2019/c.webp", "dog", None),
    ]
    assert listing.items[0].content == root / "cat/3.tiff"


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "validation", "testing"), ("train", "valid")])
def test_split_folders_go_by_many_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        class_folders(tmp_path / "data" / name)
    fill(tmp_path / "data", "docs/readme.txt")
    listing = listed(tmp_path / "data", tmp_path)
    assert listing.classes == ("cat", "dog")
    meant = {"train", "val", "test"} if len(names) == 3 else {"train", "val"}
    assert {item.split for item in listing.items} == meant
    assert all(item.name.split("/")[1] == listing.classes[item.label] for item in listing.items)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    class_folders(tmp_path / "data", ("car", "plane", "train"))
    assert listed(tmp_path / "data", tmp_path).classes == ("car", "plane", "train")


def test_a_folder_named_like_an_image_is_a_folder(tmp_path: Path) -> None:
    class_folders(tmp_path / "data", ("cat.jpg", "dog"))
    fill(tmp_path / "data", "dog/more.jpg/4.jpg")
    assert [item.name for item in listed(tmp_path / "data", tmp_path).items if "more" in item.name] == [
        "dog/more.jpg/4.jpg"
    ]


def test_links_are_followed_dangling_ones_listed_and_loops_and_pipes_left_out(tmp_path: Path) -> None:
    class_folders(tmp_path / "data")
    fill(tmp_path / "elsewhere", "4.jpg")
    cat = tmp_path / "data/cat"
    (cat / "linked").symlink_to(tmp_path / "elsewhere")
    (cat / "loop").symlink_to(tmp_path / "data/cat")
    (cat / "dangling.jpg").symlink_to(tmp_path / "gone.jpg")
    os.mkfifo(cat / "pipe.jpg")
    names = [item.name for item in listed(tmp_path / "data", tmp_path).items if item.name.startswith("cat/")]
    assert names == ["cat/0.jpg", "cat/1.jpg", "cat/2.jpg", "cat/dangling.jpg", "cat/linked/4.jpg"]


def test_a_missing_folder(tmp_path: Path) -> None:
    assert faults_of(tmp_path / "gone", tmp_path) == [
        f"No such folder: {tmp_path / 'gone'}. Name a folder of class folders, a CSV or Parquet file, "
        "torchvision:NAME or sklearn:digits."
    ]


def test_a_file(tmp_path: Path) -> None:
    fill(tmp_path, "x.jpg")
    assert faults_of(tmp_path / "x.jpg", tmp_path)[0].endswith(
        "is a file. Name the folder that holds the class folders, or a table of paths and labels "
        "(.csv, .tsv, .tab, .parquet, .pq, .jsonl)."
    )


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (fault,) = faults_of(tmp_path / "data", tmp_path)
    assert "holds no images. Name a folder with one folder of images per class (avif, bmp," in fault


def test_empty_class_folders(tmp_path: Path) -> None:
    fill(tmp_path / "data", "cat/x.txt", "dog/y.txt")
    assert "holds no images" in faults_of(tmp_path / "data", tmp_path)[0]


@pytest.mark.parametrize("inside", ["data", "data/train"])
def test_images_without_class_folders(tmp_path: Path, inside: str) -> None:
    fill(tmp_path / inside, "1.jpg", "2.jpg")
    (fault,) = faults_of(tmp_path / "data", tmp_path)
    assert fault.startswith(f"{tmp_path / inside} holds images but no class folders. Put the images of each class")


def test_a_single_class(tmp_path: Path) -> None:
    class_folders(tmp_path / "data", ("cat",))
    assert faults_of(tmp_path / "data", tmp_path) == [
        "data has only the class 'cat'. Add images of at least one more class."
    ]


def test_every_class_with_too_few_images_is_named(tmp_path: Path) -> None:
    class_folders(tmp_path / "data")
    fill(tmp_path / "data", "eel/1.jpg", "fox/1.jpg", "fox/2.jpg", "gnu/notes.txt")
    faults = faults_of(tmp_path / "data", tmp_path)
    assert [fault.split(" but ")[0] for fault in faults] == [
        "Class 'eel' has 1 usable image",
        "Class 'fox' has 2 usable images",
        "Class 'gnu' has 0 usable images",
    ]
    assert "needs at least 3 (one each for train, val, test). Add images or remove the class." in faults[0]


def test_a_class_that_a_split_lacks_is_named_both_ways(tmp_path: Path) -> None:
    root = tmp_path / "data"
    class_folders(root / "train", ("cat", "dog", "eel"))
    class_folders(root / "test", ("cat", "dog", "fox"))
    assert faults_of(root, tmp_path) == [
        f"Class 'eel' has no folder in {root / 'test'}, but has one in another split. Every split needs every class.",
        f"Class 'fox' has no folder in {root / 'train'}, but has one in another split. Every split needs every class.",
    ]


def test_all_faults_of_a_layout_at_once(tmp_path: Path) -> None:
    for name in ("val", "validation", "test", "extra"):
        class_folders(tmp_path / "data" / name)
    no_train, twice, stranger = faults_of(tmp_path / "data", tmp_path)
    assert "but no train/. Add train/" in no_train
    assert "has val/ and validation/, which both mean val. Keep one of them." in twice
    assert "has extra/ beside split folders" in stranger


def test_a_split_folder_without_images(tmp_path: Path) -> None:
    class_folders(tmp_path / "data/train")
    (tmp_path / "data/test").mkdir()
    assert faults_of(tmp_path / "data", tmp_path)[0].startswith(f"{tmp_path / 'data/test'} holds no images")


def test_a_folder_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_folders(tmp_path / "data")
    scan = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "dog":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert faults_of(tmp_path / "data", tmp_path) == [
        f"Cannot read the folder {tmp_path / 'data/dog'}: Permission denied. "
        "Give yourself access to it, or move it out of the dataset."
    ]


@pytest.mark.parametrize("source", ["huggingface:beans", "torchvison:CIFAR10"])
def test_an_unknown_prefix(tmp_path: Path, source: str) -> None:
    (fault,) = faults_of(source, tmp_path)
    assert fault.startswith(f"Unknown dataset prefix {source.split(':')[0]!r}.")
    assert "Valid: sklearn, torchvision." in fault
    assert ("Did you mean 'torchvision'?" in fault) == source.startswith("torch")


def test_a_folder_with_a_colon_in_its_name_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_folders(tmp_path / "pets:2024")
    monkeypatch.chdir(tmp_path)
    assert listed("pets:2024", tmp_path).name == "pets:2024"


# scikit-learn


def test_digits_are_those_of_scikit_learn(tmp_path: Path) -> None:
    listing = listed("sklearn:digits", tmp_path)
    bunch: Any = load_digits()
    assert listing.classes == tuple("0123456789")
    assert [item.label for item in listing.items] == bunch.target.tolist()
    image = listing.items[7].read()
    assert isinstance(image, Image.Image)
    assert np.array_equal(np.asarray(image), np.round(bunch.images[7] / 16 * 255))
    assert {item.split for item in listing.items} == {None}


@pytest.mark.parametrize(("text", "classes"), [("5-9", "56789"), ("0,1,4", "014"), ("7, 0-2", "0127"), ("3,3,4", "34")])
def test_digits_of_some_classes(tmp_path: Path, text: str, classes: str) -> None:
    listing = listed(f"sklearn:digits[{text}]", tmp_path)
    bunch: Any = load_digits()
    assert listing.classes == tuple(classes)
    expected = [str(digit) for digit in bunch.target if str(digit) in classes]
    assert [listing.classes[item.label] for item in listing.items] == expected


def test_a_limit_leaves_that_many_to_train_and_val_and_the_rest_to_test(tmp_path: Path) -> None:
    listing = listed("sklearn:digits[5-9]@200", tmp_path)
    labels = np.array([item.label for item in listing.items])
    splits = resolve_splits([item.split for item in listing.items], labels, seed=0)
    assert {name: len(positions) for name, positions in splits.items()} == {
        "train": 170,
        "val": 30,
        "test": len(labels) - 200,
    }
    shares = np.bincount(labels) / len(labels)
    for positions in splits.values():
        assert np.abs(np.bincount(labels[positions]) - shares * len(positions)).max() < 2
    assert rows(listing) == rows(listed("sklearn:digits[5-9]@200", tmp_path))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("sklearn:digit", "Unknown dataset 'sklearn:digit'. Did you mean 'sklearn:digits'?"),
        ("sklearn:", "Unknown dataset 'sklearn:'"),
        ("sklearn:iris", "Unknown dataset 'sklearn:iris'"),
        ("sklearn:digits[5-", "Unknown dataset"),
        ("sklearn:digits[]", "'' is not a digit or a range. Write for example [5-9] or [0,1,4]."),
        ("sklearn:digits[9-5]", "'9-5' is not a digit or a range"),
        ("sklearn:digits[5-12]", "'5-12' is not a digit or a range"),
        ("sklearn:digits[4]", "only the class '4'"),
        ("sklearn:digits[5-9]@", "Unknown dataset"),
        ("sklearn:digits[5-9]@9", "@9 is not possible. Write a number from 10 to 891"),
        ("sklearn:digits[5-9]@900", "@900 is not possible"),
        ("sklearn:digits[5-9]@many", "@many is not possible"),
    ],
)
def test_digits_misspelt(tmp_path: Path, source: str, message: str) -> None:
    assert message in faults_of(source, tmp_path)[0]


# torchvision: files laid out as its downloads are, since tests reach no network


def write_idx(file: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    file.parent.mkdir(parents=True, exist_ok=True)
    for path, opener in ((file, open), (file.with_name(file.name + ".gz"), gzip.open)):
        with opener(path, "wb") as stream:
            stream.write(header + array.astype(np.uint8).tobytes())


def test_torchvision_arrays_with_their_own_splits(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28))
    labels = np.arange(40) % 10
    for prefix in ("train", "t10k"):
        raw = tmp_path / "downloads/FashionMNIST/FashionMNIST/raw"
        write_idx(raw / f"{prefix}-images-idx3-ubyte", images)
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", labels)
    listing = listed("torchvision:fashionmnist", tmp_path)
    assert listing.name == "torchvision:FashionMNIST"
    assert listing.classes[0] == "T-shirt/top"
    assert [item.split for item in listing.items] == ["test"] * 40 + ["train"] * 40
    assert [item.label for item in listing.items] == [*labels, *labels]
    image = listing.items[3].read()
    assert isinstance(image, Image.Image)
    assert np.array_equal(np.asarray(image), images[3])


def test_torchvision_files_are_read_as_a_users_own(tmp_path: Path) -> None:
    root = tmp_path / "downloads/EuroSAT/eurosat/2750"
    class_folders(root, ("Forest", "River"))
    listing = listed("torchvision:EuroSAT", tmp_path)
    assert listing.classes == ("Forest", "River")
    assert [item.content for item in listing.items] == sorted(root.rglob("*.jpg"))
    assert {item.split for item in listing.items} == {None}


def test_a_torchvision_name_misspelt(tmp_path: Path) -> None:
    (fault,) = faults_of("torchvision:CIFAR1O", tmp_path)
    assert "Did you mean 'torchvision:CIFAR10'?" in fault
    assert "torchvision:Flowers102" in fault
    assert not (tmp_path / "downloads").exists()


def test_a_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("<urlopen error no route>\nmore")

    monkeypatch.setattr(datasets, "CIFAR10", fail)
    (fault,) = faults_of("torchvision:cifar10", tmp_path)
    assert fault.startswith("Cannot get torchvision:CIFAR10: <urlopen error no route>. Check the connection")
    assert str(tmp_path / "downloads/CIFAR10") in fault


@pytest.mark.parametrize("name", torchvision_datasets.PUBLISHED)
def test_torchvision_opens_every_set_as_asked(name: str, tmp_path: Path) -> None:
    for options in torchvision_datasets.PUBLISHED[name].values():
        inspect.signature(getattr(datasets, name)).bind(tmp_path, download=True, **options)


def test_a_missing_folder_is_told_with_its_nearest_neighbour(tmp_path: Path) -> None:
    (tmp_path / "flowers").mkdir()
    with pytest.raises(InvalidInputError, match=r"No such folder: .*flower\. Did you mean .*flowers\?"):
        list_source(str(tmp_path / "flower"), download_dir=tmp_path)
