"""Pictures stripped of what is known of them."""

import pytest

from mmt_plugin.commands.strip_labels import strip_labels


def test_only_the_pictures_are_left(tmp_path):
    paths = []
    for i in range(40):
        path = tmp_path / f"{i:04d}_c{i % 3}.JPG"
        path.write_bytes(bytes([i]) * 5)
        paths.append(str(path))
    assert strip_labels(paths, tmp_path / "crops") == 40
    copies = sorted((tmp_path / "crops").iterdir())
    assert [path.name for path in copies] == [f"{i:06d}.jpg" for i in range(40)]
    order = [path.read_bytes()[0] for path in copies]
    assert sorted(order) == list(range(40))
    assert order != sorted(order)  # not that of the identities
    with pytest.raises(FileExistsError, match="not empty"):
        strip_labels(paths, tmp_path / "crops")
