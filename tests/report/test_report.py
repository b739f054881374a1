"""The page at the end of a run, from the run's folder."""

import ast
import html
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mmt_plugin.commands.line import parser_of
from mmt_plugin.config import load_config
from mmt_plugin.data import build
from mmt_plugin.engine import run
from mmt_plugin.report import collect
from mmt_plugin.report.collect import camera_name
from mmt_plugin.report.page import write_report
from mmt_plugin.report.records import FOLDER, RecordError
from mmt_plugin.report.timeline import STAGES
from mmt_plugin.runs.run import RunError
from mmt_plugin.synthetic import SynthMetro

SECTIONS = [
    "results", "next", "evaluation", "labels", "clusters", "map", "distances", "ranking", "training",
    "timeline", "configuration",
]  # fmt: skip
EPOCHS = 3


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    """A copy of the run, without weights, to be changed."""
    target = tmp_path / "copy"
    shutil.copytree(finished, target, ignore=shutil.ignore_patterns("*.pth"))
    return target


def test_every_section_is_there_and_nothing_is_missing(finished, read_page):
    page = read_page(finished)
    assert page.sections == SECTIONS
    assert [page.missing(name) for name in SECTIONS] == [[]] * len(SECTIONS)


def test_curves_have_a_point_for_every_epoch(finished, read_page):
    page = read_page(finished)
    for chart in ("total_loss", "loss_ce", "loss_soft_triplet", "clusters", "outliers"):
        assert page.points(chart) == EPOCHS, chart
    assert page.points("lr") >= EPOCHS  # it is also recorded within an epoch
    for chart in ("mAP SynthMetro", "Rank-1 SynthMetro", "agreement"):
        assert page.points(chart) == 2 * EPOCHS, chart  # two networks; ARI and NMI


def test_numbers_are_those_of_the_run(finished, read_page):
    page = read_page(finished)
    metrics = json.loads((finished / "results.json").read_text())["metrics"]
    row = re.search(r"<tr><td>teacher 1, used for inference</td><td>([\d.]+)</td>", page.section("results"))
    assert row.group(1) == f"{metrics['mAP']:.1f}"
    assert f"<strong>{metrics['Rank-1']:.1f} %</strong>" in page.text
    sources = [
        json.loads((finished / f"source_seed{k}" / "results.json").read_text())["metrics"] for k in (1, 2)
    ]
    mean = np.mean([source["mAP"] for source in sources])
    assert f"source model alone: {mean:.1f} %" in page.text
    assert "no label took part in choosing it" in page.section("results")


def test_pictures_are_inside_and_marked(finished, read_page):
    page = read_page(finished)
    clusters, ranking = page.section("clusters"), page.section("ranking")
    for heading in ("Largest", "Most mixed", "Tightest"):
        assert f"<h3>{heading}</h3>" in clusters
    shown = re.findall(r"<h4>Cluster (\d+):", clusters)
    assert len(shown) == len(set(shown)) == 8
    assert ranking.count('<figure class="query">') == 8
    shown = ranking.count('<figure class="right">') + ranking.count('<figure class="wrong">')
    assert shown == 8 * 10
    assert "camera 6" in clusters
    labels = np.load(finished / FOLDER / "last_labels.npz")
    assert page.points("map by cluster, before") == page.points("map by cluster, after") == 60
    assert len(labels["sample"]) == 60
    assert page.section("distances").count('<polygon class="area c0"') == 2


def test_stages_are_in_the_timeline(finished, read_page):
    timeline = read_page(finished).section("timeline")
    titles = re.findall(r"<rect [^>]*><title>(.*?), [\d.]+ (?:ms|s|min)</title>", timeline)
    expected = [f"epoch {k}: {stage}" for k in (1, 2, 3) for stage, *_ in STAGES]
    # The only checkpoint is the last epoch's, which nothing is written after.
    expected = [title for title in expected if not title.endswith(": checkpoint")]
    assert titles == ["pre-training: source_seed1", "pre-training: source_seed2", *expected]
    assert "of it, k-means" in timeline
    assert "of it, waiting for the first batch of an epoch" in timeline


def test_the_page_asks_for_nothing_and_runs_nothing(finished, read_page):
    page = read_page(finished)
    assert len(page.addresses) > 100
    for address in page.addresses:
        assert address.startswith(("data:image/jpeg;base64,", "#", "data:,")), address[:80]
    assert "<script" not in page.text
    assert len(page.text) < 5e6


def test_next_steps_are_commands_that_name_the_run(finished, read_page):
    page, folder = read_page(finished), str(finished)
    blocks = re.findall(r"<pre>(.*?)</pre>", html.unescape(page.section("next")), re.DOTALL)
    (constant,) = (node.value for node in ast.walk(ast.parse(blocks[0])) if isinstance(node, ast.Constant))
    assert constant == folder
    commands = [shlex.split(block) for block in blocks[1:]]
    assert [words[:2] for words in commands] == [["mmt", "export"], ["mmt", "evaluate"], ["mmt", "evaluate"]]
    for _, verb, run_folder, *options in commands:
        assert run_folder == folder
        parser_of(verb, "mmt").parse_args([run_folder, *options])
    assert commands[2][-2] == "DATASETS.TESTS"
    assert load_config(finished / "config.yaml", commands[2][-2:]).DATASETS.TESTS[0].startswith("folder:")
    (again,) = re.findall(r"To write it again: <code>(.*?)</code>", page.text)
    assert shlex.split(html.unescape(again)) == ["mmt", "report", folder]


def test_nothing_is_said_of_people_where_there_may_be_none(finished, read_page):
    words = re.sub(r"data:[^\"]*|<[^>]*>", " ", read_page(finished).text).lower().split()
    assert not {"person", "persons", "people", "pedestrian", "someone"} & {w.strip(".,:;") for w in words}


def test_strings_of_the_run_are_escaped(finished, read_page):
    page = read_page(finished)
    assert "a &lt;run&gt; &amp; its" in page.text
    assert "<run>" not in page.text


def test_other_scalars_of_the_label_steps_are_shown_by_prefix(copy, read_page):
    path = copy / "metrics.json"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if "clusters" in line:
            line["label_free/twin_agreement"] = line["something_new"] = 0.5
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_report(copy)
    page = read_page(copy)
    assert "<h3>Label free</h3>" in page.section("labels")
    assert "<figcaption>Twin agreement</figcaption>" in page.section("labels")
    assert page.points("label_free/twin_agreement") == page.points("something_new") == EPOCHS


def test_without_the_images_the_numbers_are_still_there(copy, read_page, monkeypatch):
    def missing(*_):
        raise FileNotFoundError("'/data/metro' is not available")

    monkeypatch.setattr(collect, "training_items", missing)
    monkeypatch.setattr(collect, "build_dataset", missing)
    write_report(copy)
    page = read_page(copy)
    assert page.sections == SECTIONS
    assert "is not available" in page.missing("clusters")[0]
    assert "are not here" in page.missing("ranking")[0]
    assert "Cameras and file names are not known" in page.missing("map")[0]
    assert page.points("map by cluster, after") == 60
    assert page.points("total_loss") == EPOCHS


def test_other_images_under_the_same_name_are_not_shown(copy, read_page, monkeypatch):
    original = build.training_items
    monkeypatch.setattr(collect, "training_items", lambda *a: original(*a)[1:])
    write_report(copy)
    assert "not those of the run" in read_page(copy).missing("clusters")[0]


def test_a_run_without_records_shows_what_its_checkpoint_holds(copy, finished, read_page):
    shutil.rmtree(copy / FOLDER)
    shutil.copy(finished / "model_final.pth", copy)
    write_report(copy)
    page = read_page(copy)
    assert "<h3>Largest</h3>" in page.section("clusters")
    assert "tightest clusters are not known" in page.missing("clusters")[0]
    for name in ("map", "distances", "ranking"):
        assert page.missing(name), name


def test_a_run_that_goes_on_is_shown_as_such(copy, read_page):
    (copy / "results.json").unlink()
    write_report(copy)
    page = read_page(copy)
    assert "run not complete" in page.text
    assert "This run is not complete" in page.missing("results")[0]


def test_a_moved_run_finds_its_own_source_models(finished, copy, read_page):
    shutil.copytree(finished, copy.with_name("moved"), ignore=shutil.ignore_patterns("*.pth"))
    moved = copy.with_name("moved")
    (moved / "config.yaml").write_text((moved / "config.yaml").read_text().replace("runs", "gone"))
    write_report(moved)
    assert "before adaptation: source_seed2" in read_page(moved).section("results")


def test_a_model_chosen_by_labels_is_named_with_its_epoch(copy, read_page):
    config = (copy / "config.yaml").read_text()
    config = config.replace("RULE: last", "RULE: best").replace("DATASET: ''", "DATASET: SynthMetro")
    (copy / "config.yaml").write_text(config)
    lines = [json.loads(line) for line in (copy / "metrics.json").read_text().splitlines()]
    for line in lines:
        if line["iteration"] == 3 and "teacher2/mAP" in line:  # the end of the second epoch
            line["teacher2/mAP"] = 99.0
    (copy / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_report(copy)
    page = read_page(copy)
    row = r"<tr><td>teacher 2 after epoch 2, used for inference</td><td>99.0</td>"
    assert re.search(row, page.section("results"))
    assert "best epoch, chosen with labels" in page.text


@pytest.fixture
def unlabelled(monkeypatch):
    """SynthMetro without identities, cameras and test set."""
    original = SynthMetro._read

    def read(self, folder, is_train=False):
        items = original(self, folder, is_train)
        return [(path, "metro_0", "metro_0") for path, *_ in items] if is_train else items

    monkeypatch.setattr(SynthMetro, "_read", read)


def test_a_run_without_identities_cameras_and_test_set_says_so(tiny_config, unlabelled, read_page):
    cfg = tiny_config(
        "plaza2metro_baseline",
        REPORT__ENABLED=True,
        DATASETS__TESTS=(),
        MMT__SOURCE__PRETRAIN=False,
        TEST__EVAL_PERIOD=-1,
    )
    assert run(cfg, "", resume=False) == {}
    page = read_page(cfg.OUTPUT_DIR)
    assert page.sections == SECTIONS
    for name, what in {
        "results": "no labelled test set",
        "evaluation": "no labelled test set",
        "labels": "carry no identities",
        "map": "carry no camera names",
        "ranking": "no test set",
    }.items():
        assert what in page.missing(name)[0], name
    assert "<h3>Loosest</h3>" in page.section("clusters")
    assert '<figure class="wrong">' not in page.section("clusters")
    assert "near by construction" in page.section("distances")
    assert '<span class="label">Label-free score</span><strong>' in page.text
    assert "Evaluation on crops that you have labelled" in page.section("next")
    assert "no labels: there are none" in page.section("results")


def test_supervised_training_has_a_report_too(tiny_config, read_page):
    cfg = tiny_config(
        "source", REPORT__ENABLED=True, TEST__EVAL_PERIOD=1, PSEUDO_LABELS__METHOD="ground_truth"
    )
    run(cfg, "", resume=False)
    page = read_page(cfg.OUTPUT_DIR)
    assert page.sections == SECTIONS
    assert page.points("total_loss") == 2
    assert page.missing("labels") == ["Annotated identities are the labels."]
    assert page.section("ranking").count('<figure class="query">') == 8


def test_no_report_is_written_unasked(tiny_config):
    cfg = tiny_config("source", PSEUDO_LABELS__METHOD="ground_truth")
    run(cfg, "", resume=False)
    assert not Path(cfg.OUTPUT_DIR, "report.html").exists()
    assert not Path(cfg.OUTPUT_DIR, FOLDER).exists()


def test_a_folder_without_a_run_and_a_damaged_record_are_errors(copy, tmp_path):
    with pytest.raises(RunError, match="is no run"):
        write_report(tmp_path / "nothing")
    (copy / FOLDER / "ranking.npz").write_bytes(b"no archive")
    with pytest.raises(RecordError, match=r"ranking\.npz is damaged"):
        write_report(copy)


@pytest.mark.parametrize(
    ("camera", "name"),
    [
        ("synthmetro_0", "camera 1"),
        (4, "camera 5"),
        ("folder:/data/crops/gate_north", "gate_north"),
        ("csv:/data/list.csv/7", "camera 7"),
        ("folder:/data/crops/lane_2", "lane_2"),
    ],
)
def test_cameras_have_names_for_people(camera, name):
    assert camera_name(camera) == name


@pytest.fixture
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium found: apt-get install chromium")
    return found


def test_a_browser_shows_it_without_complaint(chromium, finished, read_page, tmp_path):
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--no-first-run", f"--user-data-dir={tmp_path}/user",
        "--enable-logging=stderr", "--dump-dom", (finished / "report.html").as_uri(),
    ]  # fmt: skip
    process = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr[-2000:]
    # Violations of the page's own security policy, which forbids all requests, would be here as well.
    assert [line for line in process.stderr.splitlines() if "CONSOLE" in line] == []
    written, shown = read_page(finished), type(read_page(finished))(process.stdout)
    assert shown.sections == SECTIONS
    assert shown.points("total_loss") == EPOCHS
    assert shown.points("mAP SynthMetro") == 2 * EPOCHS
    assert process.stdout.count("<img ") == written.text.count("<img ")
