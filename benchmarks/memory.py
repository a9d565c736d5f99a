"""Memory of a search and of all its processes, beside an older commit, in one sitting.

    python benchmarks/memory.py OLDER --keep             # OLDER: a checkout with its own .venv; 15 minutes

Both sides search the same space on the same photos (flowers and garments_small, in one folder), alternately, each with
a fresh workspace: head-only trials, trials cut at several depths whose features are kept, full fine-tuning, finals.
Sizes are sampled every 0.2 s; peaks of each process, and of the sum.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks is no installed package

from benchmarks import harness
from benchmarks.photo_folders import link_photos
from benchmarks.process_tree import MIB, OTHERS, SEARCH, SENDER, Watched, watch

HERE = Path(__file__).parents[1]
PHOTOS = 1449
SEARCH_SHARE, TOGETHER_SHARE = 0.5, 0.6
# Read by both sides. Cuts at several depths: their features differ in size and take turns in the cache.
SPACE = """
[shared]
epochs = 2
batch_size = 32
augmentation = "flip_crop"
[feature_extraction]
learning_rate = { low = 0.0003, high = 0.1, log = true, default = 0.003 }
views = 4
[partial]
learning_rate = { low = 0.0002, high = 0.02, log = true, default = 0.001 }
freeze_depth = { low = 3, high = -1, default = -6 }
views = 4
[full]
learning_rate = 0.001
epochs = 1
"""


def run(checkout: Path, data: Path, setting: harness.Setting, trials: int, folder: Path) -> Watched:
    """Search once in a fresh workspace of a folder."""
    space = folder / "space.toml"
    space.write_text(SPACE, encoding="utf-8")
    backbone = ("--backbone", setting.backbone, "--weights", setting.weights, "--image-size", str(setting.image_size))
    wanted = ("--trials", str(trials), "--seeds", "2", "--space", space, "--name", "memory", "--device", setting.device)
    words = ("search", data, *backbone, *wanted, "--workspace", folder / "workspace")
    return watch(checkout, words, folder / "mark")


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("older", type=Path, help="a checkout with its own .venv")
    options.add_argument("--trials", type=int, default=12)
    options.add_argument("--photos", type=int, default=PHOTOS)
    options.set_defaults(pairs=2)
    arguments: argparse.Namespace = options.parse_args()
    chosen = harness.setting(arguments)
    sides = {"older": arguments.older.resolve(), "here": HERE}
    found: dict[str, list[Watched]] = {side: [] for side in sides}
    with harness.scratch_folder() as folder:
        data = link_photos(harness.SHARED / "data", folder / "photos", 60 if chosen.quick else arguments.photos)
        for _ in range(arguments.pairs):
            for side, checkout in sides.items():
                with harness.scratch_folder() as own:
                    trials = 3 if chosen.quick else arguments.trials
                    found[side].append(run(checkout, data, chosen, trials, own))
                    print(side, found[side][-1], flush=True)
    report = harness.Report(
        "memory", "Peak memory of a search and of all its processes, beside an older commit.", chosen
    )
    add_peaks(report, found)
    harness.finish(report, arguments)


def add_peaks(report: harness.Report, found: dict[str, list[Watched]]) -> None:
    """Tables of peaks and of the two targets."""
    table = report.table("Peaks, MiB", "of", "as", *found, "here / older", "target", "met", "n")

    def add(name: str, kind: str | None, measure: str, bound: float | None) -> None:
        values = {
            side: [getattr(run.peaks[kind] if kind else run.together, measure) / MIB for run in runs]
            for side, runs in found.items()
            if all(kind is None or kind in run.peaks for run in runs)
        }
        if len(values) < len(found):
            return
        ratios = [ours / theirs for ours, theirs in zip(values["here"], values["older"], strict=True)]
        target = harness.at_most(bound) if bound else None
        cells = (harness.spread(values[side], 4) for side in found)
        table.add(
            name,
            measure,
            *cells,
            harness.spread(ratios),
            target or "",
            target.judge(ratios) if target else "",
            len(ratios),
        )

    for name, kind, bound in (
        ("the search process", SEARCH, SEARCH_SHARE),
        ("the sender to MLflow", SENDER, None),
        ("other processes", OTHERS, None),
        ("all together", None, TOGETHER_SHARE),
    ):
        for measure in ("pss", "anonymous", "resident"):
            add(name, kind, measure, bound if measure == "pss" else None)
    times = report.table("Seconds", "of", *found)
    times.add("user and system time", *(harness.spread([run.processor for run in runs]) for runs in found.values()))
    times.add("wall time", *(harness.spread([run.wall for run in runs]) for runs in found.values()))
    report.notes += [
        "pss: resident memory, where what processes share is divided by their number. anonymous: its part that no file "
        "holds. resident: RSS.",
        "Mapped files (decoded images, features) count while they are in use; the system takes them back when it needs "
        "memory.",
    ]


if __name__ == "__main__":
    main()
