"""Writes a domain to disk once, whole or not at all, and finds it again.

Layout below the host's dataset root, with Market-1501's folders and file names::

    synthetic/SynthPlaza_200+200ids_seed1_1a2b3c4d/
        bounding_box_train/0001_c1s1_000001_00.jpg
        query/  bounding_box_test/
        world.json   size, seed, number of files and bytes; written last
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tqdm import tqdm

from mmt_plugin.data.processes import only_writer
from mmt_plugin.errors import UserError
from mmt_plugin.system.json_files import read_json

from .spec import RENDERER_VERSION, WorldSpec
from .world import DOMAINS, FOLDERS, Domain, Shot, plan

logger = logging.getLogger("fastreid.mmt.synthetic")


class UnwritableWorldError(UserError, OSError):
    """There is no room, or no permission, for the built-in world's pictures."""


MARKER = "world.json"
# Shots handed to a worker at a time: the hand-over stays cheap and the progress bar smooth.
CHUNK = 32


def domain_folder(root: str | os.PathLike[str], domain: Domain, spec: WorldSpec) -> Path:
    """Where a domain of this size and seed lives below the dataset root."""
    return Path(root) / "synthetic" / f"{domain.name}_{spec.tag}"


def ensure_domain(
    root: str | os.PathLike[str], domain: Domain, spec: WorldSpec, num_workers: int = -1
) -> Path:
    """Returns the folder of a domain, rendering it first where it is missing or damaged.

    Safe to call from several processes at once: one renders, the others wait and use what it wrote.

    Args:
        root: the host's dataset root.
        domain: which domain.
        spec: its size and seed.
        num_workers: rendering processes; -1 is one for each CPU, 0 is this process alone.

    Raises:
        UnwritableWorldError: the folder cannot be written.
    """
    folder = domain_folder(root, domain, spec)
    if _damage(folder, domain, spec) is None:
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with only_writer(folder):
            damage = _damage(folder, domain, spec)
            if damage is None:
                return folder
            if folder.exists():
                logger.warning("%s is damaged (%s): rendering it again", folder, damage)
            _write(folder, domain, spec, num_workers)
    except OSError as error:
        raise UnwritableWorldError(
            f"the built-in world cannot be written to {str(folder)!r} ({error.strerror or error}): make "
            "room, or set the environment variable FASTREID_DATASETS to a folder that can be written"
        ) from error
    return folder


def _damage(folder: Path, domain: Domain, spec: WorldSpec) -> str | None:
    """Why a folder is not the whole domain, or None when it is."""
    try:
        found = read_json(folder / MARKER)
    except FileNotFoundError:
        return f"no {MARKER}"
    except ValueError:
        return f"{MARKER} is not valid JSON"
    expected = _description(domain, spec)
    if not isinstance(found, dict) or any(found.get(key) != value for key, value in expected.items()):
        return f"{MARKER} describes another world"
    if found.get("files") != _inventory(folder):
        return "files are missing, added or cut short"
    return None


def _description(domain: Domain, spec: WorldSpec) -> dict[str, object]:
    return {
        "domain": domain.name,
        "renderer": RENDERER_VERSION,
        "spec": spec.described(),
    }


def _inventory(folder: Path) -> dict[str, list[int]]:
    """Number of files and sum of their bytes for each sub-folder."""
    inventory = {}
    for name in FOLDERS:
        try:
            sizes = [entry.stat().st_size for entry in os.scandir(folder / name)]
        except FileNotFoundError:
            sizes = []
        inventory[name] = [len(sizes), sum(sizes)]
    return inventory


def _write(folder: Path, domain: Domain, spec: WorldSpec, num_workers: int) -> None:
    """Renders into a neighbouring folder and renames it into place. The caller holds the lock."""
    partial = folder.with_name(f".{folder.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)  # left by a process that was killed
    for name in FOLDERS:
        (partial / name).mkdir(parents=True)

    from . import render  # noqa: F401  (before the processes fork, and only where something is drawn)

    shots = plan(spec, domain)
    chunks = [shots[start : start + CHUNK] for start in range(0, len(shots), CHUNK)]
    logger.info("Rendering %d images of %s into %s", len(shots), domain.name, folder)
    try:
        with tqdm(total=len(shots), desc=f"Rendering {domain.name}", unit="img", disable=None) as progress:
            for written in _render_chunks(
                spec, domain, chunks, partial, _worker_count(num_workers, len(chunks))
            ):
                progress.update(written)
        marker = {**_description(domain, spec), "files": _inventory(partial)}
        _write_durably(partial / MARKER, json.dumps(marker, indent=2) + "\n")
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _write_durably(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _worker_count(num_workers: int, chunks: int) -> int:
    if num_workers == -1:
        num_workers = (
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        )
    if multiprocessing.current_process().daemon:  # daemons may not have children
        return 0
    return 0 if num_workers == 1 else min(num_workers, chunks)


def _render_chunks(
    spec: WorldSpec, domain: Domain, chunks: list[list[Shot]], folder: Path, workers: int
) -> Iterator[int]:
    """Renders all chunks and yields the number of images written, as they are finished."""
    if workers == 0:
        for chunk in chunks:
            yield _render_chunk(spec, domain.name, chunk, folder)
        return
    # Workers only draw and compress, so they are safe to fork; a fork starts at once and from any main
    # module, where a spawned process would import the whole plugin again.
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context(method)) as pool:
        futures = [pool.submit(_render_chunk, spec, domain.name, chunk, folder) for chunk in chunks]
        try:
            for future in futures:
                yield future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _render_chunk(spec: WorldSpec, domain_name: str, chunk: list[Shot], folder: Path) -> int:
    from .render import render_jpeg

    for shot in chunk:
        (folder / shot.folder / shot.name).write_bytes(render_jpeg(spec, DOMAINS[domain_name], shot))
    return len(chunk)
