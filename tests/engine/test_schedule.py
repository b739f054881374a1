"""Learning rates: as published, whatever the epoch's length, and the same for a run that was resumed."""

import re

import pytest
import torch
from tiny import REPOSITORY

from mmt_plugin.config import load_config
from mmt_plugin.engine.schedule import Schedule
from mmt_plugin.runs.recipe import in_one_form

PUBLISHED = {"SOLVER__WARMUP_ITERS": 0, "SOLVER__WARMUP_EPOCHS": 10.0, "SOLVER__WARMUP_FACTOR": 0.01}
MMT = {**PUBLISHED, "SOLVER__WARMUP_STEP": "before_epoch", "SOLVER__STEPS": [30, 60], "SOLVER__MAX_EPOCH": 80}
VISDA = {**MMT, "SOLVER__WARMUP_STEP": "after_epoch", "SOLVER__STEPS": [31, 61]}
# The means of an epoch's rates over ten epochs: .109 + .208 + ... + 1, .01 + .109 + ... + .901.
PUBLISHED_SUMS = {"mmt": 5.545, "visda": 4.555, "host": 5.045}


@pytest.fixture
def schedule(tiny_config):
    def make(iterations=4, **keys) -> Schedule:
        cfg = tiny_config(SOLVER__BASE_LR=1.0, **keys)
        return Schedule(cfg, torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0), iterations)

    return make


def rates(schedule: Schedule, first: int, last: int, step: int = 0) -> list[list[float]]:
    """Those of the iterations of some epochs, from a step of the first one on."""
    found = []
    for epoch in range(first, last):
        steps = range(step if epoch == first else 0, schedule.iters_per_epoch)
        found.append([])
        for number in steps:
            found[-1].append(schedule.rate)
            schedule.after_step(epoch * schedule.iters_per_epoch + number)
        schedule.after_epoch(epoch)
    return found


def test_the_mmt_code_warms_up_before_each_epoch(schedule):
    found = rates(schedule(**MMT), 0, 80)
    assert all(len(set(epoch)) == 1 for epoch in found)
    factors = [epoch[0] for epoch in found]
    assert factors[:10] == pytest.approx([0.109, 0.208, 0.307, 0.406, 0.505, 0.604, 0.703, 0.802, 0.901, 1.0])
    assert factors[38:40] == pytest.approx([1, 0.1])
    assert factors[68:70] == pytest.approx([0.1, 0.01])


def test_the_visda_code_warms_up_after_each_epoch(schedule):
    factors = [epoch[0] for epoch in rates(schedule(**VISDA), 0, 80)]
    assert factors[:3] == pytest.approx([0.01, 0.109, 0.208])
    assert factors[9:11] == pytest.approx([0.901, 1.0])
    assert factors[39:41] == pytest.approx([1, 0.1])
    assert factors[69:71] == pytest.approx([0.1, 0.01])


def test_the_rates_of_a_warm_up_sum_to_the_published_ones(schedule):
    """fastreid's warm-up, which rises with every iteration, is 9 % short of the MMT code's and 11 % above the
    VisDA-2020 code's.
    """
    keys = {"mmt": MMT, "visda": VISDA, "host": PUBLISHED}
    sums = {name: sum(map(sum, rates(schedule(100, **each), 0, 10))) / 100 for name, each in keys.items()}
    assert sums == {name: pytest.approx(value, 2e-3) for name, value in PUBLISHED_SUMS.items()}


@pytest.mark.parametrize(
    "keys",
    [
        *(MMT, VISDA, {**PUBLISHED, "SOLVER__STEPS": [30, 60]}),
        # A step is counted from the end of the warm-up, which may lie within an epoch.
        *({**MMT, "SOLVER__STEPS": [1, 2]}, {**PUBLISHED, "SOLVER__STEPS": [3]}),
        {**PUBLISHED, "SOLVER__WARMUP_EPOCHS": 0.5, "SOLVER__STEPS": [1, 3]},
    ],
)
def test_the_length_of_an_epoch_moves_nothing(schedule, keys):
    short, long = (rates(schedule(iterations, **keys), 0, 80) for iterations in (2, 10))
    assert [epoch[0] for epoch in short] == pytest.approx([epoch[0] for epoch in long])


@pytest.mark.parametrize("sched", ["MultiStepLR", "CosineAnnealingLR"])
@pytest.mark.parametrize(
    "warmup",
    [
        {"SOLVER__WARMUP_ITERS": 6},
        {"SOLVER__WARMUP_ITERS": 6, "SOLVER__WARMUP_METHOD": "exp", "SOLVER__DELAY_EPOCHS": 4},
        {**PUBLISHED, "SOLVER__WARMUP_EPOCHS": 3.0, "SOLVER__WARMUP_STEP": "before_epoch"},
        {**PUBLISHED, "SOLVER__WARMUP_EPOCHS": 3.0, "SOLVER__WARMUP_STEP": "after_epoch"},
    ],
)
def test_a_longer_run_that_is_resumed_has_the_rates_of_the_longer_run(schedule, sched, warmup):
    keys = {"SOLVER__SCHED": sched, "SOLVER__STEPS": [2, 5], "SOLVER__MAX_EPOCH": 12, **warmup}
    whole = rates(schedule(**keys), 0, 12)
    for epoch, step in ((1, 0), (1, 3), (7, 0), (7, 2)):
        resumed = schedule(**keys)
        resumed.go_to(epoch, step)
        assert rates(resumed, epoch, 12, step) == [whole[epoch][step:], *whole[epoch + 1 :]]


def test_a_warm_up_is_the_same_recipe_in_epochs_and_in_iterations():
    epochs = {"SOLVER.WARMUP_EPOCHS": 0.5, "SOLVER.WARMUP_ITERS": 0, "SOLVER.ITERS_PER_EPOCH": 100}
    iterations = {"SOLVER.WARMUP_EPOCHS": 0.0, "SOLVER.WARMUP_ITERS": 50, "SOLVER.ITERS_PER_EPOCH": 100}
    assert in_one_form(epochs) == in_one_form(iterations)
    assert in_one_form({**epochs, "SOLVER.WARMUP_EPOCHS": 1.0}) != in_one_form(iterations)


@pytest.mark.parametrize(
    ("recipe", "first", "falls"),
    [("source/market2duke", [0.109, 0.208], 39), ("source/personx2visda20_resnet50_ibn", [0.01, 0.109], 40)],
)
def test_the_published_recipes_have_the_published_rates(recipe, first, falls):
    cfg = load_config(REPOSITORY / "configs" / f"{recipe}.yml")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=cfg.SOLVER.BASE_LR)
    factors = [epoch[0] / 3.5e-4 for epoch in rates(Schedule(cfg, optimizer, 2), 0, 80)]
    assert factors[:2] == pytest.approx(first)
    for epoch in (falls, falls + 30):
        assert factors[epoch] == pytest.approx(factors[epoch - 1] / 10)


def test_no_recipe_states_its_warm_up_in_iterations():
    for file in (REPOSITORY / "configs").rglob("*.yml"):
        assert set(re.findall(r"^ +WARMUP_ITERS: (\d+)", file.read_text(), re.MULTILINE)) <= {"0"}, file
