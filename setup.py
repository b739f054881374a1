"""What setup.cfg cannot say: the recipes in configs/ are packed into the package, which finds them there."""

from pathlib import Path
from shutil import copytree

from setuptools import setup
from setuptools.command.build_py import build_py

CONFIGS = Path("configs")


class BuildWithRecipes(build_py):
    """Copies configs/ into the package that is built; an editable one reads the checkout's."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            copytree(CONFIGS, Path(self.build_lib, "mmt_plugin", "configs"), dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithRecipes})
