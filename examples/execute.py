"""Executes the notebooks of this folder and keeps their outputs: `make notebooks`."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent


def execute(file: Path, folder: Path) -> nbformat.NotebookNode:
    """Return a notebook with its outputs.

    Args:
        file: Notebook.
        folder: Folder in which its cells run.
    """
    notebook = nbformat.read(file, as_version=4)
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    for cell in notebook.cells:
        # Times of this run are no part of the example, nor what libraries say about this machine.
        cell.metadata.pop("execution", None)
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def main() -> None:
    """Execute every notebook in an empty folder, and write it with its outputs."""
    for file in sorted(FOLDER.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            notebook = execute(file, Path(folder))
        nbformat.write(notebook, file)
        print(f"{file.name}: {len(notebook.cells)} cells")


if __name__ == "__main__":
    main()
