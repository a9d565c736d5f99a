"""Fingerprints of data, weights, space, code and libraries, which must not change while a study runs.

The comparison of trials trained by different code is unfair, and an interrupted trial would end with other numbers.
Changed data or code need another study, a fork.
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
from ...objectives.data import ImageDataset
from ...objectives.errors import InvalidInputError
from ...objectives.networks import BackbonePool
from .facts import StudyFacts
from .settings import StudySettings
from .user_objects import user_modules

# The libraries that compute a training's numbers.
_LIBRARIES = ("frostline", "torch", "torchvision")
_DIGITS = 12


def training_package() -> Path:
    """Return the folder of the training package."""
    return Path(objectives.__file__).parent


def training_sources() -> list[Path]:
    """Return the source files of the training package and its sub-packages."""
    return sorted(training_package().rglob("*.py"))


@cache
def sources_digest() -> str:
    """Return the digest of the training package as it was at the first call in this process.

    The digest covers file names and code, but no docstrings, comments and blank lines, which change no number.
    """
    digest = hashlib.sha256()
    for source in training_sources():
        name = source.relative_to(training_package()).as_posix()
        digest.update(f"{name}\n{code_of(source.read_text(encoding='utf-8'))}\n".encode())
    return digest.hexdigest()[:_DIGITS]


def code_of(source: str) -> str:
    """Return a module's code without docstrings, comments and blank lines, the same in every version of Python.

    Examples:
        >>> from frostline.search.study.fingerprints import code_of
        >>> code_of("x = 1  # A comment.")
        'x = 1'
    """
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
    """Yield the docstrings of a module, except those on the line of their ``def`` or ``class``."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        # No expression has a docstring below it.
        pending += (below for below in ast.iter_child_nodes(node) if not isinstance(below, ast.expr))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            match node.body:
                case [ast.Expr(value=ast.Constant(value=str())) as first, *_]:
                    if isinstance(node, ast.Module) or first.lineno > node.lineno:
                        yield first


def code_fingerprints(settings: StudySettings) -> dict[str, str]:
    """Return the fingerprints of a study's space, code and libraries on this machine, by name.

    Libraries have their public versions: machines with and without a GPU may share a study. The user's modules
    (plugins, a backbone's factory, a metric, a sampler) are included if they are imported already.
    """
    kind, _, factory = settings.backbone.partition(":")
    libraries = [*_LIBRARIES, *(["timm"] if kind == "timm" else [])]
    own = [*settings.plugins, *([kind] if factory and kind != "timm" else []), *user_modules(settings)]
    return {
        "space": _digest(settings.space.model_dump_json().encode()),
        **{name: version(name).partition("+")[0] for name in libraries},
        "training code": sources_digest(),
        **_modules(own),
    }


def require_unchanged(
    settings: StudySettings,
    facts: StudyFacts,
    dataset: ImageDataset,
    backbones: BackbonePool,
    *,
    trains: bool,
    option: str,
) -> None:
    """Refuse to resume a study whose data, weights, space, code or libraries changed.

    Args:
        settings: Settings of the study.
        facts: Facts recorded when the study started.
        dataset: Dataset on this machine.
        backbones: Backbones on this machine.
        trains: Whether trials or finals are left: code and libraries matter only then.
        option: Options with which a command finds the workspace.

    Raises:
        InvalidInputError: Something changed; the message names all changes and both ways to continue.
    """
    began = {"data": facts.fingerprint, "weights": facts.weights, **(facts.code if trains else {})}
    here = {"data": dataset.fingerprint, "weights": backbones.fingerprint, **code_fingerprints(settings)}
    # The same images may be divided otherwise by other versions of libraries.
    if facts.fingerprint == dataset.fingerprint:
        began, here = began | {"splits": facts.splits}, here | {"splits": dataset.split_fingerprint}
    if differences := list(_differences(began, here)):
        raise InvalidInputError(
            [
                f"Study {settings.name!r} cannot resume; these changed since it started:",
                *differences,
                "Restore them, or start a study with the same settings and what is here now: "
                f"frostline resume {settings.name} --fork ANOTHER{option}",
            ]
        )


def _differences(began: Mapping[str, str], here: Mapping[str, str]) -> Iterable[str]:
    """Yield one line per change; what older studies did not record is not compared."""
    for name, then in began.items():
        now = here.get(name, then)
        if then and now != then:
            # Hashes are shortened.
            shown = [value[:_DIGITS] if re.fullmatch("[0-9a-f]{20,}", value) else value for value in (then, now)]
            yield f"  {name}: {shown[0]} then, {shown[1]} now"


def _modules(names: Iterable[str]) -> dict[str, str]:
    """Return the digests of those of the user's modules that are imported."""
    files = {name: getattr(sys.modules.get(name), "__file__", None) for name in names}
    return {f"module {name}": _digest(Path(file).read_bytes()) for name, file in files.items() if file}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]
