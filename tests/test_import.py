"""The plugin without its host: a sentence that helps, and a label library that stands alone."""

import subprocess
import sys
import textwrap

import pytest

WITHOUT_HOST = """
    import importlib.abc, importlib.metadata, sys

    class NoHost(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name.split(".")[0] == "fastreid":
                raise ModuleNotFoundError(f"No module named {name!r}")

    sys.meta_path.insert(0, NoHost())
    version = importlib.metadata.version

    def no_version(name):
        if name == "fastreid":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    importlib.metadata.version = no_version
"""

OTHER_HOST = """
    import importlib.metadata
    version = importlib.metadata.version
    importlib.metadata.version = lambda name: "1.3.0" if name == "fastreid" else version(name)
"""


def run(host, code):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(host) + textwrap.dedent(code)], capture_output=True, text=True
    )


@pytest.mark.parametrize("host", [WITHOUT_HOST, OTHER_HOST], ids=["missing", "another version"])
def test_the_libraries_of_labels_and_rankings_stand_alone(host):
    done = run(
        host,
        """
        import sys
        import numpy as np
        from mmt_plugin.pseudo_labels import cluster, dbscan, jaccard_graph

        from mmt_plugin.retrieval import ImageDistances

        features = np.random.default_rng(0).standard_normal((60, 8))
        blocks = ImageDistances.between(features[:9], features).query_blocks()
        print(jaccard_graph(features, 20, 6).nnz > 0, next(blocks).shape[0], "fastreid" in sys.modules)
        """,
    )
    assert done.stdout.split() == ["True", "9", "False"], done.stderr
    assert "pip install --no-deps fastreid==1.4.0" in done.stderr


@pytest.mark.parametrize("host", [WITHOUT_HOST, OTHER_HOST], ids=["missing", "another version"])
def test_everything_else_says_what_to_install(host):
    done = run(host, "from mmt_plugin import add_mmt_config")
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: mmt_plugin needs fastreid 1.4.0")
    assert "`pip install --no-deps fastreid==1.4.0`" in last


@pytest.mark.parametrize("host", [WITHOUT_HOST, OTHER_HOST], ids=["missing", "another version"])
def test_the_feature_extractor_says_what_to_install(host):
    done = run(host, "from mmt_plugin import FeatureExtractor")
    assert done.returncode != 0
    assert "`pip install --no-deps fastreid==1.4.0`" in done.stderr.strip().splitlines()[-1]


def test_the_feature_extractor_is_imported_when_it_is_asked_for():
    done = run(
        "",
        """
        import sys
        import mmt_plugin

        print("mmt_plugin.inference" in sys.modules)
        print(mmt_plugin.FeatureExtractor.__name__, "FeatureExtractor" in dir(mmt_plugin))
        """,
    )
    assert done.stdout.split() == ["False", "FeatureExtractor", "True"], done.stderr


def test_other_names_are_missing_as_usual():
    done = run(
        WITHOUT_HOST, "import mmt_plugin; print(hasattr(mmt_plugin, 'nothing'), mmt_plugin.__version__)"
    )
    assert done.stdout.split()[0] == "False", done.stderr
