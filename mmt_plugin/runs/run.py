"""The folder of a run, opened: what was trained, what came out, and which model is to be used."""

from __future__ import annotations

import os
import re
from functools import cached_property
from pathlib import Path

from fastreid.config import CfgNode, get_cfg

from mmt_plugin.config import add_mmt_config, load_config
from mmt_plugin.config.yaml_file import parse_mapping
from mmt_plugin.errors import UserError
from mmt_plugin.system.files import DamagedFileError
from mmt_plugin.system.json_files import read_json

from .metrics import Scalars, read_scalars
from .run_files import BEST_MODEL, CONFIG, EVALUATION, FINAL_MODEL, LOG, RESULTS, SLIM_MODEL


class RunError(UserError, RuntimeError):
    """A folder that holds no run, or not what is asked of it; the message names the folder and the file."""


class Run:
    """What a training has left in its OUTPUT_DIR, or an evaluation in its own folder.

    Files are read when they are asked for. A run of an earlier version opens as well: keys that its
    configuration lacks have their defaults.

    Attributes:
        name: the path it was asked for by.
        folder: of the run.
    """

    def __init__(self, path: str | os.PathLike):
        """
        Args:
            path: the folder, or a checkpoint in it, which `weights` then is.

        Raises:
            RunError: there is no run.
        """
        self.name = os.fspath(path)
        self._checkpoint = Path(path) if self.name.endswith(".pth") else None
        self.folder = Path(path).parent if self._checkpoint else Path(path)
        if not is_run(self.folder) and not self.is_evaluation:
            raise RunError(f"{self.name} is no run: there is no {self.folder / CONFIG}")

    @property
    def is_evaluation(self) -> bool:
        """Whether nothing was trained here: the folder holds an evaluation alone."""
        return not is_run(self.folder) and (self.folder / EVALUATION).is_file()

    @property
    def is_complete(self) -> bool:
        return (self.folder / RESULTS).is_file()

    @property
    def config_text(self) -> str:
        """The configuration as YAML: the training's, or without one that of the evaluation."""
        return self._evaluated_config() if self.is_evaluation else (self.folder / CONFIG).read_text()

    @cached_property
    def cfg(self) -> CfgNode:
        """The configuration, to be cloned before it is changed.

        Raises:
            ConfigError: it is not one of this version.
        """
        return _parsed(self._evaluated_config()) if self.is_evaluation else load_config(self.folder / CONFIG)

    @cached_property
    def record_cfg(self) -> CfgNode:
        """The configuration that `record` was made with: an evaluation's own, where that is the record."""
        own = not self.is_complete and "config" in self.evaluation
        return _parsed(self.evaluation["config"]) if own else self.cfg

    def _evaluated_config(self) -> str:
        if "config" not in self.evaluation:
            raise RunError(f"{self.folder / EVALUATION} tells no configuration, and there is no {CONFIG}")
        return self.evaluation["config"]

    @cached_property
    def results(self) -> dict:
        """What the training found, as its results.json tells; empty while it is not complete.

        Raises:
            RunError: the file is damaged.
        """
        return self._read(RESULTS) if self.is_complete else {}

    @cached_property
    def evaluation(self) -> dict:
        """What the last evaluation without a training recorded; empty where there was none."""
        return self._read(EVALUATION) if (self.folder / EVALUATION).is_file() else {}

    @property
    def record(self) -> dict:
        """What the training found, or else an evaluation.

        Raises:
            RunError: there is neither, or it is damaged.
        """
        found = self.results or self.evaluation
        if not found:
            raise RunError(f"{self.name}: there is no {RESULTS}; the run is not finished")
        return found

    @property
    def weights(self) -> Path:
        """The checkpoint that was asked for, else the one that MMT.SELECTION.RULE has chosen, or of an export
        its only one.

        Raises:
            RunError: it is not there.
        """
        path = self._checkpoint or self.folder / chosen_model(self.cfg)
        if not path.is_file() and (slim := self.folder / SLIM_MODEL).is_file():
            path = slim
        if not path.is_file():
            raise RunError(
                f"{self.name}: there is no {path.name}; the run is not finished: add --resume to its "
                "command, or name one of its checkpoints in place of the folder"
            )
        return path

    @cached_property
    def scalars(self) -> Scalars:
        """What was recorded while it trained."""
        return read_scalars(self.folder)

    @property
    def torch_version(self) -> str | None:
        """As the log tells it; None without a log."""
        log = self.folder / LOG
        text = log.read_text(errors="replace") if log.is_file() else ""
        found = re.search(r"^PyTorch +(\S+)", text, re.MULTILINE)
        return found and found.group(1)

    @cached_property
    def sources(self) -> list[Run]:
        """The source models it started from, in the order of the pairs; those whose folder is gone are left
        out. A folder that was moved as a whole still holds its own source models.
        """
        found = []
        for path in map(Path, self.cfg.MMT.WEIGHTS):
            inside = self.folder / path.parent.name
            folder = next((each for each in (inside, path.parent) if is_run(each)), None)
            if folder is not None:
                found.append(Run(folder))
        return found

    def _read(self, name: str) -> dict:
        path = self.folder / name
        try:
            content = read_json(path)
        except DamagedFileError as error:
            raise RunError(str(error)) from error
        if not isinstance(content, dict):
            raise RunError(f"{path} is damaged: it holds a {type(content).__name__}, not a record")
        return content


def is_run(folder: str | os.PathLike) -> bool:
    """Whether a training has been accepted in a folder."""
    return Path(folder, CONFIG).is_file()


def chosen_model(cfg: CfgNode) -> str:
    """File name of the model that MMT.SELECTION.RULE chooses."""
    return FINAL_MODEL if cfg.MMT.SELECTION.RULE == "last" else BEST_MODEL


def _parsed(text: str) -> CfgNode:
    """A configuration that this plugin has dumped; what it lacks has its default."""
    cfg = get_cfg()
    add_mmt_config(cfg)
    cfg.merge_from_other_cfg(CfgNode(parse_mapping(text, EVALUATION)))
    return cfg
