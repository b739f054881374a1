"""Pages of the site that are no files of docs/: the README, the API reference, the top-level pages.

Called by MkDocs, see mkdocs.yml.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).parents[2]
# Top-level pages of the repository, by their name in the site.
PAGES = {"index.md": "README.md", "security.md": "SECURITY.md"}
# Links of those pages that mean another page in the site.
RENAMED = {
    "mmt_plugin/config/defaults.py": "keys.md",
    **{name: page for page, name in PAGES.items()},
}
REFERENCE = (
    "mmt_plugin.inference.FeatureExtractor",
    "mmt_plugin.pseudo_labels",
    "mmt_plugin.retrieval.ranking",
    "mmt_plugin.retrieval.reranking",
    "mmt_plugin.retrieval.distances",
    "mmt_plugin.modeling.losses",
    "mmt_plugin.modeling.layers",
    "mmt_plugin.modeling.memory",
    "mmt_plugin.config",
    "mmt_plugin.errors",
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here."""
    for page, name in PAGES.items():
        files.append(File.generated(config, page, content=_in_site((REPOSITORY / name).read_text())))
    existing = [name for name in REFERENCE if _source_of(name).exists()]
    text = "# API reference\n\nWhat a script may import.\n" + "".join(
        f"\n## {name}\n\n::: {name}\n    options:\n      heading_level: 3\n" for name in existing
    )
    files.append(File.generated(config, "api.md", content=text))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Links from a page of docs/ to other files of the repository become their text."""
    markdown = re.sub(r"\]\(\.\./(README|SECURITY)\.md(#[\w-]+)?\)", _top_level, markdown)
    return re.sub(r"(?<!!)\[([^\]]+)\]\(\.\./[^)]+\)", r"\1", markdown)


def _top_level(found: re.Match) -> str:
    page = {"README": "index.md", "SECURITY": "security.md"}[found[1]]
    return f"]({page}{found[2] or ''})"


def _in_site(text: str) -> str:
    for link, page in RENAMED.items():
        text = text.replace(f"]({link})", f"]({page})")
    return text.replace("](docs/", "](")


def _source_of(name: str) -> Path:
    path = REPOSITORY.joinpath(*name.split("."))
    if name.rpartition(".")[2][0].isupper():
        return path.parent
    return path if path.is_dir() else path.with_suffix(".py")
