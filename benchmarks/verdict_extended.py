"""How often a race that ends undecided, and goes on when its seeds are raised, claims what is not so: simulated finals.

    python benchmarks/verdict_extended.py --keep    # 15 minutes on one core

The finals and the race are those of `verdict_calibration.py`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks is no installed package

from benchmarks import harness
from benchmarks.simulated_finals import Cell, Finals
from benchmarks.verdict_calibration import decide_race
from frostline.search.analysis import RaceRules

# Races that end with half of their seeds, and go on to all of them.
GRID = (
    *(Cell(5, 16, 200, (spread,)) for spread in (2.0, 5.0)),
    *(Cell(2, 2 * seeds, 200, (5.0,)) for seeds in (4, 8)),
)


def extend(cell: Cell, simulations: int) -> tuple[float, float, float]:
    """Return shares: of false claims when races end with half of the seeds, or at either end; of the undecided."""
    equal = Finals(cell, 0.0, np.random.default_rng(0))
    first_claims = claims = undecided = 0
    for number in range(simulations):
        finals = equal.draw()
        first = decide_race(finals, cell, RaceRules(cell.seeds // 2), number)
        goes_on = len(first.behind) < cell.strategies - 1
        last = (
            decide_race(finals, cell, RaceRules(cell.seeds, earlier=(cell.seeds // 2,)), number) if goes_on else first
        )
        first_claims += bool(first.behind)
        claims += bool(first.behind | last.behind)
        undecided += goes_on
    return first_claims / simulations, claims / simulations, undecided / simulations


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--simulations", type=int, default=400, help="of each cell")
    options.set_defaults(data="simulated", backbone="none", weights="none", image_size=1)
    arguments: argparse.Namespace = options.parse_args()
    chosen = harness.Setting(**{name: getattr(arguments, name) for name in harness.Setting.__dataclass_fields__})
    report = harness.Report("verdict_extended", "What races claim whose seeds are raised.", chosen)
    table = report.table(
        f"Undecided races, extended to twice the seeds: {arguments.simulations} simulations of equal strategies, %",
        *("strategies", "seeds", "extended to", "sd of seeds, points"),
        *("false claims before", "false claims before or after", "undecided"),
    )
    for cell in GRID:
        shares = extend(cell, arguments.simulations)
        table.add(
            cell.strategies, cell.seeds // 2, cell.seeds, cell.spreads[0], *(f"{100 * each:.1f}" for each in shares)
        )
        print(table.rows[-1], flush=True)
    harness.finish(report, arguments)


if __name__ == "__main__":
    main()
