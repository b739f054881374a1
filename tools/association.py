"""How well a tracker keeps identities apart with the source model and the adapted one, on rendered videos.

    python tools/association.py --seeds 3 --output logs/association

The whole loop of docs/trackers.md on the built-in world: videos of SynthMetro are rendered, BoxMOT's
StrongSORT tracks them with a model of SynthPlaza, its tracks become crops, the model is adapted to them and
exported, and the same tracker is given the same boxes with it. Scored by TrackEval are other videos of the
same cameras, with other people. Needs `pip install "mmt_plugin[export,trackers]" trackeval`.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).parents[1]))

from mmt_plugin.synthetic import METRO, WorldSpec
from mmt_plugin.synthetic.footage import MOST_HIDDEN, draw_frames, meetings, sights
from mmt_plugin.synthetic.world import person_ids

REPOSITORY = Path(__file__).parents[1]
CAMERAS, PEOPLE = range(1, 5), 24
# Of a box's size, how far a detector is off; and the boxes that it misses.
JITTER, MISSED = 0.03, 0.03
SCORES = ("HOTA", "AssA", "IDF1", "IDSW")


def render(folder: Path) -> None:
    """Videos as folders of frames, with boxes: ``adapt`` of training people, ``score`` of test people."""
    spec = WorldSpec()
    for purpose, people in zip(("adapt", "score"), person_ids(spec, METRO), strict=True):
        for camera in CAMERAS:
            # Everybody passes two cameras.
            start = (camera - 1) * PEOPLE // 2
            passing = [people[(start + i) % (len(CAMERAS) * PEOPLE // 2)] for i in range(PEOPLE)]
            rng = np.random.default_rng((camera, purpose == "score"))
            walkers = meetings(rng.permutation(passing).tolist(), rng)
            frames = folder / f"{purpose}_{camera}"
            frames.mkdir(parents=True, exist_ok=True)
            for number, frame in enumerate(draw_frames(spec, METRO, camera, walkers), start=1):
                frame.save(frames / f"{number:06d}.jpg", quality=92)
            truth, found = [], []
            for number, present in enumerate(sights(walkers), start=1):
                for s in present:
                    truth.append((number, s.person, s.left, s.top, s.width, s.height))
                    if s.hidden < MOST_HIDDEN and rng.random() > MISSED:
                        off = rng.normal(0, JITTER, 4) * (s.width, s.height, s.width, s.height)
                        found.append(
                            (number, -1, s.left + off[0], s.top + off[1], s.width + off[2], s.height + off[3])
                        )
            np.savetxt(folder / f"{purpose}_{camera}.truth.txt", truth, fmt="%.2f", delimiter=",")
            np.savetxt(folder / f"{purpose}_{camera}.boxes.txt", found, fmt="%.2f", delimiter=",")


def track(videos: Path, name: str, model: Path, output: Path) -> None:
    """What StrongSORT makes of a video's boxes with an exported model, as MOTChallenge text."""
    import torch
    from boxmot.reid.backends.onnx_backend import ONNXBackend
    from boxmot.trackers.box.strongsort.tracker import StrongSort

    # The cosine distance is the one of BoxMOT's own configuration. The cameras do not move.
    tracker = StrongSort(reid_model=ONNXBackend(model, torch.device("cpu"), half=False), max_cos_dist=0.4)
    tracker.apply_cmc = lambda *_: None
    boxes = np.loadtxt(videos / f"{name}.boxes.txt", delimiter=",", ndmin=2)
    rows = []
    for path in sorted((videos / name).iterdir()):
        number = int(path.stem)
        x, y, w, h = boxes[boxes[:, 0] == number, 2:].T
        found = np.stack([x, y, x + w, y + h, np.full(len(x), 0.9), np.zeros(len(x))], axis=1)
        picture = np.ascontiguousarray(np.asarray(Image.open(path))[..., ::-1])
        for left, top, right, bottom, track_id, *_ in np.asarray(tracker.update(found, picture)):
            rows.append((number, track_id, left, top, right - left, bottom - top, 0.9))
    np.savetxt(output, rows, fmt="%.2f", delimiter=",")


def score(videos: Path, names: list[str], tracks: Path) -> dict[str, float]:
    """HOTA, its association part, IDF1 (all in %) and identity switches over some videos, by TrackEval."""
    from trackeval.metrics import CLEAR, HOTA, Identity

    metrics = {
        metric: {} for metric in (HOTA(), Identity({"PRINT_CONFIG": False}), CLEAR({"PRINT_CONFIG": False}))
    }
    for name in names:
        truth = np.loadtxt(videos / f"{name}.truth.txt", delimiter=",", ndmin=2)
        found = np.loadtxt(tracks / f"{name}.txt", delimiter=",", ndmin=2)
        data = _sequence(truth, found)
        for metric, results in metrics.items():
            results[name] = metric.eval_sequence(data)
    hota, identity, clear = (metric.combine_sequences(results) for metric, results in metrics.items())
    return {
        "HOTA": 100 * float(np.mean(hota["HOTA"])),
        "AssA": 100 * float(np.mean(hota["AssA"])),
        "IDF1": 100 * float(identity["IDF1"]),
        "IDSW": int(clear["IDSW"]),
    }


def _sequence(truth: np.ndarray, found: np.ndarray) -> dict:
    from trackeval.datasets._base_dataset import _BaseDataset

    data: dict = {"num_timesteps": int(truth[:, 0].max())}
    for key, rows in (("gt", truth), ("tracker", found)):
        ids = np.unique(rows[:, 1], return_inverse=True)[1]
        at = [rows[:, 0] == number for number in range(1, data["num_timesteps"] + 1)]
        data[f"{key}_ids"] = [ids[where] for where in at]
        data[f"{key}_dets"] = [rows[where, 2:6] for where in at]
        data[f"num_{key}_ids"], data[f"num_{key}_dets"] = int(ids.max()) + 1, len(rows)
    data["similarity_scores"] = [
        _BaseDataset._calculate_box_ious(one, two, box_format="xywh")
        for one, two in zip(data["gt_dets"], data["tracker_dets"], strict=True)
    ]
    return data


def tool(name: str, *words: object) -> None:
    subprocess.run(
        [sys.executable, REPOSITORY / "tools" / name, *map(str, words)], cwd=REPOSITORY, check=True
    )


def trained(folder: Path, config: str, seed: int, *overrides: object) -> Path:
    if not (folder / "model_final.pth").exists():
        tool(
            "train_net.py", "--config-file", f"configs/{config}", "OUTPUT_DIR", folder, "SEED", seed,
            "DATASETS.TESTS", "()", "REPORT.ENABLED", False, *overrides,
        )  # fmt: skip
    return folder


def tracked(videos: Path, purpose: str, run: Path, output: Path) -> Path:
    """The tracks of all cameras' videos of a purpose with a run's model."""
    export = run / "boxmot"
    if not export.exists():
        tool("export.py", run, "--for", "boxmot", "--output", export)
    output.mkdir(parents=True, exist_ok=True)
    for camera in CAMERAS:
        if not (output / f"{purpose}_{camera}.txt").exists():
            track(videos, f"{purpose}_{camera}", export / "model.onnx", output / f"{purpose}_{camera}.txt")
    return output


def study(videos: Path, folder: Path, sources: list[Path], seed: int) -> list[dict]:
    """Rows of the source model, the first of two, and of the model adapted from both."""
    before = tracked(videos, "adapt", sources[0], folder / "tracks_source")
    crops = folder / "crops"
    cameras = [(f"c{c}", videos / f"adapt_{c}", before / f"adapt_{c}.txt") for c in CAMERAS]
    words = [word for camera in cameras for word in ("--camera", *camera)]
    tool("crop_tracks.py", *words, "--every", 2, "--output", crops)
    adapted = trained(
        folder / "adapted", "own/synthetic.yml", seed,
        "DATASETS.TARGETS", f"('csv:{crops / 'crops.csv'}',)",
        "PSEUDO_LABELS.MUST_LINK", True, "PSEUDO_LABELS.CANNOT_LINK", True,
        "MMT.WEIGHTS", str(tuple(str(source / "model_final.pth") for source in sources)),
    )  # fmt: skip
    rows = []
    for model, run in (("source", sources[0]), ("adapted", adapted)):
        tracks = tracked(videos, "score", run, folder / f"tracks_{model}")
        rows.append({"seed": seed, "model": model, **score(videos, [f"score_{c}" for c in CAMERAS], tracks)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    arguments = parser.parse_args()
    output = arguments.output.resolve()
    videos = output / "videos"
    if not (videos / "complete").exists():
        render(videos)
        (videos / "complete").touch()
    rows, seeds = [], range(1, arguments.seeds + 1)
    sources = [trained(output / "sources" / f"seed{seed}", "synthetic/source.yml", seed) for seed in seeds]
    for seed in seeds:
        two = [sources[seed - 1], sources[seed % len(sources)]]
        rows += study(videos, output / f"seed{seed}", two, seed)
        (output / "scores.json").write_text(json.dumps(rows, indent=1))
        print(tabulate(rows, headers="keys", floatfmt=".1f"), flush=True)
    for model in ("source", "adapted"):
        means = [np.mean([row[key] for row in rows if row["model"] == model]) for key in SCORES]
        print(model, dict(zip(SCORES, np.round(means, 1).tolist(), strict=True)))


if __name__ == "__main__":
    main()
