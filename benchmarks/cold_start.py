"""Seconds from the command to the end of the first epoch, beside an older commit, in one sitting.

    python benchmarks/cold_start.py OLDER --keep         # OLDER: a checkout with its own .venv; 20 minutes

`frostline search` of feature extraction on real photos (flowers and garments_small, in one folder) and on made-up
JPEGs of 500 x 375 pixels, each time with a fresh workspace, the sides alternately. It is interrupted when the first
trial has reported its first epoch. Files are in the system's cache. Wall time, and user and system time of the search
process, which other programs on the machine change less.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks is no installed package

from benchmarks import harness
from benchmarks.photo_folders import link_photos, write_jpegs
from benchmarks.process_tree import watch

HERE = Path(__file__).parents[1]
PHOTOS, JPEGS = 1449, 20_000
SHARE = 0.5


def first_epoch(checkout: Path, data: Path, setting: harness.Setting, more: tuple[str, ...]) -> tuple[float, float]:
    """Wall time until the first epoch has ended, and user and system time of the search process until then, seconds."""
    backbone = ("--backbone", setting.backbone, "--weights", setting.weights, "--image-size", str(setting.image_size))
    wanted = ("--strategy", "feature_extraction", "--trials", "1", "--name", "cold", "--device", setting.device, *more)
    with harness.scratch_folder() as folder:
        words = ("search", data, *backbone, *wanted, "--workspace", folder / "workspace")
        watched = watch(checkout, words, folder / "mark", stop_at_first_epoch=True)
    if watched.first_epoch is None or watched.first_processor is None:
        raise SystemExit("The command ended before its first epoch.")
    return watched.first_epoch, watched.first_processor


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("older", type=Path, help="a checkout with its own .venv")
    options.add_argument("--photos", type=int, default=PHOTOS)
    options.add_argument("--jpegs", type=int, default=JPEGS, help="0 leaves them out (%(default)s)")
    options.add_argument("--no-audit", action="store_true", help="without the search for faults, which OLDER has not")
    arguments: argparse.Namespace = options.parse_args()
    chosen, older = harness.setting(arguments), arguments.older.resolve()
    claim = "Seconds from the command to the end of the first epoch, beside an older commit."
    report = harness.Report("cold_start", claim, chosen)
    table = report.table("To the first epoch", "images", "as", "older", "here", "here / older", "target", "met", "n")
    target = harness.at_most(SHARE)
    with harness.scratch_folder() as folder:
        sets = {
            "photos": (arguments.photos, lambda count: link_photos(harness.SHARED / "data", folder / "photos", count))
        }
        if arguments.jpegs:
            sets["JPEGs"] = (arguments.jpegs, lambda count: write_jpegs(folder / "jpegs", count))
        for name, (wanted, make) in sets.items():
            count = 60 if chosen.quick else wanted
            data = make(count)
            sides: list[list[tuple[float, float]]] = [[], []]
            for _ in range(arguments.pairs):
                for side, checkout in zip(sides, (older, HERE), strict=True):
                    more = ("--no-audit",) if arguments.no_audit and checkout == HERE else ()
                    side.append(first_epoch(checkout, data, chosen, more))
                    print(name, checkout.name, side[-1], flush=True)
            for place, measure in enumerate(("wall time, s", "user and system time, s")):
                theirs, ours = ([each[place] for each in side] for side in sides)
                ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
                judged = (target, target.judge(ratios)) if place == 0 else ("", "")
                cells = map(harness.spread, (theirs, ours, ratios))
                table.add(f"{count:,} {name}", measure, *cells, *judged, len(ratios))
    report.notes.append("Here the search looks for faults of the data before its first trial, which OLDER does not.")
    harness.finish(report, arguments)


if __name__ == "__main__":
    main()
