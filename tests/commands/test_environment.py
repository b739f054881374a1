"""Threads wait asleep and keep to the cores they have, unless the user says otherwise."""

import pytest

from mmt_plugin.commands import environment
from mmt_plugin.commands.environment import cores, prepare_threads, quota


@pytest.fixture
def machine(monkeypatch):
    """A function: cores of the process, and the share that its control group allows."""

    def have(affinity: int, share: float | None) -> None:
        monkeypatch.setattr(environment, "affinity", lambda: affinity)
        monkeypatch.setattr(environment, "quota", lambda: share)

    return have


@pytest.mark.parametrize(
    ("given", "share", "processes", "wanted"),
    [
        ({}, None, 1, {"OMP_WAIT_POLICY": "PASSIVE"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, None, 1, {"OMP_WAIT_POLICY": "ACTIVE"}),
        ({"GOMP_SPINCOUNT": "5"}, None, 1, {"GOMP_SPINCOUNT": "5"}),
        ({}, 2.5, 1, {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "3"}),
        ({}, 4.0, 2, {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "2"}),
        ({}, 0.5, 4, {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"}),
        ({"OMP_NUM_THREADS": "7"}, 2.0, 1, {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "7"}),
        ({}, 64.0, 1, {"OMP_WAIT_POLICY": "PASSIVE"}),
    ],
)
def test_what_is_set(machine, given, share, processes, wanted):
    machine(8, share)
    prepare_threads(given, processes)
    assert given == wanted


@pytest.mark.parametrize(("share", "wanted"), [(None, 8), (2.5, 3), (0.2, 1), (64.0, 8)])
def test_cores(machine, share, wanted):
    machine(8, share)
    assert cores() == wanted


def test_shares_of_both_versions_of_control_groups(tmp_path):
    assert quota(tmp_path) is None
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert quota(tmp_path) is None
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("150000\n")
    assert quota(tmp_path) == 1.5
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert quota(tmp_path) is None
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert quota(tmp_path) == 0.5


def test_every_command_prepares_them_before_it_runs(command, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "mmt_plugin.commands.line.prepare_threads", lambda _, processes: seen.append(processes)
    )
    monkeypatch.setattr("mmt_plugin.commands.job.start", lambda _: seen.append("started"))
    assert command("train", "--config-file", "synthetic/plaza2metro_mmt", "--num-gpus", 3).status == 0
    assert seen == [3, "started"]
