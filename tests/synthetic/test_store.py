"""The built-in world on disk: whole or not at all, once, the same bytes by any number of processes."""

import json
import logging
import multiprocessing
import shutil
import threading

import pytest
from fastreid.data.datasets import DATASET_REGISTRY, Market1501

from mmt_plugin.data import processes
from mmt_plugin.synthetic import METRO, PLAZA, WorldSpec, ensure_domain, render, store
from mmt_plugin.synthetic.world import FOLDERS, TRAIN, plan

SPEC = WorldSpec(
    train_ids=6, test_ids=5, train_images_per_id=4, test_images_per_id=4, cameras=3, image_size=(64, 32)
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A rendered domain that no test may change."""
    root = tmp_path_factory.mktemp("world")
    return root, ensure_domain(root, PLAZA, SPEC, num_workers=0)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_same_bytes_whatever_the_number_of_processes(world, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "CHUNK", 7)
    parallel = ensure_domain(tmp_path, PLAZA, SPEC, num_workers=3)
    assert parallel.name == world[1].name
    assert contents(parallel) == contents(world[1])


def test_nothing_is_left_over_but_the_domain_and_its_lock(world):
    names = {path.name for path in (world[0] / "synthetic").iterdir()}
    assert names - {f".{world[1].name}.lock"} == {world[1].name}


def test_a_whole_domain_is_not_rendered_again(world, monkeypatch):
    monkeypatch.setattr(render, "render_jpeg", None)
    assert ensure_domain(world[0], PLAZA, SPEC) == world[1]


def test_a_whole_domain_is_used_from_a_folder_that_cannot_be_locked(world, monkeypatch):
    monkeypatch.setattr(processes, "FileLock", None)
    assert ensure_domain(world[0], PLAZA, SPEC) == world[1]


def test_the_host_reads_it_as_market_1501(world, tmp_path, monkeypatch):
    ours = DATASET_REGISTRY.get("SynthPlaza")(root=str(world[0]), spec=SPEC)
    shutil.copytree(world[1], tmp_path / "Market-1501-v15.09.15")
    theirs = Market1501(root=str(tmp_path))

    def without_folder_and_prefix(items):
        return sorted(
            (path.rsplit("/", 1)[1], str(pid).rsplit("_", 1)[-1], str(cam).rsplit("_", 1)[-1])
            for path, pid, cam in items
        )

    for split in ("train", "query", "gallery"):
        assert without_folder_and_prefix(getattr(ours, split)) == without_folder_and_prefix(
            getattr(theirs, split)
        )
    assert all(isinstance(pid, str) and pid.startswith("synthplaza_") for _, pid, _ in ours.train)
    assert all(
        isinstance(pid, int) and isinstance(camera, int) for _, pid, camera in ours.query + ours.gallery
    )


def test_the_datasets_keep_distractors_and_leave_junk_out(tmp_path):
    spec = WorldSpec(
        train_ids=2, test_ids=5, train_images_per_id=2, test_images_per_id=4, image_size=(64, 32),
        distractor_ratio=0.5, junk_ratio=0.5,
    )  # fmt: skip
    data = DATASET_REGISTRY.get("SynthMetro")(root=str(tmp_path), spec=spec)
    assert len(data.gallery) == 10 + 5
    assert sum(pid == 0 for _, pid, _ in data.gallery) == 5
    assert (
        len(list((tmp_path / "synthetic" / f"SynthMetro_{spec.tag}" / "bounding_box_test").glob("-1_*"))) == 5
    )


def test_a_folder_left_by_a_killed_writer_is_ignored(tmp_path):
    final = store.domain_folder(tmp_path, METRO, SPEC)
    partial = final.with_name(f".{final.name}.partial")
    (partial / TRAIN).mkdir(parents=True)
    (partial / TRAIN / "0001_c1s1_000001_00.jpg").write_bytes(b"half")
    folder = ensure_domain(tmp_path, METRO, SPEC, num_workers=0)
    assert folder == final
    assert not partial.exists()
    assert sum(len(list((folder / name).iterdir())) for name in FOLDERS) == len(plan(SPEC, METRO))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failure_while_rendering_leaves_no_domain(tmp_path, monkeypatch, workers):
    written = multiprocessing.get_context("fork").Value("i", 0)

    def fail_later(*_):
        written.value += 1
        if written.value > 10:
            raise OSError("disk full")
        return b"picture"

    monkeypatch.setattr(render, "render_jpeg", fail_later)
    monkeypatch.setattr(store, "CHUNK", 4)
    with pytest.raises(OSError, match="disk full"):
        ensure_domain(tmp_path, PLAZA, SPEC, num_workers=workers)
    assert [path.name for path in (tmp_path / "synthetic").iterdir() if path.is_dir()] == []


def _delete_a_file(folder):
    next((folder / TRAIN).iterdir()).unlink()


def _truncate_a_file(folder):
    next((folder / TRAIN).iterdir()).write_bytes(b"")


def _delete_marker(folder):
    (folder / store.MARKER).unlink()


def _garble_marker(folder):
    (folder / store.MARKER).write_text("{")


def _mix_up_marker(folder):
    marker = json.loads((folder / store.MARKER).read_text())
    marker["spec"]["seed"] = 99
    (folder / store.MARKER).write_text(json.dumps(marker))


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (_delete_a_file, "files are missing"),
        (_truncate_a_file, "files are missing"),
        (_delete_marker, "no world.json"),
        (_garble_marker, "not valid JSON"),
        (_mix_up_marker, "another world"),
    ],
)
def test_a_damaged_domain_is_rendered_again(world, tmp_path, caplog, harm, reason):
    shutil.copytree(world[0], tmp_path, dirs_exist_ok=True)
    folder = store.domain_folder(tmp_path, PLAZA, SPEC)
    harm(folder)
    logging.getLogger("fastreid").addHandler(caplog.handler)
    try:
        ensure_domain(tmp_path, PLAZA, SPEC, num_workers=0)
    finally:
        logging.getLogger("fastreid").removeHandler(caplog.handler)
    assert contents(folder) == contents(world[1])
    assert reason in caplog.text


def test_of_two_that_start_at_once_one_renders_and_both_get_it(tmp_path, monkeypatch):
    written = []
    genuine = store._write

    def counted(*args):
        written.append(args)
        genuine(*args)

    monkeypatch.setattr(store, "_write", counted)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(ensure_domain(tmp_path, METRO, SPEC, 0)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(written) == 1
    assert found == [store.domain_folder(tmp_path, METRO, SPEC)] * 3


def _render_in_daemon(root):
    ensure_domain(root, METRO, SPEC, num_workers=2)


def test_a_daemon_renders_alone(tmp_path):
    """Daemonic processes may not have children."""
    process = multiprocessing.get_context("fork").Process(
        target=_render_in_daemon, args=(tmp_path,), daemon=True
    )
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert store._damage(store.domain_folder(tmp_path, METRO, SPEC), METRO, SPEC) is None
