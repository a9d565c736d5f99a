"""Loads kept networks as a machine does that knows neither Frostline nor the user's folder. Run as a file.

Standard input has lines of JSON, [folder, loader]; each gets a line of JSON: why the network cannot be loaded, or an
empty text.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def main() -> None:
    """Answer all lines."""
    answers, sys.stdout = sys.stdout, sys.stderr
    # Blocked, as it may be installed here.
    sys.modules["frostline"] = None  # type: ignore[assignment]
    for line in sys.stdin:
        folder, loader = json.loads(line)
        print(json.dumps(_fault(Path(folder), loader)), file=answers, flush=True)


def _fault(folder: Path, loader: str) -> str:
    try:
        with _importable(folder / "code"):
            model: Any = importlib.import_module(loader).load_network(folder / "network", "cpu")
            (probabilities,) = model.predict([next(folder.glob("example.*")).read_bytes()])
    # The code is the user's.
    except Exception as error:
        return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}".rstrip(": ")
    return "" if math.isclose(sum(probabilities), 1, abs_tol=1e-3) else "its probabilities are no numbers"


@contextlib.contextmanager
def _importable(code: Path) -> Iterator[None]:
    """Import from a folder within the block, and forget its modules afterwards: another network brings its own."""
    sys.path.insert(0, str(code))
    try:
        yield
    finally:
        sys.path.remove(str(code))
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if file and Path(file).is_relative_to(code):
                del sys.modules[name]


if __name__ == "__main__":
    # Collections while torch is imported, and Python's cleanup of it, would be half of the time.
    gc.set_threshold(50_000)
    main()
    os._exit(0)
