"""Pictures and texts of a run: the files, the loggers, and the ranks."""

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import DummyLogger

from graves_core.media import log_animation, log_images, log_text

IMAGES = torch.arange(4 * 64, dtype=torch.uint8).reshape(4, 1, 8, 8)


class Show(pl.Callback):
    """Shows everything after the second step."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == 2:
            self.paths = [
                log_images(trainer, "val/noise", IMAGES),
                log_animation(trainer, "growth", IMAGES),
                log_text(trainer, "poem", ["one", "zwei ä"]),
            ]


def fit_with(logger, folder, **arguments):
    callback = Show()
    quiet = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}
    quiet |= {"max_steps": 3, "limit_val_batches": 0, "enable_checkpointing": False, "log_every_n_steps": 1}
    trainer = pl.Trainer(**(quiet | arguments), logger=logger, default_root_dir=folder, callbacks=[callback])
    trainer.fit(BoringModel())
    return callback


def names_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*_step=*"))


FILES = ["images/growth_step=2.gif", "images/val_noise_step=2.png", "texts/poem_step=2.txt"]


def test_files_lie_in_the_folder_of_the_run(tmp_path):
    callback = fit_with(CSVLogger(tmp_path, name="mine"), tmp_path)
    folder = tmp_path / "mine" / "version_0"
    assert names_in(folder) == FILES
    assert sorted(path.relative_to(folder).as_posix() for path in callback.paths) == FILES
    assert (folder / FILES[2]).read_text(encoding="utf-8") == "one\nzwei ä\n"


def test_without_a_logger_files_lie_in_the_root(tmp_path):
    fit_with(False, tmp_path)
    assert names_in(tmp_path) == FILES


def test_pictures_can_be_seen(tmp_path):
    from PIL import Image

    fit_with(False, tmp_path)
    with Image.open(tmp_path / FILES[1]) as picture:
        assert picture.size == (22 * 23, 22 * 23)


def test_tensorboard_shows_them(tmp_path):
    pytest.importorskip("tensorboard")
    from lightning.pytorch.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path, name="board")
    fit_with(logger, tmp_path)
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    assert events.Tags()["images"] == ["val/noise"]
    assert events.Images("val/noise")[0].step == 2
    assert "poem/text_summary" in events.Tags()["tensors"]


class Gallery(DummyLogger):
    """A logger with the methods of Weights & Biases."""

    experiment = None

    def __init__(self):
        super().__init__()
        self.shown = []

    def log_image(self, key, images, step):
        self.shown.append((key, [image.shape for image in images], step))

    def log_text(self, key, columns, data, step):
        self.shown.append((key, columns, data, step))


def test_loggers_with_galleries_show_them(tmp_path):
    logger = Gallery()
    fit_with(logger, tmp_path)
    assert logger.shown == [("val/noise", [(22, 22, 1)], 2), ("poem", ["text"], [["one"], ["zwei ä"]], 2)]


def test_one_rank_of_two_writes(tmp_path, two_ranks):
    fit_with(CSVLogger(tmp_path, name="mine"), tmp_path, **two_ranks)
    assert names_in(tmp_path / "mine" / "version_0") == FILES
