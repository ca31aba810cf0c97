"""One-shot classification as data: splits by character, ranks, levels, resuming, what is refused."""

import numpy as np
import pytest
import torch
from drawn_batches import TWO_RANKS, Guesser, equal, on_rank, rows

from graves_core import Curriculum, ExactResume
from graves_core.data import DataSpec, DigitsDataModule, ImageDataModule, OmniglotDataModule
from graves_core.testing import assert_exact_resume
from graves_core.testing.fake_data import write_omniglot
from graves_memory.data.oneshot import OneShotDataModule


class Tiles(ImageDataModule):
    """Images of one value, that of their class; the test part has classes of its own and one of training."""

    spec = DataSpec("image", (1, 4, 4), levels=256, classes=30)

    def __init__(self, val_fraction=0.25, seed=0):
        super().__init__(8, 0, False, seed, val_fraction)

    def read(self, part):
        classes = torch.arange(20) if part == "train" else torch.arange(19, 30)
        labels = classes.repeat_interleave(3)
        return labels.to(torch.uint8)[:, None, None, None].repeat(1, 1, 4, 4), labels


def module(images=None, **arguments):
    small = {"level": 2, "classes": 5, "shows": 3, "batch_size": 4, "batches_per_epoch": 6}
    val = {"val_levels": [3, 2], "val_episodes": 4, "rotation": 0, "stretch": 0, "turns": False}
    data = OneShotDataModule(images or Tiles(), **(small | val | arguments))
    data.setup("fit")
    return data


def characters(batches):
    return {int(value) for batch in batches for value in batch["images"][batch["targets"] >= 0].unique()}


def evaluation(data, part="val"):
    data.setup("test" if part == "test" else "fit")
    return list(getattr(data, f"{part}_dataloader")())


def test_parts_have_no_character_in_common():
    data = module(batches_per_epoch=60, val_episodes=60)
    train = characters(data.train_dataloader())
    val, test = (characters(evaluation(data, part)) for part in ("val", "test"))
    assert (len(train), len(val)) == (15, 5)
    assert not train & val
    assert test == set(range(20, 30)) | (val & {19})


def test_held_out_characters_of_omniglot_are_those_of_its_own_split(tmp_path):
    write_omniglot(tmp_path, np.random.default_rng(0), drawers=3)
    images = OmniglotDataModule(str(tmp_path), size=8, val_fraction=0.4)
    data = module(images, shows=2, val_levels=[2])
    train, val = images.read_train()
    for part, expected in (("train", train), ("val", val)):
        drawings = {bytes(image.flatten().tolist()) for image in expected.images[expected.members]}
        made = data.train_dataloader() if part == "train" else data.val_dataloader()
        shown = {bytes(image.flatten().tolist()) for batch in made for image in batch["images"].flatten(0, 1)}
        assert shown <= drawings
    assert len(evaluation(data, "test")) == 1


def test_digits_are_tested_on_those_that_were_never_trained_on():
    images = DigitsDataModule(val_fraction=0.3)
    data = module(images, val_levels=[3], shows=2, val_episodes=20, batches_per_epoch=30)
    pixels = {
        bytes(image.flatten().tolist()): int(label)
        for image, label in zip(*images.read("train"), strict=True)
    }
    tests = {
        bytes(image.flatten().tolist()): int(label) for image, label in zip(*images.read("test"), strict=True)
    }

    def digits(batches, known):
        return {
            known[bytes(image.flatten().tolist())]
            for batch in batches
            for image in batch["images"].flatten(0, 1)
        }

    held = digits(evaluation(data), pixels)
    assert len(held) == 3
    assert digits(evaluation(data, "test"), tests) == held
    assert digits(data.train_dataloader(), pixels) == set(range(10)) - held


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("turns", [False, True])
def test_ranks_share_the_global_batches_of_one(world, turns):
    def loader(batch_size):
        return module(batch_size=batch_size, turns=turns, rotation=9, fewest=1, level=3).train_dataloader()

    one = on_rank(0, 1, lambda: loader(8), "graves_memory.data.oneshot")
    for rank in range(world):
        share = on_rank(rank, world, lambda: loader(8 // world), "graves_memory.data.oneshot")
        assert all(map(equal, share, [rows(batch, slice(rank, None, world)) for batch in one]))
        assert len(share) == len(one)


def test_a_new_level_holds_from_the_next_batch():
    data = module(level=1)
    sizes = []
    for batch in data.train_dataloader():
        sizes.append(batch["targets"].shape[1])
        data.level = min(data.level + 1, 5)
    assert sizes == [3, 6, 9, 12, 15, 15]


def test_numbers_of_characters_are_uniform_from_the_fewest_to_the_level():
    count = 900
    data = module(fewest=2, level=4, batch_size=1, batches_per_epoch=count, shows=1)
    counts = torch.cat([batch["level"] for batch in data.train_dataloader()]).bincount(minlength=5)
    assert counts[:2].sum() == 0
    assert (counts[2:] - count / 3).abs().max() <= 4.5 * (count * 2 / 9) ** 0.5


def test_validation_is_always_the_same_and_filled_up_with_what_is_ignored():
    data = module(batch_size=8)
    [batch] = evaluation(data)
    list(data.train_dataloader())
    assert equal(batch, *evaluation(module(batch_size=8, level=4)))
    assert batch["level"].tolist() == [3] * 4 + [2] * 4
    assert (batch["targets"][4:, 6:] == -100).all()
    assert (batch["sight"][4:, 6:] == -1).all()
    assert (batch["targets"][:4] >= 0).all()
    assert not equal(batch, *evaluation(data, "test"))


def test_batches_differ_within_and_between_epochs():
    data = module(level=5, batch_size=1)
    loader = data.train_dataloader()
    seen = {tuple(batch["images"].flatten().tolist()) for _ in range(3) for batch in loader}
    assert len(seen) == 18


class Labeller(Guesser):
    """Guesses bits of a label from those of the label before; the loss tells every batch from every other."""

    def training_step(self, batch, batch_idx):
        bits = {
            name: (batch[name][..., None] >> torch.arange(3) & 1).float()
            for name in ("labels_before", "targets")
        }
        return super().training_step({"inputs": bits["labels_before"], "targets": bits["targets"]}, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", batch["images"].float().mean(), batch_size=1)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, ranks):
    assert_exact_resume(
        lambda: Labeller(3, 3),
        lambda: module(level=1, batch_size=4 // ranks),
        [2, 6, 9],
        14,
        tmp_path,
        lambda: [ExactResume(), Curriculum("train/loss", 0.69, rule="double", max_level=4)],
        TWO_RANKS if ranks == 2 else None,
    )
    whole = torch.load(tmp_path / "whole" / "14.ckpt", weights_only=True)
    assert whole["OneShotDataModule"]["level"] > 1


def test_there_is_no_validation_without_characters_for_it():
    assert module(Tiles(val_fraction=0)).val_dataloader() == []
    assert module(val_levels=[]).val_dataloader() == []


def test_spec_tells_the_image_and_the_labels():
    assert (module().spec.shape, module().spec.classes) == ((1, 4, 4), 5)


class Wide(Tiles):
    spec = DataSpec("image", (1, 4, 5), levels=256, classes=30)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"images": "digits"}, TypeError, "images must be an ImageDataModule or None, got str"),
        ({"images": Wide(), "turns": True}, ValueError, "turns must be False for images that are not square"),
        ({"level": 0}, ValueError, "level must be at least 1, got 0"),
        ({"level": 6}, ValueError, r"level must be at most 5, the number of labels \(classes\), got 6"),
        ({"level": 2, "fewest": 3}, ValueError, "level must be at least 3, got 2"),
        ({"val_levels": [6]}, ValueError, "val_levels must be at most 5, the number of labels"),
        ({"classes": 1}, ValueError, "classes must be at least 2, got 1"),
        ({"shows": 0}, ValueError, "shows must be at least 1, got 0"),
        ({"rotation": 181}, ValueError, r"rotation must lie in \[0, 180\], got 181"),
        ({"stretch": -0.1}, ValueError, r"stretch must lie in \[0, inf\], got -0.1"),
        ({"stretch": "much"}, TypeError, "stretch must be a number, got 'much'"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
    ],
)
def test_arguments_are_checked_at_construction(arguments, error, message):
    with pytest.raises(error, match=message):
        OneShotDataModule(**({"images": Tiles(), "level": 2, "classes": 5, "val_levels": [2]} | arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"level": 16}, "level must be at most 15, the number of characters of the train part, got 16"),
        (
            {"val_levels": [6]},
            "val_levels must be at most 5, the number of characters of the val part, got 6",
        ),
        ({"images": Tiles(0.05), "val_levels": [2]}, "at most 1, the number of characters of the val part"),
    ],
)
def test_too_few_characters_are_refused_before_training(arguments, message):
    with pytest.raises(ValueError, match=message):
        module(**({"classes": 20} | arguments))


def test_a_level_beyond_the_characters_is_refused_later_too():
    data = module(classes=20)
    with pytest.raises(
        ValueError, match="level must be at most 15, the number of characters of the train part"
    ):
        data.level = 16


def test_loaders_need_setup():
    with pytest.raises(RuntimeError, match="call setup"):
        OneShotDataModule(Tiles()).train_dataloader()
