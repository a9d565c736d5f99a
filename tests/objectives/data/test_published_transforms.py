"""Images are prepared as the libraries themselves prepare them for evaluation, bit for bit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import timm
import timm.data
import torch
import torchvision
from PIL import Image
from torch import Tensor
from torchvision.models import get_model_weights, list_models

from frostline.objectives.augmentation import AugmentedViews
from frostline.objectives.backbones import preprocessing_for
from frostline.objectives.data.decoding import to_canvas
from frostline.objectives.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

# Landscape, portrait, odd sides, nearly a line, smaller than any network's input.
SHAPES = [(400, 300), (301, 443), (97, 640), (31, 23)]
LIBRARY: Any = timm


@cache
def photo(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def prepared(image: Image.Image, preprocessing: Preprocessing) -> Tensor:
    """Image (3, S, S) as the network sees it in validation and test."""
    canvas = torch.from_numpy(np.array(to_canvas(image, preprocessing))).permute(2, 0, 1)[None]
    return AugmentedViews("none", 1, preprocessing, 1, seed=0).apply(canvas, torch.tensor([0]), 0)[0]


def timms(name: str) -> tuple[dict[str, Any], Callable[[Image.Image], Tensor]]:
    """timm's evaluation of a model, as its ``validate.py`` makes it."""
    config = LIBRARY.data.resolve_data_config(
        pretrained_cfg=LIBRARY.get_pretrained_cfg(name).to_dict(), use_test_size=True
    )
    _, height, width = config["input_size"]
    # Frostline's images are squares: of the shorter side for the few networks of rectangles.
    config["input_size"] = (3, min(height, width), min(height, width))
    return config, LIBRARY.data.create_transform(**config)


def assert_prepared_as_timm_does(names: Iterable[str], shapes: Iterable[tuple[int, int]]) -> None:
    seen: set[Preprocessing] = set()
    for name in names:
        config, transform = timms(name)
        own = preprocessing_for(f"timm:{name}", "DEFAULT")
        assert (own.image_size, own.crop_mode) == (config["input_size"][1], config["crop_mode"]), name
        if own not in seen:
            assert all(torch.equal(prepared(photo(*shape), own), transform(photo(*shape))) for shape in shapes), name
        seen.add(own)


# Every way: center, below and above the size; squash with and without a crop; border.
SOME = [
    *("resnet50.tv2_in1k", "vit_tiny_patch16_224.augreg_in21k_ft_in1k", "tf_efficientnet_b0.ns_jft_in1k"),
    *("volo_d4_448.sail_in1k", "vit_base_patch16_siglip_224.webli", "eva02_large_patch14_clip_336.merged2b"),
    *("convnext_base.clip_laion2b_augreg_ft_in12k_in1k_384", "deepseek_vit_412m.deepseek_v4_flash_vision_exp"),
]


def test_some_of_each_kind_are_prepared_as_timm_does() -> None:
    # Older versions of timm lack some.
    known = [name for name in SOME if name in LIBRARY.list_pretrained()]
    assert len(known) >= 7
    assert_prepared_as_timm_does(known, SHAPES)


@pytest.mark.slow
def test_all_published_weights_of_timm_are_prepared_as_timm_does() -> None:
    names = LIBRARY.list_pretrained()
    assert len(names) > 1500
    assert_prepared_as_timm_does(names, SHAPES[:3])


def test_every_way_is_timms_for_every_rounding() -> None:
    for size, crop_pct in [(64, 1.0), (63, 0.9), (65, 0.875), (64, 1.15)]:
        config = {"input_size": (3, size, size), "crop_pct": crop_pct, "interpolation": "bicubic"}
        config |= {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
        for mode in ("center", "squash", "border"):
            own = Preprocessing(size, math.floor(size / crop_pct), "bicubic", config["mean"], config["std"], mode)
            transform = LIBRARY.data.create_transform(**config, crop_mode=mode)
            for shape in [*SHAPES, (64, 64), (65, 64), (66, 93), (200, 30)]:
                assert torch.equal(prepared(photo(*shape), own), transform(photo(*shape))), (size, mode, shape)


@pytest.mark.parametrize("shapes", [[(400, 300)], pytest.param(SHAPES, marks=pytest.mark.slow)], ids=["one", "all"])
def test_all_published_weights_of_torchvision_are_prepared_as_torchvision_does(shapes: list[tuple[int, int]]) -> None:
    seen: set[Preprocessing] = set()
    for name in list_models(module=torchvision.models):
        for weights in get_model_weights(name):
            own, transform = preprocessing_for(name, weights.name), weights.transforms()
            if own not in seen:
                same = [torch.equal(prepared(photo(*shape), own), transform(photo(*shape))) for shape in shapes]
                assert all(same), weights
            seen.add(own)
    assert len(seen) > 20


def test_the_same_file_is_prepared_at_the_same_size_under_both_names() -> None:
    sizes = [preprocessing_for("resnet50", "IMAGENET1K_V2"), preprocessing_for("timm:resnet50.tv2_in1k", "DEFAULT")]
    assert [own.image_size for own in sizes] == [224, 224]


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_the_way_is_part_of_the_images_and_features_keys(mode: str) -> None:
    center = Preprocessing(32, 36, "bilinear", (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    own = replace(center, crop_mode=mode)
    keys = [repr((each.geometry, AugmentedViews("none", 1, each, 1, 0).key)) for each in (center, own)]
    assert (keys[0] == keys[1]) is (mode == "center")
    # The color of the borders is in the pixels; the mean of the others is subtracted later.
    assert (replace(own, mean=(0.1, 0.1, 0.1)).geometry == own.geometry) is (mode != "border")
    assert center.geometry == [32, 36, "bilinear"], "caches of earlier versions are found"


def test_an_unknown_way_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="crop_mode must be one of center, squash, border, not 'pad'"):
        Preprocessing(32, 36, "bilinear", IMAGENET_MEAN, IMAGENET_STD, "pad")


@pytest.mark.parametrize(
    ("mode", "resize", "said"),
    [
        ("center", 256, "resized to 256 px on the shorter side, then cropped to 224 x 224 px."),
        ("squash", 224, "squashed to 224 x 224 px."),
        ("squash", 240, "squashed to 240 x 240 px, then cropped to 224 x 224 px."),
        ("border", 224, "resized to 224 px on the longer side, with borders of the mean color."),
    ],
)
def test_a_sentence_says_what_happens_to_an_image(mode: str, resize: int, said: str) -> None:
    assert Preprocessing(224, resize, "bicubic", IMAGENET_MEAN, IMAGENET_STD, mode).sentence == f"Each image is {said}"
