#!/usr/bin/env bash
# timm's usual two lines prepare images at the size of the training, not of the evaluation that the scores are from.
#
# Version: timm 1.0.31, torchvision 0.29.2 (Python 3.11).
# Behavior: `create_transform(**resolve_data_config(pretrained_cfg=cfg))`, also with `model=`, takes `input_size` and
#   `crop_pct` of the training. The evaluation's are in `test_input_size` and `test_crop_pct`, which count only with
#   `use_test_size=True`. For `resnet50.tv2_in1k`, torchvision's own weights, that is 176 px where torchvision's transform
#   of the same weights gives 224. About one in six published tags differ.
# Output seen: resnet50.tv2_in1k 176 by default, 224 with use_test_size, 224 in torchvision; 307 of 1826 tags differ.
# Exits 0 while that is so, 1 when it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check timm==1.0.31 torchvision==0.29.2
cd "$folder"
cat > show.py <<'PYTHON'
import sys

import timm
from timm.data import resolve_data_config
from torchvision.models import ResNet50_Weights


def sides(tag):
    config = timm.get_pretrained_cfg(tag).to_dict()
    default = resolve_data_config(pretrained_cfg=config)
    evaluation = resolve_data_config(pretrained_cfg=config, use_test_size=True)
    return default["input_size"][1], evaluation["input_size"][1]


default, evaluation = sides("resnet50.tv2_in1k")
own = ResNet50_Weights.IMAGENET1K_V2.transforms().crop_size[0]
print(f"resnet50.tv2_in1k {default} by default, {evaluation} with use_test_size, {own} in torchvision")
tags = timm.list_pretrained()
differ = sum(len(set(sides(tag))) > 1 for tag in tags)
print(f"{differ} of {len(tags)} tags differ in size")
sys.exit(not (default == 176 and evaluation == own == 224 and differ > 200))
PYTHON
"$folder/venv/bin/python" show.py
