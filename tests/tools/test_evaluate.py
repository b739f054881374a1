"""tools/evaluate.py and tools/leaderboard.py from the command line, on runs that train in seconds."""

import gzip
import json
import re

import miniature
import pytest
from tiny import REPOSITORY, TINY, as_options

from mmt_plugin.evaluation.submission import read_index, score_submission

CHALLENGE = REPOSITORY / "tests" / "data" / "visda2020"
EVALUATE = REPOSITORY / "configs" / "evaluate" / "synthmetro.yml"
OPTS = ["--opts", "MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", 0]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The challenge's validation indices and its example submission."""
    folder = tmp_path_factory.mktemp("challenge")
    for packed in CHALLENGE.glob("*.gz"):
        (folder / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    return folder


def submission_arguments(files, name="example_validation_result.txt"):
    indices = [files / f"index_validation_{part}.txt" for part in ("query", "gallery")]
    return ["--submission", files / name, "--query-index", indices[0], "--gallery-index", indices[1]]


def test_the_official_example_from_the_command_line(call, files):
    process = call("evaluate.py", *submission_arguments(files))
    assert process.returncode == 0, process.stdout
    assert re.findall(r"(\S+) +([\d.]+) %", process.stdout) == [
        ("mAP", "28.49"),
        ("Rank-1", "33.69"),
        ("Rank-5", "55.70"),
        ("Rank-10", "65.25"),
    ]


def test_a_malformed_submission_ends_with_one_sentence(call, files):
    lines = (files / "example_validation_result.txt").read_text().splitlines()
    (files / "short.txt").write_text("\n".join(lines[:-1]))
    process = call("evaluate.py", *submission_arguments(files, "short.txt"))
    assert process.returncode == 1
    assert process.stdout.strip().endswith("short.txt: 376 lines, but the query index lists 377 images")
    assert "Traceback" not in process.stdout


def train(call, folder, recipe, **overrides):
    settings = {**TINY, "SOLVER.MAX_EPOCH": 1, "SOLVER.WARMUP_ITERS": 0, "OUTPUT_DIR": folder}
    settings |= {"PSEUDO_LABELS.METHOD": "ground_truth", "TEST.EVAL_PERIOD": 1, **overrides}
    options = as_options(settings)
    process = call("train_net.py", "--config-file", REPOSITORY / "configs" / f"{recipe}.yml", *options)
    assert process.returncode == 0, process.stdout[-3000:]
    return folder


def check_challenge_sets(call, run, datasets_root, output):
    """Submissions follow the challenge's indices, also where identities are secret."""
    miniature.write_visda20(datasets_root)
    tests = ["DATASETS.TESTS", "('VisDA20', 'VisDA20Test')", "TEST.TOP_K", 100]
    process = call("evaluate.py", run, "--output", output, *OPTS, *tests)
    assert process.returncode == 0, process.stdout[-3000:]
    folder = datasets_root / "visda2020"
    indices = [read_index(folder / f"index_validation_{part}.txt") for part in ("query", "gallery")]
    scored = score_submission(output / "VisDA20" / "result.txt", *indices).percent()
    record = json.loads((output / "evaluation.json").read_text())
    assert list(record["steps"]) == ["VisDA20"]
    assert scored["mAP"] == pytest.approx(record["metrics"]["mAP"])
    lines = (output / "VisDA20Test" / "result.txt").read_text().splitlines()
    assert [sorted(map(int, line.split())) for line in lines] == 4 * [list(range(12))]


def test_an_entry_from_training_to_the_leaderboard(call, datasets_root, tmp_path):
    """Two seeds and a camera model: every step's gain, a submission that scores as measured, and one table
    row of both seeds.
    """
    runs = [train(call, tmp_path / f"seed{seed}", "synthetic/source", SEED=seed) for seed in (1, 2)]
    camera = train(call, tmp_path / "camera", "camera/synthmetro")
    entry = tmp_path / "entry"
    process = call(
        *("evaluate.py", *runs, "--camera", camera, "--config-file", EVALUATE),
        *("--steps", "--output", entry, *OPTS, "TEST.TOP_K", 100),
    )
    assert process.returncode == 0, process.stdout[-3000:]
    record = json.loads((entry / "evaluation.json").read_text())
    steps = record["steps"]["SynthMetro"]
    assert record["metrics"] == steps[-1]
    assert [step["step"] for step in steps[2:]] == ["ensemble of 2", "+ camera term", "+ re-ranking"]
    values = [step["mAP"] for step in steps]
    assert [step["gain"] for step in steps[2:]] == pytest.approx(
        [values[2] - max(values[:2]), values[3] - values[2], values[4] - values[3]]
    )
    assert f"{values[4]:.2f}" in process.stdout
    assert f"camera term 0.1 x {camera}" in process.stdout

    arguments = ["--submission", entry / "result.txt"]
    arguments += ["--query-index", entry / "index_query.txt", "--gallery-index", entry / "index_gallery.txt"]
    scored = call("evaluate.py", *arguments)
    assert scored.returncode == 0, scored.stdout
    assert f"{'mAP':8s}{values[4]:6.2f} %" in scored.stdout
    assert (entry / "result.zip").is_file()

    mixed = call("evaluate.py", runs[0], camera, "--config-file", EVALUATE, *OPTS)
    assert mixed.returncode == 1
    assert mixed.stdout.strip().splitlines()[-1].startswith(f"error: {camera} is a camera model")

    table = call("leaderboard.py", *runs, entry, "--format", "markdown")
    assert table.returncode == 0, table.stdout
    assert table.stdout.count("### SynthPlaza -> SynthMetro") == 1
    assert re.search(r"\| measured +\| direct transfer .* ± .*\| 1, 2 ", table.stdout)
    entered = next(line for line in table.stdout.splitlines() if "camera term, re-ranking" in line)
    assert "| osnet-x0_25 + osnet-x0_25 |" in re.sub(" +", " ", entered.lower())
    assert f"| {values[4]:.1f} " in entered
    check_challenge_sets(call, runs[0], datasets_root, tmp_path / "visda")
    unfinished = call("leaderboard.py", tmp_path)
    assert unfinished.returncode == 1
    assert f"error: {tmp_path}: there is no results.json" in unfinished.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either runs to evaluate, or --submission"),
        (["--submission", "a.txt"], "--submission needs --query-index and --gallery-index"),
        (["nowhere"], "error: nowhere is no run"),
    ],
)
def test_mistakes_are_explained(call, arguments, message):
    process = call("evaluate.py", *arguments)
    assert process.returncode != 0
    assert message in process.stdout
    assert "Traceback" not in process.stdout
