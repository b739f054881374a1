"""`import mmt_plugin` takes no time; whoever then imports the host finds it repaired, whatever the way."""

import subprocess
import sys

import pytest

from mmt_plugin.first_use import needs_host

READY = """
import fastreid
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
assert fastreid.is_repaired
assert META_ARCH_REGISTRY.get("MutualMeanTeaching") and DATASET_REGISTRY.get("SynthPlaza")
import fastreid.data.build, mmt_plugin, mmt_plugin.config, mmt_plugin.data, mmt_plugin.modeling
for name, module in list(sys.modules.items()):
    if name.split(".")[0] in ("fastreid", "mmt_plugin"):
        assert type(module.__spec__.loader).__name__ != "_Keep", name
        parent, _, child = name.rpartition(".")
        assert not parent or hasattr(sys.modules[parent], child), name
"""


@pytest.mark.parametrize(
    "first",
    [
        "from fastreid.engine import DefaultTrainer; from mmt_plugin.modeling import MutualMeanTeaching",
        "from mmt_plugin.host.loaders import DataLoaderX; from mmt_plugin.config.checks import check_config; "
        "from mmt_plugin import add_mmt_config, FeatureExtractor, config; "
        "assert config.check_config is check_config",
    ],
)
def test_the_host_is_repaired_once_it_is_used(first):
    code = f"import sys, mmt_plugin\nassert 'torch' not in sys.modules\n{first}\n{READY}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_needs_the_host():
    needing = ("fastreid", "fastreid.data", "mmt_plugin.engine.trainer", "mmt_plugin.system.decoding")
    assert all(map(needs_host, needing))
    free = (
        "torch",
        "fastreidx",
        "mmt_plugin",
        "mmt_plugin.__main__",
        "mmt_plugin.pseudo_labels.step",
        "mmt_plugin.commands.train",
    )
    assert not any(map(needs_host, free))


def test_help_loads_nothing_that_takes_seconds():
    code = """
import sys
from mmt_plugin.commands.line import main
try:
    main(["train", "--help"])
except SystemExit:
    pass
assert main(["configs", "mmt"]) == 0
heavy = {"torch", "numpy", "scipy", "numba", "sklearn", "fastreid", "PIL", "yaml"} & sys.modules.keys()
print("heavy:", sorted(heavy))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.endswith("heavy: []\n"), done.stderr
