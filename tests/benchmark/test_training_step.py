"""The measurement of a step: it adds up, and sees what grows with what."""

import argparse

import pytest
from benchmark import training_step
from tiny import REPOSITORY, TINY, as_options

OPTIONS = [str(word) for word in as_options({**TINY, "MMT.MOCO.QUEUE_SIZE": 32})]


def test_table_of_mmt_and_mmt_plus(capsys, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    parser = argparse.ArgumentParser()
    training_step.add_arguments(parser)
    training_step.run(parser.parse_args(["--classes", "5", "--repeats", "1", "--opts", *OPTIONS]))
    table = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    lines = {cells[1].strip(): cells[2:-1] for cells in table}
    assert [text.strip() for text in lines["recipe"]] == list(training_step.DEFAULT_CONFIGS)
    values = {name: [float(cell) for cell in cells] for name, cells in lines.items() if "," in name}
    parts = ("students forward and backward, ms", "teachers forward, ms", "optimiser, ms")
    for k in range(2):
        assert values["sum of parts, ms"][k] == pytest.approx(sum(values[p][k] for p in parts), abs=0.2)
        expected = 100 * (values["step, ms"][k] / values["sum of parts, ms"][k] - 1)
        assert values["overhead, %"][k] == pytest.approx(expected, abs=1.5)
    assert [int(float(cell)) for cell in lines["live classes"]] == [5, 10]
    assert [int(float(cell)) for cell in lines["images of a batch"]] == [8, 16]


def test_classifier_memory_follows_live_classes_and_no_queue_is_kept(tiny_config):
    small, large = (
        training_step.measure(tiny_config("plaza2metro_mmt_plus", MMT__MOCO__QUEUE_SIZE=4000), classes, 1)
        for classes in (5, 50)
    )
    name = "classifier of a network, MB"
    assert large[name] == pytest.approx(10 * small[name])
    assert large["kept for the backward pass by a MoCo loss, MB"] < large["queues, MB"] / 20
