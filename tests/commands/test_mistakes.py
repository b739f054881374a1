"""A catalogue of mistakes: each is named, ends with status 2, and nothing has been trained by then."""

import re
from pathlib import Path

import pytest
from tiny import REPOSITORY, TINY, as_options

from mmt_plugin.commands import VERBS
from mmt_plugin.engine.trainer import MMTTrainer
from mmt_plugin.sda.translation_trainer import SDATrainer

RECIPE = "synthetic/plaza2metro_mmt.yml"
SDA_RECIPE = "sda/plaza2metro.yml"

# verb, its words ("{}" is a folder with a few files), what the message has to say.
OF_THE_COMMAND_LINE = [
    ("train", [], "required: --config-file"),
    ("train", ["--config-file", "nowhere.yml"], "there is no config file 'nowhere.yml'"),
    ("train", ["--config-file", "mmt/market2duk.yml"], "did you mean mmt/market2duke.yml"),
    ("train", ["--config-file", RECIPE, "--resum"], "no option --resum; did you mean --resume?"),
    ("train", ["--config-file", RECIPE, "SEED"], "the configuration key SEED has no value"),
    ("train", ["--config-file", RECIPE, "SEED", "1", "--resume", "OUTPUT_DIR"], "OUTPUT_DIR has no value"),
    ("train", ["--config-file", RECIPE, "--num-gpus", "two"], "invalid int value: 'two'"),
    ("train", ["--config-file", RECIPE, "--num-machines", "2", "--dist-url", "auto"], "common address"),
    ("train", ["--config-file", RECIPE, "--import", "nowhere.py"], "--import nowhere.py: there is no such"),
    ("train", ["--config-file", ""], "there is an empty word, behind --config-file"),
    ("train", ["--config-file", RECIPE, "--import", "datasets"], "a folder without code"),
    ("train", ["--config-file", RECIPE, "--num-gpus", "0"], "--num-gpus is 0; it must be at least 1"),
    ("train", ["--config-file", RECIPE, "--machine-rank", "1"], "--machine-rank is 1, of 1 machines"),
    ("train", ["--config-file", RECIPE, "--dist-url", "here"], "write tcp://host:port"),
    ("train", ["--config-file", RECIPE, "--dist-url", "tcp://a:99999"], "write tcp://host:port"),
    (
        "train",
        ["--config-file", RECIPE, "--num-gpus", "2", "--dist-url", "tcp://a.invalid:1"],
        "no such host",
    ),
    ("translate", ["--config-file", RECIPE], "is no recipe of SDA"),
    ("translate", ["--config-file", SDA_RECIPE, "--quality", "0"], "--quality is 0"),
    ("evaluate", [], "give either runs to evaluate"),
    ("evaluate", ["{}/nowhere"], "nowhere is no run"),
    ("evaluate", ["{}", "--opts", "SEED"], "--opts takes KEY VALUE pairs"),
    ("evaluate", ["--submission", "{}/none.txt"], "--submission needs --query-index"),
    ("evaluate", ["{}", "--query-index", "{}/none.txt"], "--query-index is of a --submission"),
    ("evaluate", ["{}", "--output", ""], "an empty word, behind --output"),
    (
        "evaluate",
        [
            "--submission",
            "{0}/binary.yml",
            "--query-index",
            "{0}/binary.yml",
            "--gallery-index",
            "{0}/binary.yml",
        ],
        "binary.yml is no text file",
    ),
    ("explore-labels", [], "required: RUN_OR_WEIGHTS"),
    ("explore-labels", ["a.pth", "--target", "folder:{}"], "a.pth is no run, so nothing tells its network"),
    ("crop-tracks", [], "required"),
    ("export", ["{}"], "name a --format"),
    ("export", ["{}", "--format", "onx"], "invalid choice: 'onx'"),
    ("export", ["{}/nowhere", "--format", "onnx"], "nowhere' does not exist"),
    ("export", ["{}", "--format", "onnx"], r"holds no config\.yaml"),
    ("report", [], "required: run"),
    ("report", ["{}/nowhere"], "nowhere"),
    ("leaderboard", ["{}"], "is no run"),
    ("leaderboard", ["{}", "--format", "word"], "invalid choice: 'word'"),
    ("strip-labels", ["Market1502", "{}/crops"], "Market1502"),
    ("strip-labels", ["Market1501", "{}/crops"], "FASTREID_DATASETS"),
    (
        "strip-labels",
        ["SynthMetro", "{}/empty.yml"],
        "empty.yml', where nothing can be written: it is a file",
    ),
    ("configs", ["mtm"], "there is no folder 'mtm'"),
    ("configs", [".."], r"there is no folder '\.\.'"),
    ("doctor", ["now"], "unrecognized arguments: now"),
]
# Keys of a training, and what the message has to say.
OF_KEYS = [
    (["DATASETS.TARGETS", "('SynthMetr',)"], "SynthMetr"),
    (["DATASETS.TARGETS", "('folder:{}/none',)"], "there is no folder '.*none'"),
    (["DATASETS.TARGETS", "()"], "DATASETS.TARGETS is empty"),
    (["DATASETS.NAMES", "('Nowhere',)"], "Nowhere"),
    (["DATASETS.TESTS", "('Market1501',)"], "FASTREID_DATASETS"),
    (["DATASETS.TESTS", "('folder:{}',)"], "DATASETS.TESTS"),
    (["SOLVER.OPT", "Adamm"], "SOLVER.OPT is 'Adamm'"),
    (["SOLVER.SCHED", "Cosine"], "SOLVER.SCHED is 'Cosine'"),
    (["SOLVER.MAX_EPOCH", "-1"], "SOLVER.MAX_EPOCH is -1"),
    (["SOLVER.BASE_LR", "fast"], "SOLVER.BASE_LR fast"),
    (["SOLVER.BASE_LRR", "1"], "there is no key SOLVER.BASE_LRR; did you mean SOLVER.BASE_LR?"),
    (["MMT.SOURCE.CONFIG_FILE", "none.yml"], "MMT.SOURCE.CONFIG_FILE is 'none.yml'"),
    (["MMT.SOURCE.OPTS", "['SOLVER.OPT', 'Adamm']"], "SOLVER.OPT is 'Adamm'"),
    (["MMT.SOURCE.OPTS", "['SOLVER.MAX_EPOCHS', 2]"], "MMT.SOURCE.OPTS, .*no key SOLVER.MAX_EPOCHS"),
    (["MMT.SOURCE.OPTS", "['SEED']"], "MMT.SOURCE.OPTS: 1 words are no KEY VALUE pairs"),
    (["MMT.WEIGHTS", "('{}/a.pth', '{}/b.pth')"], r"checkpoint '.*a\.pth' does not exist"),
    (
        ["MODEL.BACKBONE.PRETRAIN", "True", "MODEL.BACKBONE.PRETRAIN_PATH", "{}/w.pth"],
        r"checkpoint '.*w\.pth' does not exist \(MODEL.BACKBONE.PRETRAIN_PATH\)",
    ),
    (["MODEL.META_ARCHITECTURE", "MutualMeanTeachin"], "did you mean MutualMeanTeaching"),
    (["MODEL.BACKBONE.NAME", "build_resnet"], "MODEL.BACKBONE.NAME is 'build_resnet'"),
    (["OUTPUT_DIR", "{}/empty.yml"], r"OUTPUT_DIR is '.*empty\.yml', .*: it is a file"),
    (["OUTPUT_DIR", ""], "OUTPUT_DIR is empty"),
    (["SEED", "-5"], "SEED is -5"),
    (["SEED", "a"], "SEED takes a whole number, but was given a in place of 1"),
    (["DATASETS.TARGETS", "SynthMetro"], r"takes a tuple, such as \('a', 'b'\), or \('a',\) with a comma"),
    (["DATASETS.TARGETS", "('SynthMetro', 3)"], "DATASETS.TARGETS has 3; it takes names"),
    (["DATASETS.TARGETS", "('SynthMetro', 'SynthMetro')"], "names SynthMetro more than once"),
    (["MMT.WEIGHTS", "(1, 2)"], "MMT.WEIGHTS has 1, 2; it takes paths"),
    (["MMT.SOURCE.SEEDS", "(-1, 2)"], "MMT.SOURCE.SEEDS has -1; it takes whole numbers"),
    (["INPUT.SIZE_TEST", "(-1, 3)"], "INPUT.SIZE_TEST has -1"),
    (["MODEL.PIXEL_STD", "[0.0, 1.0, 1.0]"], "MODEL.PIXEL_STD has 0.0"),
    (["MODEL.PIXEL_MEAN", "[1.0]"], r"have \(1, 3\) numbers"),
    (["MODEL.DEVICE", "gpu"], "MODEL.DEVICE is 'gpu', which is no device"),
    (["MODEL.DEVICE", "cuda:99"], "MODEL.DEVICE is 'cuda:99', but torch finds"),
    (["DATALOADER.NUM_WORKERS", "-1"], "DATALOADER.NUM_WORKERS is -1"),
    (["TEST.IMS_PER_BATCH", "0"], "TEST.IMS_PER_BATCH is 0"),
    (["IMPORTS", "('a',)"], "IMPORTS is a record"),
]
# What a config file holds.
OF_FILES = {
    "empty": ("", "is empty"),
    "comment": ("# later", "is empty"),
    "list": ("- SEED", "holds a list"),
    "syntax": ("SOLVER: [1, 2\nSEED: 3", "is no recipe: .*line 2"),
    "tab": ("SOLVER:\n\tMAX_EPOCH: 3", "is no recipe: .*line 2"),
    "tag": ("SEED: !!python/object/apply:os.system ['touch pwned']", "is no recipe: .*python/object"),
    "binary": (b"\xff\xfe\x00S", "is no text file"),
    "twice": ("SEED: 1\nSEED: 2", "the key SEED stands twice, again in line 2"),
    "number": ("1: 2", "the key 1 in line 1 is no name"),
    "node": ("SOLVER: 3", "SOLVER is a node of keys, such as SOLVER.\\w+, but was given the value 3"),
    "value": ("_BASE_: value_base.yml\nSEED: {A: 1}", "SEED is a node of keys, but in its _BASE_ a value"),
    "loop": ("_BASE_: loop.yml", "is its own _BASE_"),
    "lost": ("_BASE_: nowhere.yml", "there is no recipe '.*nowhere.yml'"),
    "bases": ("_BASE_: [a.yml, b.yml]", "must be the path of one recipe"),
    "deep": ("SEED: " + "[" * 5000, "is no recipe"),
    "large": ("# " + "x" * (1 << 18), "is larger than 256 kB"),
    "bomb": (
        "a0: &a0 {k: 1}\n"
        + "".join(f"a{n}: &a{n}\n  <<: [{', '.join(3 * [f'*a{n - 1}'])}]\n" for n in range(1, 40)),
        "more than 20 aliases",
    ),
}


@pytest.fixture
def folder(tmp_path, monkeypatch, datasets_root):
    """A folder to call from, in which nothing can be trained."""
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "datasets"))
    monkeypatch.setattr("fastreid.data.build._root", str(tmp_path / "datasets"))
    monkeypatch.chdir(tmp_path)
    for name, (content, _) in OF_FILES.items():
        path = tmp_path / f"{name}.yml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "value_base.yml").write_text("SEED: 1")

    def train(*_: object) -> None:
        raise AssertionError("a trainer was built before the mistake was noticed")

    monkeypatch.setattr(MMTTrainer, "__init__", train)
    monkeypatch.setattr(SDATrainer, "__init__", train)
    return tmp_path


def check(ended, message: str, folder: Path) -> None:
    assert ended.status == 2, ended
    last = ended.err.strip().splitlines()[-1]
    assert re.search(message, last), ended.err
    assert re.search("error: ", last)
    assert not (folder / "pwned").exists()
    assert not list(folder.rglob("*.pth"))


@pytest.mark.parametrize(("verb", "words", "message"), OF_THE_COMMAND_LINE)
def test_of_the_command_line(command, folder, verb, words, message):
    (folder / "datasets").mkdir()
    ended = command(verb, *(word.format(folder) for word in words))
    check(ended, message.replace("?", r"\?"), folder)


def test_every_verb_is_in_the_catalogue():
    assert {verb for verb, *_ in OF_THE_COMMAND_LINE} == set(VERBS)


@pytest.mark.parametrize(("keys", "message"), OF_KEYS, ids=[keys[0] for keys, _ in OF_KEYS])
def test_of_keys(command, folder, keys, message):
    options = as_options({**TINY, "OUTPUT_DIR": folder / "run"})
    keys = [word.format(*2 * [folder]) for word in keys]
    ended = command("train", "--config-file", RECIPE, *options, *keys)
    check(ended, message.replace("?", r"\?"), folder)


@pytest.mark.parametrize("name", OF_FILES)
def test_of_files(command, folder, name):
    ended = command("train", "--config-file", f"{name}.yml")
    check(ended, OF_FILES[name][1], folder)


def test_a_translation_without_its_encoder(command, folder):
    keys = ["SDA.TARGET_ENCODER", "/nowhere.pth", "OUTPUT_DIR", folder / "run", "MODEL.DEVICE", "cpu"]
    check(command("train", "--config-file", SDA_RECIPE, *keys), r"'/nowhere\.pth' does not exist", folder)


def test_weights_to_evaluate_are_named(command, folder):
    ended = command("train", "--eval-only", "--config-file", RECIPE, *as_options(TINY))
    check(ended, "MODEL.WEIGHTS", folder)


def test_names_of_recipes(command, folder, monkeypatch):
    """In the folder, in the checkout or the package, with or without the ending."""
    tried = []
    monkeypatch.setattr("mmt_plugin.commands.job.start", lambda words: tried.append(words.config_file))
    right = str(REPOSITORY / "configs" / RECIPE)
    for name in (RECIPE, RECIPE.removesuffix(".yml"), f"configs/{RECIPE}", right):
        assert command("train", "--config-file", name).status == 0
    assert tried == 4 * [right]
    (folder / "synthetic").mkdir()
    (folder / RECIPE).write_text("SEED: 1")
    assert command("train", "--config-file", RECIPE).status == 0
    assert tried[-1] == RECIPE
