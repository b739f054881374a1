"""Stages in processes: order, side by side, failures, interruptions."""

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from ablation.errors import AblationError
from ablation.jobs import Job
from ablation.runner import run_jobs


@dataclass(frozen=True)
class Script(Job):
    """A job that runs a piece of Python in its folder."""

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-c", self.options[0], str(self.folder)]


FINISH = "import sys, pathlib; pathlib.Path(sys.argv[1], 'done').write_text('')"
SAY_THREADS = "import os; print(os.environ['OMP_NUM_THREADS'])"


@pytest.fixture
def script(tmp_path):
    """A function: name, what it does before it is complete, what it needs -> a job."""

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
    assert run_jobs([third], 2, lambda job: None) == []
    assert all(job.finished for job in (first, second, third))


def test_what_is_needed_runs_first_and_once(script, finished, capsys):
    source = script("source")
    jobs = [script("a", needs=(source,)), script("b", needs=(source,))]
    assert run_jobs(jobs, 1, finished.append) == []
    assert [job.name for job in finished] == ["a", "b"]
    out = capsys.readouterr().out
    started = [line for line in out.splitlines() if line.startswith("[")]
    assert started == ["[1/3] source", "[2/3] a", "[3/3] b"]
    run_jobs([script("c", needs=(source,))], 1, finished.append)
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("[")] == ["[1/1] c"]


def test_a_failure_stops_only_what_needs_it(script, finished):
    broken = script("broken", "import sys; print('the reason'); sys.exit(3)")
    jobs = [script("a", needs=(broken,)), script("b")]
    failures = run_jobs(jobs, 1, finished.append)
    assert [(each.job.name, each.reason) for each in failures] == [
        ("broken", "ended with status 3"),
        ("a", "needs broken, which failed"),
    ]
    assert failures[0].log == "the reason"
    assert [job.name for job in finished] == ["b"]


def test_an_end_without_a_record_is_a_failure(script, finished):
    (failure,) = run_jobs([script("a", ending="")], 1, finished.append)
    assert failure.reason == "ended with status 0"
    assert finished == []


def test_a_stage_whose_result_cannot_be_kept_is_a_failure(script):
    def refuse(job: Job) -> None:
        raise AblationError("of another recipe")

    failures = run_jobs([script("a"), script("b")], 1, refuse)
    assert [(each.job.name, each.reason) for each in failures] == [
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
    jobs = [script("a", wait.format(other="b")), script("b", wait.format(other="a"))]
    assert run_jobs(jobs, 2, finished.append) == []
    assert (tmp_path / "a" / "output.txt").read_text() == "2\n"


def test_the_callers_number_of_threads_is_kept(script, finished, monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert run_jobs([script("a", SAY_THREADS)], 1, finished.append) == []
    assert (tmp_path / "a" / "output.txt").read_text() == "3\n"


def test_waiting_threads_do_not_spin_unless_the_caller_wants_it(script, finished, monkeypatch, tmp_path):
    say = "import os; print(os.environ['OMP_WAIT_POLICY'])"
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert run_jobs([script("a", say)], 1, finished.append) == []
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert run_jobs([script("b", say)], 1, finished.append) == []
    assert (tmp_path / "a" / "output.txt").read_text() == "PASSIVE\n"
    assert (tmp_path / "b" / "output.txt").read_text() == "ACTIVE\n"


def test_jobs_of_a_harness_that_was_killed_stop_and_are_waited_for(script, finished, tmp_path, capsys):
    """The first call dies at once; its job, asked to stop, takes a moment over its checkpoint."""
    body = (
        "import signal, sys, time, pathlib; me = pathlib.Path(sys.argv[1])\n"
        "def stop(*_):\n"
        "    time.sleep(1.5); (me / 'checkpoint').write_text(''); print('stopped'); sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "if not (me / 'checkpoint').exists():\n"
        "    (me / 'here').write_text(''); time.sleep(60)\n"
        "print('goes on')"
    )
    job = script("a", body)
    child = os.fork()
    if not child:
        run_jobs([job], 1, lambda job: None)
        os._exit(0)
    wait_for(tmp_path / "a" / "here")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert run_jobs([job], 1, finished.append) == []
    assert finished == [job]
    assert (tmp_path / "a" / "output.txt").read_text() == "stopped\ngoes on\n"
    assert f"waiting: a: a process works in {tmp_path / 'a'}" in capsys.readouterr().out


def test_what_another_harness_completes_is_taken_from_it(script, finished, tmp_path):
    body = "import sys, time, pathlib; (pathlib.Path(sys.argv[1]) / 'here').write_text(''); time.sleep(1)"
    job = script("a", f"print('once'); {body}")
    child = os.fork()
    if not child:
        run_jobs([job], 1, lambda job: None)
        os._exit(0)
    wait_for(tmp_path / "a" / "here")
    assert run_jobs([job], 1, finished.append) == []
    os.waitpid(child, 0)
    assert finished == [job]
    assert (tmp_path / "a" / "output.txt").read_text() == "once\n"


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


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
        run_jobs([script("a", body), script("b")], 1, finished.append)
    assert (tmp_path / "a" / "stopped").exists()
    assert not (tmp_path / "b").exists()
