"""What the documents tell users to type: every command is one of the command line's, and Python is as written."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from frostline import search
from frostline.dashboards.cli import TerminalViews, app
from frostline.search.space.space_file import read_space
from frostline.search.study import Request
from frostline.search.study.study_file import read_study

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "examples/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
GROUP = typer.main.get_group(app)
PROMPT = re.compile(r"^\w*\$ (.*)")
# Commands that read no study and train nothing, run as they are written.
CHEAP = {"frostline space", "frostline --version"}
# What the command line raises for a command that it does not have: the base of its error for a wrong value.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def consoles(page: Path) -> list[str]:
    """What follows a prompt in a page's consoles, lines that continue joined."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [found[1] for line in lines if (found := PROMPT.match(line))]


def inline(page: Path) -> list[str]:
    """Commands in running text and tables."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [" ".join(each.split()) for each in re.findall(r"`(frostline [^`]+)`", text)]


def parts(line: str) -> Iterator[list[str]]:
    """The simple commands of a line of shell, without redirections and variables."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, "#"
    words: list[str] = []
    skip = False
    for word in lexer:
        if set(word) <= set("|&;()"):
            yield words
            words = []
        elif set(word) <= set("<>"):
            skip = True
        elif skip:
            skip = False
        elif words or not re.match(r"[A-Z_]+=", word):
            words.append(word)
    yield words


def commands(page: Path) -> list[list[str]]:
    """Every command of Frostline's that a page shows."""
    lines = [*consoles(page), *inline(page)]
    return [words for line in lines for words in parts(line) if words[:1] == ["frostline"]]


def check(words: list[str]) -> None:
    """Parse a command as the command line does; nothing runs."""
    name, *given = words[1:] or ["--help"]
    if name.startswith("-"):
        assert name in ("--version", "--help", "--install-completion"), words
        return
    command = GROUP.commands[name]
    # Options in brackets are optional ones, STUDY and the like stand for names.
    given = [word.strip("[]") for word in given if word != "--help"]
    if not [word for word in given if not word.startswith("-")]:
        # A command that is only named.
        given = [
            *given,
            *(["X"] * sum(each.required and each.param_type_name == "argument" for each in command.params)),
        ]
    required = [each.opts[0] for each in command.params if each.required and each.param_type_name == "option"]
    given += [word for option in required if option not in given for word in (option, "X")]
    values = {"N": "1", "STUDY": "study"}
    with command.make_context(name, [values.get(word, word) for word in given], obj=TerminalViews()):
        pass


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_one_of_the_command_lines(page: Path) -> None:
    wrong = []
    for words in commands(page):
        try:
            check(words)
        except (UsageError, KeyError) as error:
            wrong.append(f"{' '.join(words)}: {error!r} {getattr(error, 'message', '')}")
    assert not wrong


@pytest.mark.parametrize("line", ["serch photos", "search photos --trails 3", "status a b", "search photos --trials x"])
def test_wrong_commands_are_found(line: str) -> None:
    with pytest.raises((UsageError, KeyError)):
        check(["frostline", *line.split()])


def test_the_pages_show_every_command() -> None:
    shown = {words[1] for page in PAGES for words in commands(page) if len(words) > 1}
    assert set(GROUP.commands) <= shown


def test_cheap_commands_run_as_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = {" ".join(words) for page in PAGES for words in commands(page)}
    cheap = sorted(lines & CHEAP)
    assert cheap == sorted(CHEAP)
    for line in cheap:
        ended = CliRunner().invoke(app, line.split()[1:], obj=TerminalViews())
        assert ended.exit_code == 0, ended.output
        if line == "frostline space":
            # As a user would go on: the file is a space.
            (tmp_path / "space.toml").write_text(ended.stdout)
            assert read_space(tmp_path / "space.toml").strategies


def test_make_has_the_targets_that_are_named() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        word
        for page in PAGES
        for line in consoles(page)
        for words in parts(line)
        if words[:1] == ["make"]
        for word in words[1:2]
    }
    workflow = yaml.safe_load((ROOT / ".github/workflows/checks.yml").read_text())
    steps = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert all(step.startswith("make ") for step in steps)
    assert {"demo", "test", "docs", "dist"} <= named | {word for step in steps for word in step.split()[1:]} <= targets
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]


def python_blocks() -> list[tuple[str, str]]:
    every = [
        (page.name, code) for page in PAGES for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    ]
    assert len(every) >= 3
    return every


@pytest.mark.parametrize(("page", "code"), python_blocks(), ids=lambda value: value if value.endswith(".md") else "")
def test_python_uses_what_there_is(page: str, code: str) -> None:
    """Names are imported from where they are, keywords are settings, and a study has the attributes."""
    known = {*inspect.signature(search.run_search).parameters, *(field.name for field in fields(Request))}
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("frostline"):
            module = __import__(str(node.module), fromlist=["_"])
            assert all(hasattr(module, alias.name) for alias in node.names), page
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "run_search":
            assert {str(keyword.arg) for keyword in node.keywords} <= known, page
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "study":
            assert hasattr(search.Study, node.attr), (page, node.attr)


def test_study_files_are_valid(tmp_path: Path) -> None:
    blocks = [
        block
        for page in PAGES
        for block in re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    ]
    assert blocks
    for block in blocks:
        (tmp_path / "study.toml").write_text(block)
        study = read_study(tmp_path / "study.toml")
        assert not study.faults
        assert study.space()


def test_the_navigation_has_every_page() -> None:
    # The rest of the file needs MkDocs' own tags.
    nav = re.findall(r"^ +- .*: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(nav) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_references_and_pictures_come_from_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs" / "site")
    for module in ("hooks", "reference", "pictures"):
        sys.modules.pop(module, None)
    import hooks  # pyright: ignore[reportMissingImports]

    page = hooks.make_part("commands", None)
    assert all(f"## frostline {name}\n" in page for name in GROUP.commands)
    described = hooks.make_part("settings", None)
    assert all(f"| `{field.name}` |" in described for field in fields(Request) if field.name != "file")
    assert "| `head.pooling` |" in described
    assert hooks.make_part("picture", "partial").count(">frozen<") == 4
    assert hooks.make_part("picture", "lp_ft").count(">frozen<") == 6
    with pytest.raises(ValueError, match="no part 'picture' of 'fulll'"):
        hooks.make_part("picture", "fulll")
    assert (
        hooks.on_page_markdown("see [the tree](../CONTRIBUTING.md) and [json](json.md)")
        == "see the tree and [json](json.md)"
    )
    text = (ROOT / "docs" / "strategies.md").read_text()
    assert (
        re.findall(r"picture (\w+) -->", text)
        == re.findall(r"^## (\w+)$\n(?!\n.*plan of about)", text, re.MULTILINE)[:13]
    )


@pytest.mark.slow
def test_the_pages_build_without_a_warning(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "site" / "strategies" / "index.html").read_text()
    assert page.count('<svg class="strategy"') == 13
    # Nothing is fetched from elsewhere.
    assert not re.search(r'(?:src|href)="https?://(?!squidfunk)', (tmp_path / "site" / "index.html").read_text())
