"""The measurements of extraction, epochs, memory and variants: plausible figures from tiny networks."""

import argparse
from types import SimpleNamespace

import pytest
from benchmark import epoch, extraction, memory, variants
from benchmark.measure import machine
from tiny import REPOSITORY, TINY, as_options

from mmt_plugin.pseudo_labels.timing import Stages

OPTIONS = [str(word) for word in as_options(TINY)]
RECIPE = "configs/synthetic/plaza2metro_mmt.yml"


@pytest.fixture
def run(capsys, monkeypatch):
    """A function: module and words of the command line -> the printed table's cells by the first of a row."""
    monkeypatch.chdir(REPOSITORY)

    def measure(module, *words: str) -> dict[str, list[str]]:
        parser = argparse.ArgumentParser()
        module.add_arguments(parser)
        module.run(parser.parse_args([*words, "--opts", *OPTIONS]))
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")][2:]
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        return {first: rest for first, *rest in cells}

    return measure


def test_extraction_is_measured_for_each_batch_that_the_images_fill(run):
    files = ["--config-files", RECIPE, "--images", "20", "--repeats", "1"]
    ((name, cells),) = run(extraction, *files, "--batches", "16", "64").items()
    assert name == "osnet x0_25, [64, 32]"
    batch, bare, ours, ratio = map(float, cells)
    assert batch == 16
    assert ratio > 0
    assert min(bare, ours) > 0


def test_the_start_of_an_epoch_is_the_sum_of_its_stages(run):
    table = run(epoch, "--config-file", RECIPE, "--images", "200", "--clusters", "7", "--repeats", "1")
    times = {name: float(cells[0]) for name, cells in table.items()}
    together = times.pop("together")
    assert len(times) == 6
    assert together == pytest.approx(sum(times.values()), abs=0.5)
    assert times["all batches of the epoch drawn"] > 0


def test_memory_of_each_case(run, monkeypatch):
    """In this process; the tensors of two students are more than those of one."""

    def measured(prepare, work, *arguments):
        stages = Stages()
        prepared = prepare(*arguments)
        pairs.append(len(prepared.trainer.raw_model.students))
        checkpointing.append(prepared.trainer.cfg.MODEL.BACKBONE.GRADIENT_CHECKPOINTING)
        result = work(prepared, stages)
        return SimpleNamespace(
            result=result, peak_gib=float(pairs[-1]), added_gib=0.5, seconds={"total": 3.0}
        )

    pairs, checkpointing = [], []
    monkeypatch.setattr(memory, "in_fresh_process", measured)
    table = run(memory, "--config-file", RECIPE, "--classes", "4")
    assert pairs == [1, 2, 2]
    assert checkpointing == [False, False, True]
    assert [cells[2] for cells in table.values()] == ["0.50", "1.00", "1.00"]
    assert {cells[3] for cells in table.values()} == {"1.50"}


def test_variants_are_compared_with_the_first(run):
    wanted = ["float32", "bfloat16", "channels_last", "gradient checkpointing"]
    table = run(variants, "--classes", "4", "--repeats", "1", "--variants", *wanted)
    assert list(table) == wanted
    assert table["float32"][1] == "1.00"
    assert all(float(cells[0]) > 0 for cells in table.values())


def test_the_machine_is_named():
    assert "threads; GPU: " in machine()
