"""The terminal's view of a dry run: settings, space, and a table of what each strategy would take."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from ...objectives.preprocessing import RGB, plural_channels
from ...search.formats import count, duration, megabytes, percent, plural
from ...search.space import tables_of, write_space
from ...search.study import DryRun, StrategyPlan
from .rich_tables import text_table


def print_plan(console: Console, plan: DryRun) -> None:
    """Print what a search would do and take."""
    settings = plan.settings
    images = ", ".join(f"{number:,} {split}" for split, number in plan.images.items())
    channels = settings.listing.channels
    bands = "" if channels == RGB else f", {plural_channels(channels)}"
    rows = {
        "study": settings.name + (" (exists: the search resumes it)" if plan.exists else ""),
        "data": f"{settings.data}: {plan.classes} classes, {images} images",
        "backbone": f"{settings.backbone}, weights {settings.weights}, {settings.image_size} px{bands}",
        "search": f"{settings.extent}; metric {settings.metric}, seed {settings.seed}",
        "finals": f"{plural(settings.candidates, 'candidate')} of each strategy, "
        f"up to {plural(settings.finals_seeds, 'seed')}"
        + (", at most as long as the search" if settings.finals_limited else ""),
        "device": plan.device,
        "precision": plan.precision.sentence,
        **({"prior": _prior(plan)} if settings.prior else {}),
    }
    for name, value in rows.items():
        console.print(Text.assemble((f"{name:10}", "bold"), value), soft_wrap=True)
    console.print()
    tables = write_space(tables_of(settings.space))
    console.print("\n".join(line for line in tables.splitlines() if not line.startswith("#")).strip(), soft_wrap=True)
    console.print()
    titles = ("strategy", "first trial", "later trials, mean", "trials", "trained", "of all weights", "peak memory")
    console.print(text_table(titles, [_row(each) for each in plan.strategies]))
    console.print()
    console.print(Text(f"Predicted: {plan.forecast.sentence}. Nothing was trained or created.", style="bold"))


def _prior(plan: DryRun) -> str:
    """Return what the study would start from besides the defaults, and what it would leave out."""
    settings = plan.settings
    lines = [settings.prior]
    for each in settings.starts:
        values = ", ".join(f"{name} {value}" for name, value in each.values.items())
        lines.append(f"{each.strategy} from {each.study}, {percent(each.score)} there: {values}")
    lines += plan.notes
    if settings.starts and not plan.exists:
        lines.append("the search also leaves out studies whose images turn out to be the same")
    return f"\n{'':10}".join(lines)


def _row(plan: StrategyPlan) -> tuple[str, ...]:
    forecast = plan.forecast
    return (
        forecast.strategy,
        duration(forecast.first),
        duration(forecast.later),
        f"{forecast.trials:,}",
        count(plan.trained),
        percent(plan.trainable_share),
        megabytes(plan.memory),
    )
