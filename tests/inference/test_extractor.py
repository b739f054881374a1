"""Features in three lines are the evaluator's, for every way to hand an image over."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fastreid.engine import DefaultTrainer
from fastreid.modeling.meta_arch import build_model
from PIL import Image

import mmt_plugin
from mmt_plugin.engine.evaluate_model import evaluate_networks
from mmt_plugin.engine.resume.checkpointer import MMTCheckpointer
from mmt_plugin.inference import FeatureExtractor
from mmt_plugin.runs.run import RunError
from mmt_plugin.system.decoding import UnreadableImageError


@pytest.mark.parametrize("flip", [False, True])
def test_features_are_bit_equal_to_the_evaluators(make_run, flip):
    cfg, folder = make_run(
        "plaza2metro_mmt_plus", TEST__FLIP__ENABLED=flip, TEST__IMS_PER_BATCH=7, MMT__MOCO__QUEUE_SIZE=16
    )
    model = build_model(cfg)
    MMTCheckpointer(model).load(str(folder / "model_final.pth"))
    evaluator = evaluate_networks(cfg, model)[1]["SynthMetro"]
    expected = torch.cat(evaluator.features(1))
    dataset = DefaultTrainer.build_test_loader(cfg, "SynthMetro")[0].dataset
    paths = [item[0] for item in dataset.img_items]

    assert torch.equal(FeatureExtractor(folder, normalize=False)(paths), expected)
    assert torch.equal(FeatureExtractor(folder, num_workers=2)(paths), F.normalize(expected))


def test_paths_arrays_and_pictures_are_the_same_images(make_run, crops):
    extractor = mmt_plugin.FeatureExtractor(make_run()[1])
    pictures = [Image.open(path).convert("RGB") for path in crops[:3]]
    expected = extractor(crops[:3])
    assert expected.shape == (3, extractor.feature_size)
    assert expected.dtype == torch.float32
    torch.testing.assert_close(expected.norm(dim=1), torch.ones(3))
    assert torch.equal(extractor([np.asarray(picture) for picture in pictures]), expected)
    assert torch.equal(extractor(tuple(pictures)), expected)
    assert torch.equal(extractor([crops[0], pictures[1], np.asarray(pictures[2])]), expected)


def test_the_order_of_channels_matters(make_run, crops):
    extractor = FeatureExtractor(make_run()[1])
    rgb = np.asarray(Image.open(crops[0]).convert("RGB"))
    assert not torch.allclose(extractor([rgb]), extractor([rgb[..., ::-1]]), atol=1e-3)


def test_batches_do_not_change_features(make_run, crops):
    folder = make_run()[1]
    torch.testing.assert_close(
        FeatureExtractor(folder, batch_size=2)(crops[:5]), FeatureExtractor(folder)(crops[:5])
    )


def test_no_images_have_no_features(make_run):
    extractor = FeatureExtractor(make_run()[1])
    assert extractor([]).shape == (0, extractor.feature_size)


def test_no_progress_bar_in_a_log(make_run, crops, capfd):
    FeatureExtractor(make_run()[1])(crops[:2])
    assert "features" not in capfd.readouterr().err


def test_files_that_cannot_be_read_are_named(make_run, crops, tmp_path):
    extractor = FeatureExtractor(make_run()[1])
    (tmp_path / "torn.jpg").write_bytes(b"no image")
    for name in ("torn.jpg", "absent.jpg"):
        with pytest.raises(UnreadableImageError, match=name):
            extractor([crops[0], tmp_path / name])


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.zeros((3, 8, 8), np.uint8), ValueError, r"image 1 is an array of uint8 and shape \(3, 8, 8\)"),
        (np.zeros((8, 8, 3), np.float32), ValueError, "image 1 is an array of float32"),
        (torch.zeros(8, 8, 3), TypeError, "image 1 is a Tensor"),
        (Image.new("I;16", (8, 8)), UnreadableImageError, "image 1 has more than 8 bits a channel"),
    ],
)
def test_other_images_are_refused(make_run, crops, image, error, message):
    with pytest.raises(error, match=message):
        FeatureExtractor(make_run()[1])([crops[0], image])


def test_a_single_path_is_not_a_list(make_run):
    with pytest.raises(TypeError, match="expected a list of images, not a str"):
        FeatureExtractor(make_run()[1])("a.jpg")


def test_the_best_checkpoint_is_used_where_the_run_selects_it(make_run, crops):
    _, folder = make_run(MMT__SELECTION__RULE="best", MMT__SELECTION__DATASET="SynthMetro")
    expected = FeatureExtractor(folder)(crops[:2])
    torch.save({"model": {}}, folder / "model_final.pth")
    assert torch.equal(FeatureExtractor(folder)(crops[:2]), expected)
    assert torch.equal(FeatureExtractor(folder / "model_best.pth")(crops[:2]), expected)


def test_what_is_no_model_says_so(make_run, tmp_path):
    folder = make_run()[1]
    (folder / "model_final.pth").unlink()
    with pytest.raises(RunError, match=r"there is no model_final\.pth; the run is not finished"):
        FeatureExtractor(folder)
    with pytest.raises(RunError, match=r"holds no config\.yaml"):
        FeatureExtractor(tmp_path)
    with pytest.raises(RunError, match="does not exist"):
        FeatureExtractor(tmp_path / "nowhere")


def test_a_bad_crop_does_not_cost_the_others(make_run, crops, tmp_path):
    """Trackers hand over empty boxes at the border of a frame (deep_sort_pytorch issue 176)."""
    folder = make_run()[1]
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    good = [np.asarray(Image.open(path).convert("RGB")) for path in crops[:3]]
    bad = [np.zeros((0, 12, 3), np.uint8), str(tmp_path / "torn.jpg"), np.zeros((12, 0, 3), np.uint8)]
    mixed = [good[0], bad[0], good[1], bad[1], bad[2], good[2]]
    found = FeatureExtractor(folder, on_bad="skip")(mixed)
    assert found.isnan().all(dim=1).tolist() == [False, True, False, True, True, False]
    torch.testing.assert_close(found[[0, 2, 5]], FeatureExtractor(folder)(good))
    assert FeatureExtractor(folder, on_bad="skip")([bad[0]]).isnan().all()
    for one in bad:
        with pytest.raises(UnreadableImageError, match=r"image 1 is empty|torn\.jpg"):
            FeatureExtractor(folder)([good[0], one])
    with pytest.raises(ValueError, match="'error' or 'skip'"):
        FeatureExtractor(folder, on_bad="ignore")
