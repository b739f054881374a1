"""The VisDA-2020 challenge's files: index, submission, score. Shapes: Q queries, G gallery images.

An index lists images, one a line: "name camera identity number", or, for the test set, "name number"; a name
that ends like an image file's may have spaces. A submission has a line for each query of the index: the
0-based gallery indices of the 100 nearest images, nearest first. Source: github.com/Simon4Yan/VisDA2020,
submit_val and submit_test.
"""

import os
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmt_plugin.data.dataset import Item
from mmt_plugin.errors import UserError
from mmt_plugin.retrieval.ranking import Ranking, rank_gallery
from mmt_plugin.system.files import read_text, replace_when_complete

LISTED = 100
IMAGE_NAME = re.compile(r"\s*(?P<name>\S.*\.(?:jpe?g|png|bmp|webp|tiff?))(?P<rest>(?:\s+\S+){1,3})\s*$", re.I)


class SubmissionError(UserError, ValueError):
    """A file that the challenge's server could not score; the message names the file and line."""


@dataclass(frozen=True, eq=False)
class Index:
    """The images of one part of a test set in the challenge's order.

    Attributes:
        file: where it was read.
        names: of the image files.
        identities, cameras: integers, or None where the file tells neither.
    """

    file: str
    names: list[str]
    identities: np.ndarray | None
    cameras: np.ndarray | None


def read_index(path: str | os.PathLike) -> Index:
    """Read an index file.

    Raises:
        SubmissionError: a line is neither of the two forms, or an image is listed twice.
        FileNotFoundError: there is no such file.
    """
    rows = [_words(line) for line in read_text(path).splitlines() if line.strip()]
    widths = {len(row) for row in rows}
    if widths not in ({2}, {4}):
        raise SubmissionError(
            f"{path}: lines of {sorted(widths)} words; an index has 4, 'name camera identity number', or 2, "
            "'name number'"
        )
    names = [row[0] for row in rows]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise SubmissionError(f"{path}: {twice} is listed twice")
    if widths == {2}:
        return Index(str(path), names, None, None)
    try:
        numbers = np.array([[int(row[1]), int(row[2])] for row in rows], dtype=np.int64)
    except ValueError as error:
        raise SubmissionError(f"{path}: a camera or identity is not a number ({error})") from error
    return Index(str(path), names, numbers[:, 1], numbers[:, 0])


def write_index(path: str | os.PathLike, items: Sequence[Item]) -> Path:
    """Write an index of a test set that has none, in the order of its (path, identity, camera).

    Raises:
        SubmissionError: a file name cannot stand in an index, which has a line for each.
    """
    names = [Path(image).name for image, _, _ in items]
    for name in names:
        if _words(f"{name} 0 0 0") != [name, "0", "0", "0"] or len(name.splitlines()) > 1:
            raise SubmissionError(
                f"{name!r} cannot stand in an index, which has lines of words: rename the file, or leave out "
                "--output"
            )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise SubmissionError(
            f"two images have the file name {twice}, by which an index knows them: rename one, or leave out "
            "--output"
        )
    with replace_when_complete(str(path), "w") as file:
        for number, (image, identity, camera) in enumerate(items):
            file.write(f"{Path(image).name} {camera:d} {identity:d} {number}\n")
    return Path(path)


def _words(line: str) -> list[str]:
    """An image's name and what follows it on the line of an index."""
    found = IMAGE_NAME.match(line)
    return [found["name"], *found["rest"].split()] if found else line.split()


def read_submission(path: str | os.PathLike, num_queries: int, num_gallery: int) -> np.ndarray:
    """Read a submission, checked as a server would rather not have to.

    Args:
        path: of the text file.
        num_queries: Q.
        num_gallery: G.

    Returns:
        Q x 100 gallery indices, nearest first; fewer columns where the gallery is smaller.

    Raises:
        SubmissionError: a wrong number of lines or of indices on a line, an index that is no number, out of
            range, or repeated on its line.
        FileNotFoundError: there is no such file.
    """
    lines = read_text(path).splitlines()
    if len(lines) != num_queries:
        raise SubmissionError(f"{path}: {len(lines)} lines, but the query index lists {num_queries} images")
    listed = min(LISTED, num_gallery)
    ranked = np.empty((num_queries, listed), dtype=np.int64)
    for number, line in enumerate(lines, start=1):
        words = line.split()
        where = f"{path}, line {number}"
        if len(words) != listed:
            raise SubmissionError(f"{where}: {len(words)} indices; every query has {listed}")
        wrong = next((word for word in words if not (word.isascii() and word.isdecimal())), None)
        if wrong is not None:
            raise SubmissionError(f"{where}: {wrong!r} is not a gallery index")
        indices = [int(word) for word in words]
        if max(indices) >= num_gallery:
            raise SubmissionError(
                f"{where}: index {max(indices)} is out of range; the gallery index lists {num_gallery} "
                f"images, 0 to {num_gallery - 1}"
            )
        if len(set(indices)) < listed:
            twice = next(index for index in indices if indices.count(index) > 1)
            raise SubmissionError(f"{where}: index {twice} stands there twice")
        ranked[number - 1] = indices
    return ranked


def score_submission(submission: str | os.PathLike, query: Index, gallery: Index) -> Ranking:
    """Score a submission as the challenge's server does: junk takes its places among the hundred, average
    precision is over the matches found among them, and a query without any counts 0.

    Raises:
        SubmissionError: the files do not fit each other, or the indices tell no identities.
    """
    for index in (query, gallery):
        if index.identities is None:
            raise SubmissionError(f"{index.file}: tells no identities, so nothing can be scored with it")
    ranked = read_submission(submission, len(query.names), len(gallery.names))
    distances = np.full((len(ranked), len(gallery.names)), np.inf, dtype=np.float32)
    np.put_along_axis(distances, ranked, np.arange(ranked.shape[1], dtype=np.float32)[None], axis=1)
    labels = (query.identities, gallery.identities, query.cameras, gallery.cameras)
    return rank_gallery(distances, *labels, top_k=LISTED)


def write_submission(
    folder: str | os.PathLike,
    ranked: np.ndarray,
    query: Sequence[str],
    gallery: Sequence[str],
    query_index: Index,
    gallery_index: Index,
) -> tuple[Path, Path]:
    """Write ``result.txt`` and ``result.zip``, which holds it, in the order of the challenge's indices.

    Args:
        folder: to write to.
        ranked: Q x (at least 100, or G) positions in ``gallery``, nearest first.
        query: Q image files, in the order of the rows.
        gallery: G image files.
        query_index, gallery_index: list the same images.

    Returns:
        Paths of both files.

    Raises:
        SubmissionError: an index lists other images.
    """
    row_of = _positions(query, query_index)
    number_of = np.empty(len(gallery), dtype=np.int64)
    number_of[_positions(gallery, gallery_index)] = np.arange(len(gallery))
    lines = number_of[ranked[row_of][:, :LISTED]]
    width = len(str(len(gallery) - 1))
    text = "".join(" ".join(f"{index:0{width}d}" for index in line) + "\n" for line in lines)
    result, archive = Path(folder, "result.txt"), Path(folder, "result.zip")
    with replace_when_complete(str(result), "w") as file:
        file.write(text)
    with (
        replace_when_complete(str(archive), "wb") as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        packed.writestr(result.name, text)
    return result, archive


def _positions(paths: Sequence[str], index: Index) -> np.ndarray:
    """Where among the paths the images of an index stand, in the index's order."""
    position = {Path(path).name: at for at, path in enumerate(paths)}
    unknown = [name for name in index.names if name not in position]
    if unknown or len(index.names) != len(paths):
        raise SubmissionError(
            f"{index.file} lists {len(index.names)} images, the evaluation has {len(paths)}"
            + (f"; {unknown[0]} is not among them" if unknown else "")
        )
    return np.array([position[name] for name in index.names])
