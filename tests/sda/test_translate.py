"""The translated set: the source's layout, whole images only, and a dataset that reads it by name."""

from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image
from small_sda import files
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from mmt_plugin.data.datasets.translated import split_folder, translated_folder
from mmt_plugin.data.items import build_dataset, training_items
from mmt_plugin.sda import translator
from mmt_plugin.sda.translation_trainer import SDATrainer
from mmt_plugin.sda.translator import Translator, translate
from mmt_plugin.weights.load_network import CheckpointError


@pytest.fixture
def ready(sda_config, tmp_path, datasets_root):
    """Config, translator and items; the checkpoint is that of an untrained model."""
    cfg = sda_config(TEST__IMS_PER_BATCH=7)
    torch.manual_seed(0)
    return cfg, Translator(cfg, checkpoint(cfg, tmp_path)), training_items(["SynthPlaza"])


def checkpoint(cfg, folder: Path) -> str:
    model = SDATrainer.build_model(cfg)
    path = folder / "generators.pth"
    torch.save({"model": model.state_dict()}, path)
    return str(path)


def test_every_image_has_its_translation_under_its_name(ready, tmp_path):
    cfg, generator, items = ready
    folder = tmp_path / "world_sda" / split_folder(items).name
    assert translate(cfg, generator, items, folder, quality=95) == len(items)
    assert sorted(files(folder)) == [Path(path).name for path, *_ in items]
    pixels = pil_to_tensor(Image.open(items[0][0]).resize((24, 32), Image.Resampling.BICUBIC)).float()
    encoded = BytesIO()
    to_pil_image(generator(pixels[None])[0]).save(encoded, "JPEG", quality=95)
    expected = pil_to_tensor(Image.open(encoded)).float()
    written = pil_to_tensor(Image.open(folder / Path(items[0][0]).name)).float()
    assert (written - expected).abs().mean() < 0.5
    assert (written - pixels).abs().mean() > 4


def test_what_is_there_is_not_written_again(ready, tmp_path, monkeypatch):
    """Interrupted in mid-write: no torn file, and the rest is written by the next call."""
    cfg, generator, items = ready
    folder = tmp_path / "world_sda" / "train"
    whole = tmp_path / "whole" / "train"
    translate(cfg, generator, items, whole)
    save, count = Image.Image.save, 0

    def failing_save(self, file, *args, **kwargs):
        nonlocal count
        count += 1
        if count == 11:
            file.write(b"half a file")
            raise KeyboardInterrupt
        save(self, file, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "save", failing_save)
    with pytest.raises(KeyboardInterrupt):
        translate(cfg, generator, items, folder)
    monkeypatch.setattr(Image.Image, "save", save)
    assert len(files(folder)) == 10
    (folder / "0001_c1.jpg.77.unfinished").write_bytes(b"left by a process that was killed")
    assert translate(cfg, generator, items, folder) == len(items) - 10
    assert translate(cfg, generator, items, folder) == 0
    assert files(folder) == files(whole)
    assert not list(folder.glob("*.unfinished"))


def test_two_generators_images_never_mix(ready, sda_config, tmp_path):
    cfg, generator, items = ready
    folder = tmp_path / "world_sda" / "train"
    translate(cfg, generator, items[:3], folder)
    torch.manual_seed(9)
    other = Translator(cfg, checkpoint(cfg, tmp_path))
    with pytest.raises(CheckpointError, match=r"another translation.*--overwrite"):
        translate(cfg, other, items[:3], folder)
    with pytest.raises(CheckpointError, match="another translation"):
        translate(sda_config(INPUT__SIZE_TEST=[64, 32]), generator, items[:3], folder)
    before = files(folder)
    assert translate(cfg, other, items[:3], folder, overwrite=True) == 3
    assert all(files(folder)[name] != content for name, content in before.items())


def test_images_of_unknown_origin_are_left_alone(ready, tmp_path):
    cfg, generator, items = ready
    folder = tmp_path / "personX_spgan" / "image_train"
    folder.mkdir(parents=True)
    (folder / Path(items[0][0]).name).write_bytes(b"downloaded")
    with pytest.raises(CheckpointError, match="unknown origin"):
        translate(cfg, generator, items[:2], folder)


def test_the_translated_set_is_a_source_by_name(ready):
    cfg, generator, items = ready
    with pytest.raises(FileNotFoundError, match=r"60 of 60 .* missing.*tools/translate\.py"):
        build_dataset("SynthPlazaSDA")
    folder = translated_folder(items, "sda")
    assert folder.parent.name == f"{split_folder(items).parent.name}_sda"
    try:
        translate(cfg, generator, items, folder)
        translated = training_items(["SynthPlazaSDA"])
        assert [labels for _, *labels in translated] == [labels for _, *labels in items]
        assert [Path(path).name for path, *_ in translated] == [Path(path).name for path, *_ in items]
        assert {Path(path).parent for path, *_ in translated} == {folder}
    finally:
        for path in folder.glob("*"):
            path.unlink()


@pytest.mark.parametrize(
    ("weights", "message"),
    [({}, "holds no generator"), ({"generators.to_target.decoder.0.weight": torch.zeros(1)}, "does not fit")],
)
def test_a_checkpoint_without_the_generator_is_an_error(sda_config, tmp_path, weights, message):
    torch.save({"model": weights}, tmp_path / "wrong.pth")
    with pytest.raises(CheckpointError, match=message):
        Translator(sda_config(), str(tmp_path / "wrong.pth"))


def test_a_file_takes_the_format_of_its_name(tmp_path):
    for name, kind in (("a.png", "PNG"), ("b.JPG", "JPEG")):
        translator._write(tmp_path / name, torch.zeros(3, 8, 8, dtype=torch.uint8), 95)
        assert Image.open(tmp_path / name).format == kind
