"""tools/evaluate.py and tools/leaderboard.py from the command line, on runs that train in seconds."""

import gzip
import json
import re
import runpy
from types import SimpleNamespace

import miniature
import pytest
from tiny import REPOSITORY, train_tiny

from mmt_plugin.challenge.submission import read_index, score_submission

CHALLENGE = REPOSITORY / "tests" / "golden" / "visda2020"
EVALUATE = REPOSITORY / "configs" / "evaluate" / "synthmetro.yml"
OPTS = ["--opts", "MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", 0]


@pytest.fixture
def here(monkeypatch, capsys):
    """Run a tool in this process: as `call`, without the seconds that every start takes."""
    # It would give fastreid's logger handlers that outlive the test.
    monkeypatch.setattr("fastreid.utils.logger.setup_logger", lambda **_: None)

    def run(tool, *arguments):
        path = REPOSITORY / "tools" / tool
        monkeypatch.setattr("sys.argv", [str(path), *map(str, arguments)])
        returncode, message = 0, ""
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as stop:
            returncode, message = (stop.code, "") if isinstance(stop.code, int) else (1, str(stop.code))
        said = capsys.readouterr()
        return SimpleNamespace(returncode=returncode, stdout=f"{said.out}{said.err}{message}")

    return run


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


def test_a_malformed_submission_ends_with_one_sentence(here, files):
    lines = (files / "example_validation_result.txt").read_text().splitlines()
    (files / "short.txt").write_text("\n".join(lines[:-1]))
    process = here("evaluate.py", *submission_arguments(files, "short.txt"))
    assert process.returncode == 2
    assert process.stdout.strip().endswith("short.txt: 376 lines, but the query index lists 377 images")
    assert "Traceback" not in process.stdout


def check_challenge_sets(here, run, datasets_root, output):
    """Submissions follow the challenge's indices, also where identities are secret."""
    miniature.write_visda20(datasets_root)
    tests = ["DATASETS.TESTS", "('VisDA20', 'VisDA20Test')", "TEST.TOP_K", 100]
    process = here("evaluate.py", run, "--output", output, *OPTS, *tests)
    assert process.returncode == 0, process.stdout[-3000:]
    folder = datasets_root / "visda2020"
    indices = [read_index(folder / f"index_validation_{part}.txt") for part in ("query", "gallery")]
    scored = score_submission(output / "VisDA20" / "result.txt", *indices).percent()
    record = json.loads((output / "evaluation.json").read_text())
    assert list(record["steps"]) == ["VisDA20"]
    assert scored["mAP"] == pytest.approx(record["metrics"]["mAP"])
    lines = (output / "VisDA20Test" / "result.txt").read_text().splitlines()
    assert [sorted(map(int, line.split())) for line in lines] == 4 * [list(range(12))]


def test_an_entry_from_training_to_the_leaderboard(here, tiny_config, datasets_root, tmp_path):
    """Two seeds and a camera model: every step's gain, a submission that scores as measured, and one table
    row of both seeds.
    """
    runs = [train_tiny(tmp_path / f"seed{seed}", "synthetic/source", SEED=seed) for seed in (1, 2)]
    camera = train_tiny(tmp_path / "camera", "camera/synthmetro")
    entry = tmp_path / "entry"
    tiny_config()  # where the data sets are
    process = here(
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
    scored = here("evaluate.py", *arguments)
    assert scored.returncode == 0, scored.stdout
    assert f"{'mAP':8s}{values[4]:6.2f} %" in scored.stdout
    assert (entry / "result.zip").is_file()

    mixed = here("evaluate.py", runs[0], camera, "--config-file", EVALUATE, *OPTS)
    assert mixed.returncode == 2
    assert mixed.stdout.strip().splitlines()[-1].startswith(f"error: {camera} is a camera model")

    table = here("leaderboard.py", *runs, entry, "--format", "markdown")
    assert table.returncode == 0, table.stdout
    assert table.stdout.count("### SynthPlaza -> SynthMetro") == 1
    assert re.search(r"\| measured +\| direct transfer .* ± .*\| 1, 2 ", table.stdout)
    entered = next(line for line in table.stdout.splitlines() if "camera term, re-ranking" in line)
    assert "| osnet-x0_25 + osnet-x0_25 |" in re.sub(" +", " ", entered.lower())
    assert f"| {values[4]:.1f} " in entered
    check_challenge_sets(here, runs[0], datasets_root, tmp_path / "visda")
    unfinished = here("leaderboard.py", tmp_path)
    assert unfinished.returncode == 2
    assert f"error: {tmp_path} is no run: there is no {tmp_path / 'config.yaml'}" in unfinished.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either runs to evaluate, or --submission"),
        (["--submission", "a.txt"], "--submission needs --query-index and --gallery-index"),
        (["nowhere"], "error: nowhere is no run"),
    ],
)
def test_mistakes_are_explained(here, arguments, message):
    process = here("evaluate.py", *arguments)
    assert process.returncode == 2
    assert message in process.stdout
    assert "Traceback" not in process.stdout
