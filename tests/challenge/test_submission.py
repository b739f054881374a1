"""Index and submission files: the challenge's own example, a loop over every line, and malformed files."""

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mmt_plugin.challenge import submission as module
from mmt_plugin.challenge.submission import (
    SubmissionError,
    read_index,
    read_submission,
    score_submission,
    write_index,
    write_submission,
)

CHALLENGE = Path(__file__).parents[1] / "golden" / "visda2020"


@pytest.fixture
def challenge(tmp_path):
    """The challenge's validation indices and its example submission."""
    for packed in CHALLENGE.glob("*.gz"):
        (tmp_path / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    indices = [read_index(tmp_path / f"index_validation_{part}.txt") for part in ("query", "gallery")]
    return tmp_path / "example_validation_result.txt", *indices


def test_the_official_example_scores_what_the_server_says(challenge):
    metrics = score_submission(*challenge).percent()
    assert metrics["mAP"] == pytest.approx(28.4939, abs=5e-5)
    assert metrics["Rank-1"] == pytest.approx(33.687, abs=5e-4)
    assert metrics["Rank-5"] == pytest.approx(55.703, abs=5e-4)
    assert metrics["Rank-10"] == pytest.approx(65.252, abs=5e-4)


def score_slowly(ranked, query, gallery):
    """Image by image: mAP and CMC at 1 in percent."""
    precisions, firsts = [], []
    for line, pid, camera in zip(ranked, query.identities, query.cameras, strict=True):
        if not ((gallery.identities == pid) & (gallery.cameras != camera)).any():
            continue
        hits, rank, found = 0, 0, []
        for image in line:
            if gallery.identities[image] == pid and gallery.cameras[image] == camera:
                continue
            rank += 1
            if gallery.identities[image] == pid:
                hits += 1
                found.append(hits / rank)
        precisions.append(np.mean(found) if found else 0.0)
        firsts.append(bool(found) and found[0] == 1)
    return 100 * np.mean(precisions), 100 * np.mean(firsts)


def test_scores_are_those_of_a_loop(challenge):
    file, query, gallery = challenge
    ranked = read_submission(file, len(query.names), len(gallery.names))
    metrics = score_submission(file, query, gallery).percent()
    assert score_slowly(ranked, query, gallery) == pytest.approx((metrics["mAP"], metrics["Rank-1"]))


@pytest.fixture
def miniature(tmp_path, monkeypatch):
    """Three queries, five gallery images, lists of three."""
    monkeypatch.setattr(module, "LISTED", 3)
    query, gallery = tmp_path / "query.txt", tmp_path / "gallery.txt"
    query.write_text("b.jpg 1 7 0\na.jpg 2 8 1\nc.jpg 1 9 2\n")
    gallery.write_text("z.jpg 2 7 0\ny.jpg 1 7 1\nx.jpg 1 8 2\nw.jpg 2 8 3\nv.jpg 1 9 4\n")
    return read_index(query), read_index(gallery)


def test_junk_takes_its_places(miniature, tmp_path):
    """b: junk 1, then the match 0 at rank 2. a: junk, no match within the list. c: no match anywhere."""
    (tmp_path / "result.txt").write_text("1 2 0\n3 0 1\n0 1 2\n")
    ranking = score_submission(tmp_path / "result.txt", *miniature)
    assert ranking.average_precisions.tolist() == [0.5, 0.0]
    assert ranking.cmc[:3].tolist() == [0.0, 0.5, 0.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 0\n3 0 1\n", "2 lines, but the query index lists 3 images"),
        ("1 2 0\n3 0 1\n0 1 2\n\n", "4 lines, but the query index lists 3"),
        ("1 2 0\n3 0\n0 1 2\n", "line 2: 2 indices; every query has 3"),
        ("1 2 0\n3 0 1 2\n0 1 2\n", "line 2: 4 indices; every query has 3"),
        ("1 2 5\n3 0 1\n0 1 2\n", "line 1: index 5 is out of range; .* 0 to 4"),
        ("1 2 0\n3 0 1\n0 -1 2\n", "line 3: '-1' is not a gallery index"),
        ("1 2 0\n3 0 1\n0 1.0 2\n", "line 3: '1.0' is not a gallery index"),
        ("1 2 0\n3 03 1\n0 1 2\n", "line 2: index 3 stands there twice"),
    ],
)
def test_malformed_submissions_are_refused(miniature, tmp_path, text, message):
    file = tmp_path / "result.txt"
    file.write_text(text)
    with pytest.raises(SubmissionError, match=rf"result\.txt.*{message}"):
        score_submission(file, *miniature)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg\n", r"lines of \[1\] words"),
        ("a.jpg 1 2 0\nb.jpg 1\n", r"lines of \[2, 4\] words"),
        ("a.jpg 1 2 0\na.jpg 1 2 1\n", r"a\.jpg is listed twice"),
        ("a.jpg one 2 0\n", "not a number"),
        ("", r"lines of \[\] words"),
    ],
)
def test_malformed_indices_are_refused(tmp_path, text, message):
    (tmp_path / "index.txt").write_text(text)
    with pytest.raises(SubmissionError, match=rf"index\.txt.*{message}"):
        read_index(tmp_path / "index.txt")


def test_an_index_without_identities_scores_nothing(miniature, tmp_path):
    (tmp_path / "test.txt").write_text("0000.jpg  0000\n")
    with pytest.raises(SubmissionError, match=r"test\.txt: tells no identities"):
        score_submission(tmp_path / "result.txt", read_index(tmp_path / "test.txt"), miniature[1])


def test_what_is_written_follows_the_indices(miniature, tmp_path):
    """Images are ranked in another order than the indices list them in."""
    query, gallery = miniature
    query_paths, gallery_paths = ["q/a.jpg", "q/b.jpg", "q/c.jpg"], [f"g/{x}.jpg" for x in "vwxyz"]
    ranked = np.array([[1, 4, 3], [3, 2, 4], [4, 3, 2]])  # of a, b, c, in positions of v..z
    result, archive = write_submission(tmp_path, ranked, query_paths, gallery_paths, query, gallery)
    assert result.read_text() == "1 2 0\n3 0 1\n0 1 2\n"
    with zipfile.ZipFile(archive) as packed:
        assert packed.namelist() == ["result.txt"]
        assert packed.read("result.txt").decode() == result.read_text()
    assert score_submission(result, query, gallery).percent()["mAP"] == 25


def test_numbers_are_padded_as_the_example_has_them(challenge, tmp_path):
    file, query, gallery = challenge
    ranked = read_submission(file, len(query.names), len(gallery.names))
    (tmp_path / "written").mkdir()
    images = (query.names, gallery.names)
    again, _ = write_submission(tmp_path / "written", ranked, *images, query, gallery)
    assert again.read_text().split() == file.read_text().split()


def test_other_images_than_the_index_lists_are_refused(miniature, tmp_path):
    query, gallery = miniature
    with pytest.raises(SubmissionError, match=r"gallery\.txt lists 5 images, .* has 5; z\.jpg is not among"):
        write_submission(tmp_path, np.zeros((3, 3), int), query.names, list("vwxyu"), query, gallery)
    with pytest.raises(SubmissionError, match=r"query\.txt lists 3 images, the evaluation has 4"):
        write_submission(tmp_path, np.zeros((4, 3), int), [*query.names, "d.jpg"], [], query, gallery)


def test_a_set_without_an_index_gets_one(tmp_path):
    items = [("x/b.jpg", 3, 1), ("x/a.jpg", 4, 0)]
    index = read_index(write_index(tmp_path / "index.txt", items))
    assert index.names == ["b.jpg", "a.jpg"]
    assert (index.identities.tolist(), index.cameras.tolist()) == ([3, 4], [1, 0])
