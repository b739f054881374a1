"""Look at this machine: what training would use, what is missing, and the command that mends it.

    python tools/doctor.py
    FASTREID_DATASETS=/path/to/datasets python tools/doctor.py

Works with packages missing, fastreid and torch among them. The exit status is 1 when training cannot work,
else 0: missing data sets and optional packages do not count, the built-in world needs neither.
"""

import argparse
import ast
import configparser
import importlib
import os
import platform
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from mmt_plugin.commands.environment import cores
from mmt_plugin.recipes import recipes_folder

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = "mmt_plugin"
EXTRAS = ("safetensors", "export")
# Builds of one module, of which only one can be installed.
FAISS = ("faiss-cpu", "faiss-gpu-cu12", "faiss-gpu-cu11", "faiss-gpu")
HOST, HOST_VERSION = "fastreid", "1.4.0"
OLDEST_PYTHON = (3, 10)
FIRST_RECIPE = "synthetic/plaza2metro_mmt.yml"
# Missed only where weights are downloaded.
FOR_DOWNLOADS = ("gdown",)
REQUIREMENT = re.compile(r"([\w.-]+)\s*(?:>=\s*([\d.]+))?")


class Report:
    """Prints findings, and remembers whether training can work."""

    def __init__(self) -> None:
        self.fatal = 0

    def section(self, title: str) -> None:
        print(f"\n{title}")

    def line(self, name: str, finding: object) -> None:
        print(f"  {name:<22} {finding}")

    def missing(self, name: str, finding: str, remedy: str, *, fatal: bool) -> None:
        """What is not as it should be, and what to do about it."""
        self.fatal += fatal
        print(f"{'! ' if fatal else '- '}{name:<22} {finding}\n{'':<25}-> {remedy}")


def check_packages(report: Report) -> None:
    """Python, fastreid, and what setup.cfg asks for."""
    report.section("Packages")
    version = platform.python_version()
    if sys.version_info >= OLDEST_PYTHON:
        report.line("python", f"{version}, {sys.executable}")
    else:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        report.missing("python", version, f"install Python {wanted} or later", fatal=True)
    installed = version_of(HOST)
    if installed == HOST_VERSION:
        report.line(HOST, installed)
    else:
        remedy = f"pip install --no-deps {HOST}=={HOST_VERSION}"
        report.missing(HOST, installed or "not installed", remedy, fatal=True)
    required, optional = requirements()
    for name, oldest in required.items():
        if name != "faiss-cpu":  # any build of faiss will do; see below
            check_package(report, name, oldest, fatal=name not in FOR_DOWNLOADS)
    for name, oldest in optional.items():
        check_package(report, name, oldest, fatal=False)
    builds = [name for name in FAISS if version_of(name)]
    if len(builds) > 1:
        remedy = f"pip uninstall {' '.join(builds)}; then pip install the one that is wanted"
        report.missing("faiss", f"{' and '.join(builds)} lie over each other", remedy, fatal=False)


def requirements() -> tuple[dict[str, str], dict[str, str]]:
    """Oldest version by name: of what is required, and of the extras that users ask about most.

    From the checkout's setup.cfg, which needs no installation, or else from the installed package.
    """
    if (REPOSITORY / "setup.cfg").is_file():
        setup = configparser.ConfigParser()
        setup.read(REPOSITORY / "setup.cfg")
        extras = setup["options.extras_require"]
        optional = "\n".join(extras[extra] for extra in EXTRAS)
        return dict(oldest_versions(setup["options"]["install_requires"])), dict(oldest_versions(optional))
    lines = [line.partition(";") for line in metadata.requires(PACKAGE) or ()]
    required = "\n".join(line for line, _, marker in lines if "extra" not in marker)
    optional = "\n".join(line for line, _, marker in lines if any(extra in marker for extra in EXTRAS))
    return dict(oldest_versions(required)), dict(oldest_versions(optional))


def oldest_versions(lines: str) -> Iterator[tuple[str, str]]:
    """(name, oldest version) of each requirement, one a line."""
    for line in lines.splitlines():
        match = REQUIREMENT.match(line.partition("#")[0].strip())
        if match:
            yield match[1], match[2] or "0"


def check_package(report: Report, name: str, oldest: str, *, fatal: bool) -> None:
    installed = version_of(name)
    if installed and numbers(installed) >= numbers(oldest):
        report.line(name, installed)
        return
    finding = f"{installed} is too old" if installed else "not installed"
    report.missing(name, finding, f"pip install '{name}>={oldest}'", fatal=fatal)


def version_of(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def numbers(version: str) -> tuple[int, ...]:
    """2.14.1+cpu -> (2, 14, 1)"""
    return tuple(int(part) for part in re.match(r"[\d.]*", version)[0].strip(".").split(".") if part)


def check_machine(report: Report) -> None:
    """Device, threads and the libraries that multiply matrices."""
    report.section("Machine")
    report.line(
        "CPU cores", f"{cores()} for this process, OMP_NUM_THREADS {os.getenv('OMP_NUM_THREADS', 'not set')}"
    )
    torch = load(report, "torch")
    if torch is not None:
        cuda = torch.cuda.is_available()
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else []
        report.line(
            "MODEL.DEVICE auto", f"cuda: {', '.join(names)}" if cuda else "cpu: torch finds no CUDA device"
        )
        blas = "MKL" if torch.backends.mkl.is_available() else "not MKL"
        report.line(
            "torch", f"{torch.get_num_threads()} threads, BLAS: {blas}, built for CUDA {torch.version.cuda}"
        )
    numpy = load(report, "numpy")
    if numpy is not None:
        blas = numpy.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
        report.line("numpy", f"BLAS: {blas.get('name', 'unknown')} {blas.get('version', '')}")
    faiss = load(report, "faiss", "pip install faiss-cpu, or on CUDA: pip install faiss-gpu-cu12")
    if faiss is not None:
        gpus = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
        options = faiss.get_compile_options().strip()
        report.line(
            "faiss", f"{faiss.__version__}, {options}, {gpus} GPUs, {faiss.omp_get_max_threads()} threads"
        )


def load(report: Report, name: str, remedy: str = ""):
    """A module, or None where it cannot be imported."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # a broken installation may raise anything
        report.missing(name, f"cannot be imported: {error}", remedy or f"pip install {name}", fatal=True)
        return None


def check_plugin(report: Report) -> bool:
    """Whether the plugin can be imported, with all that it registers."""
    report.section("Plugin")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plugin = importlib.import_module("mmt_plugin")
            plugin.add_mmt_config  # noqa: B018  (raises where fastreid is missing)
    except Exception as error:  # whatever is broken, this says so
        finding = f"cannot be imported: {type(error).__name__}: {error}"
        report.missing(
            "mmt_plugin", finding, "mend what is marked with ! above; then: pip install -e .", fatal=True
        )
        return False
    report.line("mmt_plugin", f"{plugin.__version__}, {Path(plugin.__file__).parent}")
    return True


def check_datasets(report: Report) -> None:
    """The data sets of the recipes in configs/, below FASTREID_DATASETS. The built-in world is not drawn."""
    root = os.getenv("FASTREID_DATASETS")
    report.section(f"Data sets below {root or 'datasets (FASTREID_DATASETS is not set)'}")
    from fastreid.config import get_cfg

    from mmt_plugin import add_mmt_config, data, synthetic

    cfg, names = get_cfg(), dataset_names()
    add_mmt_config(cfg)
    cfg.DATASETS.TESTS = names
    data.configure(cfg)
    with synthetic.only_looking():
        for name in names:
            check_dataset(report, name)


def check_dataset(report: Report, name: str) -> None:
    """How many images a data set has here."""
    from mmt_plugin.data.datasets.own import is_own
    from mmt_plugin.data.items import build_dataset
    from mmt_plugin.synthetic.world_datasets import is_built_in

    try:
        dataset = build_dataset(name)
        counts = (len(dataset.train), len(dataset.query), len(dataset.gallery))
    except FileNotFoundError as error:
        folder = re.search(r"needs '([^']+)'", str(error))
        remedy = "put it there, or: export FASTREID_DATASETS=<folder of your data sets>"
        report.missing(name, f"not found: {folder[1] if folder else error}", remedy, fatal=False)
    except Exception as error:  # a folder with something else in it
        remedy = "docs/own_data.md says what is read" if is_own(name) else "compare it with fastreid's layout"
        report.missing(name, f"cannot be read: {error}", remedy, fatal=False)
    else:
        sizes = "{} training, {} query, {} gallery images".format(*counts)
        report.line(name, f"built in, drawn where it is needed: {sizes}" if is_built_in(name) else sizes)


def dataset_names() -> list[str]:
    """Every data set that a recipe names."""
    import yaml

    names = set()
    for path in recipes_folder().rglob("*.yml"):
        node = (yaml.safe_load(path.read_text()) or {}).get("DATASETS", {})
        for value in node.values():
            names.update(ast.literal_eval(value) if isinstance(value, str) else value)
    return sorted(names)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(_: argparse.Namespace) -> int:
    report = Report()
    check_packages(report)
    check_machine(report)
    if check_plugin(report):
        check_datasets(report)
    if report.fatal:
        print(f"\nTraining cannot work: see the lines marked with ! ({report.fatal})")
        return 1
    command = "mmt train" if shutil.which("mmt") else "python tools/train_net.py"
    print(f"\nTraining can work. Try: {command} --config-file {FIRST_RECIPE}")
    return 0
