"""What `frostline ui` serves, as people see it: a study's trials, their curves and the report, in a browser."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from frostline.dashboards.cli import TerminalViews, app
from frostline.dashboards.servers.ports import is_taken
from frostline.search.analysis import Verdict
from frostline.search.study.study import Study
from frostline.storage.workspace import Workspace

from ...servers import find_free_port

pytestmark = pytest.mark.slow

STUDY, EPOCHS = "tiny", 3
SPACE = f"""
[shared]
epochs = {EPOCHS}
batch_size = 16

[feature_extraction]
learning_rate = {{ low = 1e-3, high = 1e-2, log = true }}

[partial]
freeze_depth = {{ low = 2, high = 5 }}
"""
_FRONT = ["from frostline.dashboards.cli import main", "main()"]


# Key and value of the view that a browser keeps for an experiment.
_OWN_VIEW = "Object.entries(localStorage).find(([key]) => key.includes('ExperimentPage'))"


@dataclass(frozen=True)
class Served:
    """A study and its UI.

    Attributes:
        study: Finished.
        pages: By the name of their server, as the command told them.
        pid: Of the command.
    """

    study: Study
    pages: dict[str, str]
    pid: int

    @property
    def verdict(self) -> Verdict:
        verdict = self.study.results().verdict
        assert verdict is not None
        return verdict

    @property
    def decision(self) -> str:
        """Its first sentence, without the full stop."""
        return self.verdict.sentence().partition(". ")[0]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, mlflow_records: None) -> Study:
    """Finished, with its report logged to MLflow as after every search."""
    root = tmp_path_factory.mktemp("studies")
    (root / "space.toml").write_text(SPACE)
    command = [
        *("search", "sklearn:digits[0-2]@60", "--backbone", "tiny_network:create", "--weights", "none"),
        *("--image-size", "32", "--space", str(root / "space.toml"), "--trials", "3", "--seeds", "2", "--name", STUDY),
        *("--device", "cpu", "--workspace", str(root / "workspace")),
    ]
    ended = CliRunner().invoke(app, command, obj=TerminalViews())
    assert ended.exit_code == 0, ended.output
    return Study.load(STUDY, Workspace(root / "workspace"))


@pytest.fixture(scope="module")
def served(study: Study) -> Iterator[Served]:
    """The command as it is typed, with the Optuna dashboard where that is installed; it ends with all that it began."""
    ports = find_free_port(), find_free_port()
    options = ["--no-browser", "--port", str(ports[0]), "--workspace", str(study.workspace.root)]
    options += ["--optuna-port", str(ports[1])] if find_spec("optuna_dashboard") else []
    command = [sys.executable, "-c", "; ".join(_FRONT), "ui", STUDY, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        said: list[str] = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("Ctrl-C"):
                break
        pages = dict(re.findall(r"(\w+) UI: (\S+)", "".join(said)))
        assert "MLflow" in pages, said
        yield Served(study, pages, process.pid)
        process.terminate()
        assert process.wait(30) == 0
    assert not any(is_taken("127.0.0.1", port) for port in ports)


class Visit:
    """A visit of a page by someone who was never there, with what the browser asked for and complained of."""

    def __init__(self, context: Any, url: str) -> None:
        self.page = context.new_page()
        self.asked: list[str] = []
        self.faults: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("response", lambda answer: self._look(answer))
        self.page.goto(url)

    def _look(self, answer: Any) -> None:
        # MLflow asks who is logged in of a server that knows no users.
        if answer.status >= 400 and not answer.url.endswith("/users/current"):
            self.faults.append(f"{answer.status} {answer.url}")

    def link(self, name: str) -> Any:
        return self.page.get_by_role("link", name=name, exact=True)

    def run(self, name: str) -> Any:
        """A run's link in the list of runs."""
        return self.page.get_by_role("gridcell").get_by_role("link", name=name, exact=True)

    def rows(self) -> list[str]:
        """Names of the groups and runs in the list, from top to bottom."""
        rows = self.page.locator(".ag-pinned-left-cols-container [role=row]")
        shown = sorted(rows.all(), key=lambda row: int(row.get_attribute("row-index") or 0))
        return [re.sub(r"^Pin \w+ (#\w+ )?", "", " ".join(row.inner_text().split())) for row in shown]

    def cells(self, row: int) -> list[str]:
        """What a row shows beside its name, from left to right."""
        return in_order(self.page.locator(f".ag-center-cols-container [row-index='{row}'] [role=gridcell]"))


def in_order(texts: Any) -> list[str]:
    """Texts from left to right, whatever their order in the page."""
    return [each.inner_text().strip() for each in sorted(texts.all(), key=lambda each: each.bounding_box()["x"])]


@pytest.fixture
def visit(browser: Any, served: Served) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1500, "height": 1000})
    visit = Visit(context, served.pages["MLflow"])
    yield visit
    context.close()
    own = served.pages["MLflow"].partition("#")[0]
    assert [url for url in visit.asked if not url.startswith((own, "data:", "blob:" + own))] == []
    assert visit.faults == []


def trial_names(study: Study) -> dict[int, str]:
    """Of the trials' runs, by number: ``000 partial d=3 shufflenet_v2_x0_5 0.333``."""
    backbone = study.settings.backbone
    return {
        each.number: f"{each.number:03d} {each.strategy} d={each.freeze_depth} {backbone} {each.score:.3f}"
        for each in study.trials()
    }


def row_of(name: Any) -> str:
    return name.evaluate("link => link.closest('[role=row]').getAttribute('row-id')")


def test_the_answer_comes_first(visit: Visit, served: Served) -> None:
    """Grouped by strategy, the best first, unfolded: the finals with score, spread and seconds, before any trial."""
    visit.run(trial_names(served.study)[0]).wait_for()
    verdict = served.verdict
    first = visit.page.locator("strong", has_text=served.decision)
    assert first.bounding_box()["y"] < 150
    rows = visit.rows()
    groups = [row for row in rows if row.startswith("Group: ")]
    for place, contender in enumerate(verdict.contenders):
        standing = verdict.standing(contender) or "beaten"
        assert groups[place].startswith(f"Group: strategy: {contender.strategy}, standing: {standing}")
        top = rows.index(groups[place])
        assert rows[top + 1].startswith(f"finals {contender.strategy} {contender.mean:.3f} ± {contender.spread:.3f}")
        assert all(row.startswith("seed ") and f" {contender.strategy}-" in row for row in rows[top + 2 : top + 4])
        # As the columns show them, which cut the digits off.
        for shown, value in zip(visit.cells(top), (contender.mean, contender.spread, contender.seconds), strict=False):
            assert float(shown.split()[0]) == pytest.approx(value, abs=1e-4)
    finals = [place for place, row in enumerate(rows) if row.startswith(("finals ", "seed "))]
    trials = [place for place, row in enumerate(rows) if row[:3].isdigit()]
    assert len(trials) == 3
    assert max(finals) < min(trials)
    columns = list(dict.fromkeys(in_order(visit.page.get_by_role("columnheader"))))
    wanted = ["test_score", "test_score_sd", "seconds", "score", "freeze_depth", "learning_rate"]
    assert [name for name in columns if name in wanted] == wanted
    for name in wanted:
        assert visit.page.get_by_role("columnheader", name=name, exact=True).last.bounding_box()["x"] < 1400


def test_the_trials_have_names_and_scores(visit: Visit, served: Served) -> None:
    names = trial_names(served.study)
    for trial in served.study.trials():
        name = visit.run(names[trial.number])
        name.wait_for()
        # The name is there to its end.
        assert name.evaluate("link => link.scrollWidth <= link.clientWidth")
        cells = visit.page.locator(f"[row-id='{row_of(name)}'] [role=gridcell]").all_inner_texts()
        assert str(trial.score)[:8] in " ".join(cells)
        assert str(trial.freeze_depth) in cells


def test_charts_compare_the_strategies_and_show_what_the_score_depends_on(visit: Visit, served: Served) -> None:
    visit.run(trial_names(served.study)[0]).wait_for()
    visit.page.locator("label", has=visit.page.locator("input[value=CHART]")).click()
    sections = visit.page.get_by_test_id("experiment-view-compare-runs-section-header")
    sections.first.wait_for()
    assert sections.first.inner_text().split()[:2] == ["Answer", "(3)"]
    bars = visit.page.locator(".barlayer text")
    bars.first.wait_for()
    shown = sorted(float(bar) for bar in bars.all_text_contents())
    assert shown == pytest.approx(sorted(each.mean for each in served.verdict.contenders), abs=0.006)
    parallel = visit.page.locator(".parcoords").first
    parallel.locator("text", has_text="learning_rate").first.wait_for()
    axes = {"strategy", "freeze_depth", "head.pooling", "head.hidden_layers", "learning_rate", "score"}
    assert axes <= set(parallel.locator("text").all_text_contents())


def test_the_view_of_who_comes_again_stays_as_it_was(browser: Any, served: Served) -> None:
    context = browser.new_context(viewport={"width": 1500, "height": 1000})
    plain, _, _ = served.pages["MLflow"].partition("&viewStateShareKey")
    page = Visit(context, plain).page
    page.wait_for_function(f"() => {_OWN_VIEW}")
    # Someone removed all columns but one.
    page.goto(plain.partition("#")[0] + "health")
    key, stored = page.evaluate(f"() => {_OWN_VIEW}")
    own = json.dumps({**json.loads(stored), "selectedColumns": ["metrics.`score`"]})
    page.evaluate("([key, own]) => localStorage.setItem(key, own)", [key, own])
    Visit(context, served.pages["MLflow"]).run(trial_names(served.study)[0]).wait_for()
    again = Visit(context, plain)
    again.run(STUDY).wait_for()
    columns = set(in_order(again.page.get_by_role("columnheader")))
    assert "score" in columns
    assert not {"test_score", "Source"} & columns
    context.close()


def test_a_trial_shows_its_curves_first(visit: Visit, served: Served) -> None:
    name = trial_names(served.study)[1]
    visit.run(name).click()
    visit.page.get_by_role("tab", name="Model metrics").click()
    sections = visit.page.get_by_test_id("experiment-view-compare-runs-section-header")
    sections.first.wait_for()
    assert [text.split()[:2] for text in sections.all_inner_texts()[:2]] == [
        ["curves", "(3)"],
        ["learning_rate", "(2)"],
    ]
    for title in ("train_loss", "val_loss", "val_score"):
        card = visit.page.get_by_test_id("experiment-view-compare-runs-card").filter(has_text=title)
        card.first.locator(".scatterlayer .point").first.wait_for(state="attached")
        assert card.first.locator(".scatterlayer .point").count() == EPOCHS
    # Among pages for model training, not those for language models.
    assert visit.link("Runs").count() > 0
    assert visit.page.get_by_text("Prompts").count() == 0


def test_the_decision_leads_to_the_report_and_the_whole_verdict(visit: Visit, served: Served) -> None:
    with visit.page.context.expect_page() as opened:
        visit.link("Report").click()
    page = opened.value
    page.get_by_text(f"{STUDY}.html").first.click()
    report = page.frame_locator("iframe")
    report.get_by_text(served.verdict.sentence()).first.wait_for()
    report.locator(".chart .main-svg").first.wait_for()
    page.get_by_role("tab", name="Overview").click()
    page.locator("strong", has_text=served.decision).wait_for()
    cells = {cell.strip() for cell in page.locator("td").all_inner_texts()}
    assert {"feature_extraction", "partial"} <= cells
    assert cells & {"winner", "leads"}


def test_who_comes_first_finds_model_training_without_assistant_or_telemetry(browser: Any, served: Served) -> None:
    context = browser.new_context()
    visit = Visit(context, served.pages["MLflow"].partition("#")[0] + "#/experiments")
    visit.link(STUDY).wait_for()
    assert visit.page.get_by_placeholder("Ask a question").count() == 0
    stored = visit.page.evaluate("() => ({...localStorage})")
    assert stored["mlflow.workflowType_v1"] == '"machine_learning"'
    assert stored["mlflow.settings.telemetry.enabled_v1"] == "false"
    # What someone has chosen stays.
    visit.page.evaluate("() => localStorage.setItem('mlflow.workflowType_v1', '\"genai\"')")
    visit.page.reload()
    visit.link(STUDY).wait_for()
    assert visit.page.evaluate("() => localStorage.getItem('mlflow.workflowType_v1')") == '"genai"'
    context.close()


# The Optuna dashboard beside it (more in test_optuna_ui.py)


def test_the_optuna_dashboard_shows_trials_with_their_parameters(browser: Any, served: Served) -> None:
    pytest.importorskip("optuna_dashboard", reason="needs optuna-dashboard, of the extra optuna")
    context = browser.new_context(viewport={"width": 1500, "height": 1000})
    page = served.pages["Optuna"]
    visit = Visit(context, f"{page}/trials")
    visit.page.get_by_text("3 Trials").wait_for()
    visit.page.get_by_text("Trial 1", exact=True).first.click()
    trial = served.study.inner.get_trials()[1]
    for name, value in trial.params.items():
        visit.page.get_by_text(f"{name} {value}", exact=True).first.wait_for()
    visit.page.goto(page)
    visit.page.get_by_text("Hyperparameter Importance").first.wait_for()
    visit.page.locator(".js-plotly-plot .point").first.wait_for(state="attached")
    own = page.partition("dashboard")[0]
    assert [url for url in visit.asked if not url.startswith((own, "data:", "blob:"))] == []
    assert visit.faults == []
    context.close()


def test_the_optuna_dashboard_can_be_looked_at_only_and_from_here(served: Served) -> None:
    pytest.importorskip("optuna_dashboard", reason="needs optuna-dashboard, of the extra optuna")
    studies = served.pages["Optuna"].partition("dashboard")[0] + "api/studies"
    assert [each["study_name"] for each in json.loads(ask(studies)[1])["study_summaries"]] == [STUDY]
    assert ask(studies, host="evil.example")[0] == 403
    assert ask(f"{studies}/1", method="DELETE")[0] == 403
    assert ask(f"{studies}/1/rename", method="POST")[0] == 403
    assert len(served.study.trials()) == 3


def ask(url: str, method: str = "GET", host: str | None = None) -> tuple[int, str]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    headers = {"Host": host} if host else {}
    try:
        with opener.open(urllib.request.Request(url, headers=headers, method=method), timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_no_process_tells_where_the_databases_are(served: Served) -> None:
    started = [int(pid) for pid in Path(f"/proc/{served.pid}/task/{served.pid}/children").read_text().split()]
    assert len(started) == len(served.pages)
    said = [Path(f"/proc/{pid}/cmdline").read_text() for pid in started]
    assert not any(word in line for line in said for word in ("sqlite:", ".db"))
