"""Stages in processes: order, side by side, failures, interruptions."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from ablation.errors import EvidenceError
from ablation.runner import run_stages
from ablation.stages import Stage


@dataclass(frozen=True)
class Script(Stage):
    """A stage that runs a piece of Python in its folder."""

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-c", self.options[0], str(self.folder)]


FINISH = "import sys, pathlib; pathlib.Path(sys.argv[1], 'done').write_text('')"
SAY_THREADS = "import os; print(os.environ['OMP_NUM_THREADS'])"


@pytest.fixture
def script(tmp_path):
    """A function: name, what it does before it is complete, what it needs -> a stage."""

    def make(name: str, body: str = "", needs: tuple = (), ending: str = FINISH) -> Script:
        return Script(name, tmp_path / name, "done", Path(), (f"{body}\n{ending}",), needs)

    return make


@pytest.fixture
def finished():
    return []


def test_what_is_needed_by_what_is_needed_runs_first(script, tmp_path):
    first = script("first")
    second = script("second", needs=(first,))
    third = script("third", needs=(second,))
    assert run_stages([third], 2, lambda stage: None) == []
    assert all(stage.finished for stage in (first, second, third))


def test_what_is_needed_runs_first_and_once(script, finished, capsys):
    source = script("source")
    stages = [script("a", needs=(source,)), script("b", needs=(source,))]
    assert run_stages(stages, 1, finished.append) == []
    assert [stage.name for stage in finished] == ["a", "b"]
    out = capsys.readouterr().out
    started = [line for line in out.splitlines() if line.startswith("[")]
    assert started == ["[1/3] source", "[2/3] a", "[3/3] b"]
    run_stages([script("c", needs=(source,))], 1, finished.append)
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("[")] == ["[1/1] c"]


def test_a_failure_stops_only_what_needs_it(script, finished):
    broken = script("broken", "import sys; print('the reason'); sys.exit(3)")
    stages = [script("a", needs=(broken,)), script("b")]
    failures = run_stages(stages, 1, finished.append)
    assert [(each.stage.name, each.reason) for each in failures] == [
        ("broken", "ended with status 3"),
        ("a", "needs broken, which failed"),
    ]
    assert failures[0].log == "the reason"
    assert [stage.name for stage in finished] == ["b"]


def test_an_end_without_a_record_is_a_failure(script, finished):
    (failure,) = run_stages([script("a", ending="")], 1, finished.append)
    assert failure.reason == "ended with status 0"
    assert finished == []


def test_a_stage_whose_result_cannot_be_kept_is_a_failure(script):
    def refuse(stage: Stage) -> None:
        raise EvidenceError("of another recipe")

    failures = run_stages([script("a"), script("b")], 1, refuse)
    assert [(each.stage.name, each.reason) for each in failures] == [
        ("a", "of another recipe"),
        ("b", "of another recipe"),
    ]


def test_jobs_run_side_by_side_and_share_the_cores(script, finished, monkeypatch, tmp_path):
    """Each waits for the other's file: one after another they would never end."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})
    wait = (
        "import sys, time, pathlib; me = pathlib.Path(sys.argv[1]); (me / 'here').write_text('')\n"
        "while not (me.parent / '{other}' / 'here').exists(): time.sleep(0.01)\n" + SAY_THREADS
    )
    stages = [script("a", wait.format(other="b")), script("b", wait.format(other="a"))]
    assert run_stages(stages, 2, finished.append) == []
    assert (tmp_path / "a" / "output.txt").read_text() == "2\n"


def test_the_callers_number_of_threads_is_kept(script, finished, monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert run_stages([script("a", SAY_THREADS)], 1, finished.append) == []
    assert (tmp_path / "a" / "output.txt").read_text() == "3\n"


def test_an_interruption_asks_running_stages_to_stop(script, finished, monkeypatch, tmp_path):
    body = (
        "import signal, sys, time, pathlib; me = pathlib.Path(sys.argv[1])\n"
        "signal.signal(signal.SIGTERM, lambda *_: ((me / 'stopped').write_text(''), sys.exit(143)))\n"
        "(me / 'here').write_text('')\n"
        "time.sleep(60)"
    )
    sleep = time.sleep

    def interrupted(seconds: float) -> None:
        if (tmp_path / "a" / "here").exists():
            monkeypatch.undo()
            raise KeyboardInterrupt
        sleep(seconds)

    monkeypatch.setattr("time.sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_stages([script("a", body), script("b")], 1, finished.append)
    assert (tmp_path / "a" / "stopped").exists()
    assert not (tmp_path / "b").exists()
