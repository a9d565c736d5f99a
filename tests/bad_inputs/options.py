"""Options, spaces and study files of ``frostline search`` that are refused."""

from __future__ import annotations

from pathlib import Path

from .rows import GOOD, Row, pictures, search, text


def in_groups(here: Path) -> None:
    """Photos of three groups, which the first letter of a name tells."""
    for number, group in enumerate("aaabbbcc"):
        for photo in pictures(here / "photos", count=8).glob(f"*/{number}.png"):
            photo.rename(photo.with_name(f"{group}{number}.png"))
    for photo in (here / "photos").glob("*/[0-9].png"):
        photo.unlink()


WRONG_OPTIONS = {
    **{
        f"{option} {value!r}": search(option, value, say=(option,))
        for option in (
            "--trials",
            "--seeds",
            "--seed",
            "--folds",
            "--channels",
            "--image-size",
            "--population",
            "--retries",
            "--workers",
        )
        for value in ("many", "1.5", "", "-1")
    },
    **{
        f"{option} {value!r}": search(option, value, say=(option,))
        for option, values in (
            ("--trials", ("0", "99999999999999999999")),
            ("--seeds", ("0",)),
            ("--folds", ("0", "1", "101")),
            ("--workers", ("0",)),
            ("--channels", ("0", "1001")),
            ("--slots-per-gpu", ("0", "x")),
            ("--indifference", ("x", "-1", "101", "nan", "inf")),
            ("--stop-when-sure", ("x", "0", "0.5", "1", "95", "-0.9", "nan", "inf")),
            ("--seed", ("99999999999999999999",)),
            ("--image-size", ("0",)),
        )
        for value in values
    },
    "unknown option of markup": search("--[red]x:smile:", say=("--[red]x:smile:",)),
    "--trials below the strategies": search("--trials", "2", say=("--trials 2", "--strategy")),
    "--channels of photos": Row(
        ("search", "photos", *GOOD, "--channels", "5"),
        (
            "8 of 8 images of photos do not decode",
            "has 3 channels, not 5: take it out, or search without --channels",
        ),
        cached=True,
    ),
    "--channels of digits": Row(
        ("search", "sklearn:digits", *GOOD, "--channels", "5"), ("--channels does not go with sklearn:digits",)
    ),
    "--channels of a network that has no convolution": search(
        *("--channels", "5", "-b", "flat:make"),
        say=("flat:make cannot be made to take images of 5 channels", "no convolution", "in_channels"),
        make=text(
            "flat.py",
            "from torch import nn\n"
            "def make(): return nn.Sequential(nn.Flatten(), nn.Linear(3072, 8), nn.ReLU(), nn.Linear(8, 4))\n",
        ),
    ),
    "--channels and colors that change": search(
        *("--channels", "5", "--space", "colors.toml"),
        say=("[full] augmentation = 'randaugment' changes colors", "leave it out", "flip_crop"),
        make=text("colors.toml", '[full]\nepochs = 1\naugmentation = "randaugment"\n'),
    ),
    "--folds above the smallest class": search(
        "--folds", "5", say=("--folds 5", "class 'cat' has 3 images", "--folds 3 or fewer")
    ),
    "--folds above the groups": search(
        *("--folds", "3", "--group-regex", r"/(\w)"),
        say=("--folds 3", "Class 'cat' has images of 2 groups", "3 folds", "Give --folds 2."),
        make=in_groups,
    ),
    "--folds and --population": search("--folds", "2", "--population", "4", say=("--population 4", "--folds")),
    "--image-size huge": search("--image-size", "1000000", say=("1000000",)),
    **{
        f"--budget {value!r}": search("--budget", value, say=("--budget", repr(value), "20m"))
        for value in ("0", "20", "-5m", "4 apples", "", "1h30", "30m1h", "nan", "1e3s", "5 M m", "١m", "infs")
    },
    **{
        f"--budget {value!r}": search("--budget", value, say=("more than 0 seconds", value, "20m"))
        for value in ("0s", "0m", "0.0h", "0h0m0s")
    },
    "--stop-when-sure of one strategy": search(
        "--stop-when-sure",
        "0.95",
        "--strategy",
        "full",
        say=("--stop-when-sure 0.95", "no other can win", "--strategy"),
    ),
    "--budget below a trial of each strategy": Row(
        ("search", "photos", *GOOD, "--budget", "0.001s"),
        ("--budget 0.001s is too small", "full", "scratch could not be judged", "Give --budget", "--strategy"),
        cached=True,
    ),
    "--budget too small for a dry run": search(
        "--budget", "0.001s", "--dry-run", say=("--budget 0.001s is too small", "could not be judged")
    ),
    "--dry-run of a bad space": search("--dry-run", "--metric", "acuracy", say=("acuracy",)),
    "--budget huge": search("--budget", "99999d", say=("--budget", "3650d", "99999d")),
    "--device unknown": search("--device", "tpu", say=("tpu", "cuda")),
    "--device not there": search("--device", "cuda:99", say=("cuda:99",)),
    "--device empty": search("--device", "", say=("cpu",)),
    "--cache-budget unit": search("--cache-budget", "4 apples", say=("4 apples", "4GB")),
    "--cache-budget negative": search("--cache-budget", "-4GB", say=("-4GB",)),
    "--cache-budget empty": search("--cache-budget", "", say=("4GB",)),
    "--engine unknown": search("--engine", "spark", say=("spark", "ray")),
    "--address without ray": search("--address", "host:6379", say=("--address", "ray")),
    "--metric unknown": search("--metric", "acuracy", say=("acuracy", "accuracy")),
    "--metric of no module": search("--metric", "nowhere:own", say=("Metric 'nowhere:own'", "no module 'nowhere'")),
    "--metric of no function": search("--metric", "json:own", say=("Unknown function in json 'own'",)),
    "--metric that is none": search("--metric", "math:factorial", say=("Metric 'math:factorial' fails: TypeError",)),
    "--sampler of no module": search("--sampler", "nowhere:own", say=("Sampler 'nowhere:own'", "no module 'nowhere'")),
    "--sampler by its name alone": search("--sampler", "TPESampler", say=("'TPESampler' is not module:sampler",)),
    "--sampler that is none": search(
        "--sampler", "json:dumps", say=("Sampler 'json:dumps'", "optuna.samplers.BaseSampler")
    ),
    "--head of no module": search("--head", "nowhere:own", say=("Head 'nowhere:own'", "no module 'nowhere'")),
    "--head of a module alone": search("--head", "json", say=("Head 'json' is not module:function",)),
    "--head of no function": search("--head", "json:own", say=("Unknown function in json 'own'",)),
    "--head that is none": search("--head", "math:hypot", say=("Head 'math:hypot'", "fails: TypeError")),
    "--metric empty": search("--metric", "", say=("accuracy",)),
    "--strategy unknown": search("--strategy", "ful", say=("'ful'", "full")),
    "--strategy empty": search("--strategy", "", say=("full",)),
    "--name with spaces": search("--name", "my study", say=("'my study'",)),
    "--name empty": search("--name", "", say=("--name",)),
    "--name with a path": search("--name", "../x", say=("'../x'",)),
    "--name of 101": search("--name", "x" * 101, say=("at most 100",)),
    "--name with a line break": search("--name", "a\nb", say=("--name",)),
    "--name in Unicode": search("--name", "caf\u00e9", say=("--name",)),
    "--backbone misspelt": search("-b", "resnt18", say=("resnt18", "resnet18")),
    "--backbone empty": search("-b", "", say=("backbone",)),
    "--backbone of no module": search("-b", "nets:a", say=("'nets:a'", "PYTHONPATH")),
    "--backbone of an emoji": search("-b", "nets:a:", say=("nets:a:",)),
    "--backbone without function": search("-b", "tiny_network:", say=("tiny_network",)),
    "--backbone of no function": search("-b", "tiny_network:creat", say=("creat", "create")),
    "--backbone of timm misspelt": search("-b", "timm:resnt18", say=("resnt18", "timm")),
    "--backbone that fails": search(
        "-b", "bad:make", say=("bad:make", "ZeroDivisionError"), make=text("bad.py", "def make(): 1/0")
    ),
    "--backbone that is none": search(
        "-b", "bad3:make", say=("bad3:make", "int"), make=text("bad3.py", "def make(): return 3")
    ),
    "--backbone of bad syntax": search(
        "-b", "bad4:make", say=("bad4:make", "SyntaxError"), make=text("bad4.py", "def make(:")
    ),
    "--prior missing": search("--prior", "wrkspace", say=("wrkspace", "--prior workspace", "frostline portfolio FILE")),
    "--prior empty": search("--prior", "", say=("--prior '' is no file", "workspace")),
    "--prior that is a folder": search("--prior", "photos", say=("photos", "is not a file")),
    "--prior with a null character": search("--prior", "a\0b", say=("--prior",)),
    **{
        f"--prior {name}": search("--prior", "p.json", say=("p.json", said), make=text("p.json", content))
        for name, content, said in (
            ("that is no JSON", "[study]", "not valid JSON"),
            ("of other JSON", "{}", "frostline portfolio"),
            ("of a later version", '{"format": "frostline portfolio", "version": 2}', "version '2'"),
            ("of a wrong study", '{"format": "frostline portfolio", "version": 1, "studies": [{}]}', "studies.0.name"),
            ("that is binary", b"\xff\x00", "not a text file"),
        )
    },
    "--plugin missing": search("--plugin", "nowhere", say=("nowhere",)),
    "--plugin that fails": search("--plugin", "bad2", say=("bad2", "ZeroDivisionError"), make=text("bad2.py", "1/0")),
    "--plugin empty": search("--plugin", "", say=("plugin",)),
    "--tracking-uri scheme": search("--tracking-uri", "ftp://x", say=("--tracking-uri", "http")),
    "--candidates 0": search("--candidates", "0", say=("--candidates",)),
    "--candidates of a word": search("--candidates", "x", say=("--candidates",)),
    "--precision unknown": search("--precision", "float64", say=("float64", "bfloat16")),
    "--tracking-uri with a password": search(
        "--tracking-uri",
        "http://me:hunter2@host:5000",
        say=("MLFLOW_TRACKING_PASSWORD", "--tracking-uri http://host:5000"),
    ),
    "--name of 250 characters": search("--name", "n" * 250, say=("--name",)),
    "--artifacts scheme": search("--artifacts", "nope://x", say=("nope",)),
    "--storage no URL": search("--storage", "nonsense", say=("nonsense",)),
    "--storage unknown kind": search("--storage", "nope://x/y", say=("nope",)),
    "--storage in no folder": search("--storage", "sqlite:////nowhere/at/all/x.db", say=("/nowhere/at/all/x.db",)),
    "--workspace file": search("-w", "file", say=("file", "--workspace"), make=text("file")),
    "--workspace below a file": search("-w", "file/below", say=("file/below",), make=text("file")),
    "--workspace with ?": search("-w", "what?", say=("'?'", "--workspace")),
    "--workspace with %": search("-w", "50%", say=("'%'", "--workspace")),
    "--workspace where none can be": search("-w", "/proc/nothing", say=("/proc/nothing",)),
    "--workspace too long": search("-w", "x" * 300, say=("File name too long",)),
    "unknown option": search("--trails", "3", say=("--trails", "--trials")),
    "--data without a study file": search("--data", "photos", say=("--data", "study file")),
}

SPACES = {
    "--space missing": search("--space", "nowhere.toml", say=("nowhere.toml",)),
    "--space folder": search("--space", "photos", say=("photos",)),
    **{
        f"--space {name}": search("--space", "s.toml", say=("s.toml", *say), make=text("s.toml", content))
        for name, content, *say in (
            ("no TOML", "full = [", "not valid TOML"),
            ("binary", b"\xff\xfe\x00", "not a text file"),
            ("empty", "", "strateg"),
            ("of an unknown strategy", "[ful]\nepochs = 2", "ful"),
            ("of an unknown parameter", "[full]\nepoch = 2", "epochs"),
            ("of a wrong type", '[full]\nepochs = "two"', "epochs"),
            ("of an empty range", "[full]\nlearning_rate = { low = 1, high = 0.1 }", "learning_rate"),
            ("of a range without end", "[full]\nlearning_rate = { low = 1 }", "learning_rate"),
            ("of no choices", "[full]\noptimizer = { choices = [] }", "optimizer"),
            ("of negative epochs", "[full]\nepochs = -1", "epochs"),
            ("of nan", "[full]\nlearning_rate = nan", "learning_rate"),
            ("of a list", "full = [1]", "full"),
            ("of depths that it cannot see", "[gradual_unfreezing]\nhead.depths = 2", "takes no head.depths"),
            ("of no queries", "[full]\nhead.queries = 0", "head.queries"),
            ("of a study file", "[study]\ntrials = 3\n[full]\nepochs = 1", "study"),
        )
    },
}

STUDY_FILES = {
    f"study file {name}": Row(("search", "s.toml", *GOOD), ("s.toml", *say), text("s.toml", content))
    for name, content, *say in (
        ("without [study]", "[full]\nepochs = 1", "[study]", "--space"),
        ("of an unknown key", '[study]\ndata = "photos"\ntrails = 9', "trails", "trials"),
        ("of a wrong type", '[study]\ndata = "photos"\nseed = "x"', "seed"),
        ("of a budget without unit", '[study]\ndata = "photos"\nbudget = 20', "budget"),
        ("of a wrong list", '[study]\ndata = "photos"\nstrategies = "full"', "strategies"),
        ("that is no table", "study = 3", "[study]"),
        ("that is no TOML", "[study", "not valid TOML"),
        ("that is binary", b"\xff\x00", "not a text file"),
    )
} | {
    "study file without data": Row(
        ("search", "s.toml", *GOOD), ("No dataset is named", "--data FOLDER"), text("s.toml", "[study]\ntrials = 9")
    ),
    "study file of one fold": Row(
        ("search", "s.toml", *GOOD),
        ("--folds must be at least 2",),
        text("s.toml", '[study]\ndata = "photos"\nfolds = 1'),
    ),
    "study file missing": Row(("search", "nowhere.toml", *GOOD), ("nowhere.toml",)),
    "study file of missing data": Row(("search", "s.toml", *GOOD), ("gone",), text("s.toml", '[study]\ndata = "gone"')),
    "study file of a missing prior": Row(
        ("search", "s.toml", *GOOD), ("gone.json",), text("s.toml", '[study]\ndata = "photos"\nprior = "gone.json"')
    ),
    "study file of missing weights": Row(
        ("search", "s.toml", "-b", "tiny_network:create", "--trials", "5"),
        ("gone.pt",),
        text("s.toml", '[study]\ndata = "photos"\nweights = "gone.pt"'),
    ),
}
