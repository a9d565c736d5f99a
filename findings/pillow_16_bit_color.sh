#!/usr/bin/env bash
# Pillow opens color images of 16 bits a channel as 8 bits, by their high byte, without a word.
#
# Version: Pillow 13.0.0, OpenCV 4 as the reference (Python 3.11).
# Behavior: a PNG with 16 bits a channel in RGB opens in mode "RGB", and its values are the high bytes. Cameras that
#   write 10 or 12 bits into such files lose all but 2 or 4 of them: a range of 0 to 4095 becomes 0 to 15. Gray images of
#   16 bits keep their values (mode "I;16"). `getmodebands`, `info` and warnings say nothing of the loss.
# Output seen: "mode RGB, highest value 15" for a file whose highest value is 4095.
# Exits 0 while that is so, 1 when it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pillow==13.0.0 opencv-python-headless numpy
cd "$folder"
cat > show.py <<'PYTHON'
import sys
import warnings

import cv2
import numpy as np
from PIL import Image

warnings.simplefilter("error")
values = np.linspace(0, 4095, 64 * 64 * 3).astype(np.uint16).reshape(64, 64, 3)
cv2.imwrite("color.png", values)
cv2.imwrite("gray.png", values[..., 0])
reference = cv2.imread("color.png", cv2.IMREAD_UNCHANGED)
assert reference.dtype == np.uint16 and (reference == values).all(), "the file holds all 12 bits"
with Image.open("color.png") as image:
    color = np.asarray(image)
    print(f"mode {image.mode}, highest value {color.max()} of {values.max()}")
    lost = image.mode == "RGB" and (color == values[..., ::-1] >> 8).all()
with Image.open("gray.png") as image:
    gray = np.asarray(image)
    print(f"gray: mode {image.mode}, highest value {gray.max()}")
    kept = (gray == values[..., 0]).all()
sys.exit(not (lost and kept))
PYTHON
"$folder/venv/bin/python" show.py
