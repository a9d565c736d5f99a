"""Whether a study goes on with what it began with: data, weights, space, code and libraries.

Trials that were trained by different code are not compared fairly, and one that was cut off would not end with the
numbers that it would have had. What is new goes on as another study, a fork.
"""

from __future__ import annotations

import ast
import hashlib
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path

from ... import objectives
from ...objectives.data.dataset import ImageDataset
from ...objectives.errors import InvalidInputError
from ...objectives.networks.backbone_pool import BackbonePool
from .results import StudyFacts
from .settings import StudySettings

# What computes the numbers of a training.
_LIBRARIES = ("frostline", "torch", "torchvision")
_DIGITS = 12


def training_package() -> Path:
    """Folder of the package that trains."""
    return Path(objectives.__file__).parent


def training_sources() -> list[Path]:
    """The files of the package that trains, those of its sub-packages included."""
    return sorted(training_package().rglob("*.py"))


@cache
def sources_digest() -> str:
    """Digest of the package that trains, as it was when this process first asked.

    Names and code count, docstrings, comments and blank lines do not: they change no number.
    """
    digest = hashlib.sha256()
    for source in training_sources():
        name = source.relative_to(training_package()).as_posix()
        digest.update(f"{name}\n{code_of(source.read_text(encoding='utf-8'))}\n".encode())
    return digest.hexdigest()[:_DIGITS]


def code_of(source: str) -> str:
    """A module's code without its docstrings, comments and blank lines: the same text in every version of Python."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for docstring in _docstrings(ast.parse(source)):
        for row in range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1):
            lines[row - 1] = ""
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _docstrings(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements that are nothing but a docstring, each on lines of its own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            match node.body:
                case [ast.Expr(value=ast.Constant(value=str())) as first, *_]:
                    if isinstance(node, ast.Module) or first.lineno > node.lineno:
                        yield first


def fingerprints(settings: StudySettings) -> dict[str, str]:
    """Space, code and libraries of a study as they are here, by what they are.

    Libraries go by their public versions: machines with and without a GPU may share a study. The user's own modules
    (plugins, a backbone's factory) are included as far as they are imported by now.
    """
    kind, _, factory = settings.backbone.partition(":")
    libraries = [*_LIBRARIES, *(["timm"] if kind == "timm" else [])]
    own = [*settings.plugins, *([kind] if factory and kind != "timm" else [])]
    return {
        "space": _digest(settings.space.model_dump_json().encode()),
        **{name: version(name).partition("+")[0] for name in libraries},
        "training code": sources_digest(),
        **_modules(own),
    }


def refuse_drift(
    settings: StudySettings,
    facts: StudyFacts,
    dataset: ImageDataset,
    backbones: BackbonePool,
    *,
    trains: bool,
    option: str,
) -> None:
    """See that a study goes on with what it began with.

    Args:
        settings: Of the study.
        facts: What was known of it when it began.
        dataset: Its data as they are here.
        backbones: Its networks as they are here.
        trains: Whether anything is left to train: code and libraries matter only then.
        option: What a command needs to find the workspace.

    Raises:
        InvalidInputError: Something differs; all of it is named, with both ways to go on.
    """
    began = {"data": facts.fingerprint, "weights": facts.weights, **(facts.code if trains else {})}
    here = {"data": dataset.fingerprint, "weights": backbones.fingerprint, **fingerprints(settings)}
    if differences := list(_differences(began, here)):
        raise InvalidInputError(
            [
                f"Study {settings.name!r} would not go on with what it began with:",
                *differences,
                "Put it back; or begin a study of the same settings with what is here now: "
                f"frostline resume {settings.name} --fork ANOTHER{option}",
            ]
        )


def _differences(began: Mapping[str, str], here: Mapping[str, str]) -> Iterable[str]:
    """What differs, a line each; of what was not kept when the study began, nothing is known."""
    for name, then in began.items():
        now = here.get(name, then)
        if then and now != then:
            # Hashes are told by their beginning.
            shown = [value[:_DIGITS] if re.fullmatch("[0-9a-f]{20,}", value) else value for value in (then, now)]
            yield f"  {name}: {shown[0]} then, {shown[1]} now"


def _modules(names: Iterable[str]) -> dict[str, str]:
    """Digests of modules of the user's that are imported."""
    files = {name: getattr(sys.modules.get(name), "__file__", None) for name in names}
    return {f"module {name}": _digest(Path(file).read_bytes()) for name, file in files.items() if file}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]
