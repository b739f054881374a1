"""What setup.cfg cannot say: the recipes in configs/ are packed into the package, which finds them there, and
the README becomes the description of a package index, where links into the repository need its address.
"""

import re
from configparser import ConfigParser
from pathlib import Path
from shutil import copytree, ignore_patterns

from setuptools import setup
from setuptools.command.build_py import build_py

CONFIGS = Path("configs")
# The developers' grids, which tools/ablation runs.
NO_RECIPES = ignore_patterns("ablation")
INTO_REPOSITORY = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#)([^)\s]+)\)")


class BuildWithRecipes(build_py):
    """Copies configs/ into the package that is built; an editable one reads the checkout's."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            folder = Path(self.build_lib, "mmt_plugin", "configs")
            copytree(CONFIGS, folder, ignore=NO_RECIPES, dirs_exist_ok=True)


def description(text: str, home: str) -> str:
    """The README for a package index.

    Args:
        text: of the README.
        home: address of the repository, "Source" of project_urls in setup.cfg; "" leaves pictures out and
            makes links of the repository plain words, since they would lead nowhere.
    """

    def absolute(link: re.Match) -> str:
        picture, words, target = link.groups()
        if not home:
            return "" if picture else words
        return f"{picture}[{words}]({home}/{'raw' if picture else 'blob'}/main/{target})"

    return INTO_REPOSITORY.sub(absolute, text)


def home_of(project_urls: str) -> str:
    """The address behind "Source =", or ""."""
    found = re.search(r"^\s*Source\s*=\s*(\S+?)/?$", project_urls, re.MULTILINE)
    return found[1] if found else ""


if __name__ == "__main__":
    metadata = ConfigParser()
    metadata.read("setup.cfg")
    home = home_of(metadata["metadata"]["project_urls"])
    readme = Path("README.md").read_text(encoding="utf-8")
    setup(cmdclass={"build_py": BuildWithRecipes}, long_description=description(readme, home))
