"""The package list equals the tree, names go through the package, and the documents hold."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import typer

from frostline.dashboards.cli import app

ROOT = Path(__file__).parents[1]
FOLDERS = ("search", "objectives", "storage", "dashboards")
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
FACES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("__init__.pyi"))]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = typer.main.get_group(app).commands


def test_the_packages_listed_are_those_of_the_tree():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {"frostline." + ".".join(path.parent.relative_to(ROOT).parts) for path in SOURCES}
    assert set(listed) == found
    assert all((ROOT / folder / "py.typed").exists() for folder in FOLDERS)


@pytest.mark.parametrize("path", [*SOURCES, *sorted((ROOT / "tests").rglob("*.py"))], ids=lambda path: path.name)
def test_no_module_is_imported_by_its_bare_folder(path: Path):
    """`import search.space` works at the repository root and would load a second copy of the module."""
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            imported.add(node.module.split(".")[0])
    assert not imported & set(FOLDERS)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_a_sub_package_is_imported_through_its_face(path: Path):
    """A module that only its own sub-package imports can move without a change elsewhere."""
    package = path.parent.relative_to(ROOT).parts
    deep = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            target = (*package[: len(package) - node.level + 1], *(node.module or "").split("."))
            if len(target) > 2 and target[:2] != package[:2]:
                deep.add(".".join(target))
    assert not deep


@pytest.mark.parametrize("stub", FACES, ids=lambda path: path.parent.name)
def test_every_name_of_a_face_is_there(stub: Path):
    package = importlib.import_module("frostline." + ".".join(stub.parent.relative_to(ROOT).parts))
    assert package.__all__
    missing = [name for name in package.__all__ if isinstance(getattr(package, name, None), ModuleType | None)]
    assert not missing


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_documents_name_exist(path: Path):
    text = path.read_text(encoding="utf-8")
    links = [path.parent / name for name in re.findall(r"\]\((?!https?:|#)([^)#]+)", text)]
    named = [ROOT / name for name in re.findall(rf"`((?:{'|'.join(FOLDERS)}|tests)/[\w./-]+)(?:::\w+)?`", text)]
    assert not [name for name in [*links, *named] if not name.exists()]


def test_functions_and_classes_that_the_architecture_names_exist():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", text)
    assert len(named) > 20
    assert not [(file, name) for file, name in named if name not in _definitions(ROOT / file)]


def _definitions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_annotated_tree_names_every_sub_package_and_file_on_the_ground(folder: str):
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = re.search(r"```text\n(objectives/.*?)```", text, re.DOTALL)
    assert tree
    assert tree[1].count("\n") <= 40
    below = re.search(rf"^{folder}/.*\n((?:  .*\n)*)", tree[1], re.MULTILINE)
    assert below
    named = " ".join(re.split(r"\s{2,}", line.strip())[0] for line in below[1].splitlines()).split()
    packages = {f"{path.parent.name}/" for path in (ROOT / folder).glob("*/__init__.py")}
    modules = {path.name for path in (ROOT / folder).glob("*.py")} - {"__init__.py"}
    assert sorted(named) == sorted(packages | modules)


def test_every_command_is_documented():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [name for name in COMMANDS if f"`frostline {name}" not in text]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_help(name: str):
    command = COMMANDS[name]
    assert command.help
    assert not [parameter.name for parameter in command.params if not getattr(parameter, "help", None)]


def test_the_installed_command_has_these_commands():
    frostline = Path(sys.executable).with_name("frostline")
    shown = subprocess.run([frostline, "--help"], capture_output=True, text=True, check=True, timeout=60).stdout
    assert not [name for name in COMMANDS if not re.search(rf"[│ ] {name}\b", shown)]
