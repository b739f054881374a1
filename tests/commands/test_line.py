"""The command line that all verbs share: where words may stand, what is printed, and the exit status."""

import argparse
import io
import sys

import pytest
from tiny import REPOSITORY

from mmt_plugin.commands import VERBS, line
from mmt_plugin.commands.export import FORMATS as EXPORTS
from mmt_plugin.commands.leaderboard import FORMATS as TABLES
from mmt_plugin.commands.line import parse, parser_of, script_of
from mmt_plugin.engine.resume.stopping import Stopped
from mmt_plugin.errors import UsageError, UserError
from mmt_plugin.inference import exports
from mmt_plugin.report import result_tables

OPTIONS = ["--config-file", "a.yml", "--resume", "--num-gpus", "2"]
KEYS = ["SOLVER.MAX_EPOCH", "-1", "DATASETS.TARGETS", "('a',)", "SEED", "2"]


@pytest.mark.fault
def test_a_name_that_the_terminal_cannot_show_is_told_all_the_same(monkeypatch, observe):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setattr(line.module_of("report"), "run", lambda arguments: print(arguments.run))
    assert line.main(["report", "run_é"]) == 0
    assert terminal.buffer.getvalue() == b"run_\\xe9\n"
    observe("a name that the terminal's encoding lacks", "told in escapes")


@pytest.mark.parametrize(
    "words",
    [
        [*OPTIONS, *KEYS],
        [*KEYS, *OPTIONS],
        [*OPTIONS[:2], *KEYS[:2], *OPTIONS[2:3], *KEYS[2:], *OPTIONS[3:]],
        ["--config-file=a.yml", *KEYS, "--num-gpus=2", "--resume"],
    ],
)
def test_options_and_keys_stand_in_any_order(words):
    arguments = parse(parser_of("train", "mmt train"), words)
    assert (arguments.config_file, arguments.resume, arguments.num_gpus) == ("a.yml", True, 2)
    assert arguments.opts == KEYS
    assert not arguments.eval_only


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*OPTIONS, "SEED"], "the configuration key SEED has no value"),
        ([*OPTIONS, "SEED", "--eval-only"], "the configuration key SEED has no value"),
        ([*OPTIONS, "SEED", "1", "2"], "'2' stands where a configuration key is expected"),
        ([*OPTIONS, "seed", "1"], "'seed' stands where a configuration key is expected"),
        (["--config-fil", "a.yml"], "there is no option --config-fil; did you mean --config-file?"),
    ],
)
def test_pairs_that_do_not_add_up(words, message):
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        parse(parser_of("train", "mmt train"), words)


def test_every_verb_has_a_script_and_every_script_a_verb():
    scripts = {path.name for path in (REPOSITORY / "tools").glob("*.py")}
    studies = {"association.py", "gpu_check.py", "soak.py", "through_trackers.py"}
    assert scripts - studies == {script_of(verb) for verb in VERBS}
    for verb in VERBS:
        assert f'tool("{verb}")' in (REPOSITORY / "tools" / script_of(verb)).read_text()


def test_names_that_the_parsers_hold_are_those_of_the_code():
    assert set(EXPORTS) == set(exports.FORMATS)
    assert set(TABLES) == set(result_tables.FORMATS)


def test_mmt_alone_shows_its_verbs(command, capsys):
    assert line.main([]) == 2
    ended = command("--help")
    assert ended.status == 0
    assert all(f"\n    {verb} " in ended.out for verb in VERBS)
    assert command("--version").out[0].isdigit()
    wrong = command("trian")
    assert wrong.status == 2
    assert "trian" in wrong.err


def test_help_names_the_command_that_was_called(command):
    ended = command("train", "--help")
    assert "    mmt train --config-file" in ended.out
    assert "mmt doctor says" in ended.out
    assert "tools/" not in ended.out


class Verb:
    """A verb whose `run` does what a test wants."""

    __doc__ = "A verb."

    def __init__(self, error: BaseException):
        self.error = error

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--nothing")

    def run(self, _: argparse.Namespace) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UserError("K is 1; choose 2"), 2, "error: K is 1; choose 2\n"),
        (
            FileNotFoundError(2, "No such file or directory", "a b"),
            2,
            "error: 'a b': No such file or directory\n",
        ),
        (PermissionError(13, "Permission denied", "/x"), 2, "error: '/x': Permission denied\n"),
        (OSError(28, "No space left on device", "m.pth"), 2, "error: 'm.pth': No space left on device\n"),
        (ModuleNotFoundError("No module named 'onnx'", name="onnx"), 2, "error: No module named 'onnx'\n"),
        (Stopped(15), 143, "stopped by SIGTERM; continue with --resume\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_what_ends_with_one_sentence(command, monkeypatch, error, status, message):
    monkeypatch.setattr(line, "module_of", lambda _: Verb(error))
    ended = command("train")
    assert (ended.status, ended.err) == (status, message)


@pytest.mark.parametrize(
    "error", [ValueError("a bug"), KeyError("key"), ImportError("cannot import name 'x'")]
)
def test_a_fault_of_the_program_is_not_explained_away(command, monkeypatch, error):
    monkeypatch.setattr(line, "module_of", lambda _: Verb(error))
    with pytest.raises(type(error)):
        command("train")


def test_debug_shows_where(command, monkeypatch):
    monkeypatch.setattr(line, "module_of", lambda _: Verb(UserError("here")))
    with pytest.raises(UserError, match="here"):
        command("train", "--debug")


def test_a_reader_that_has_seen_enough(monkeypatch):
    monkeypatch.setattr(line, "module_of", lambda _: Verb(BrokenPipeError()))
    closed = []
    monkeypatch.setattr("os.dup2", lambda *_: closed.append(True))
    monkeypatch.setattr(sys, "stdout", sys.__stdout__)
    assert line.call("train", [], "mmt train") == 0
    assert closed
