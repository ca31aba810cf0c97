"""Episodes of images: what is in them, on each rank, in each epoch, and after an interruption."""

import contextlib
import io

import lightning.pytorch as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.demos.boring_classes import BoringModel

from graves_core import CIFAR10DataModule, DataSpec, DigitsDataModule, ExactResume, OmniglotDataModule
from graves_core.data import ImageDataModule, ImageSet
from graves_core.testing import assert_exact_resume
from graves_core.testing.fake_data import write_fake_data
from graves_core.testing.quiet import QUIET
from graves_memory.data.episodes import ImageEpisodes, ImageEpisodesDataModule

TWO_RANKS = {"accelerator": "cpu", "devices": 2, "strategy": "ddp_fork"}


class Numbered(ImageDataModule):
    """Images of two pixels that are their number, which differs between the parts; 5 classes of one size."""

    spec = DataSpec("image", (1, 1, 2), levels=256, classes=5)

    def __init__(self, count=400, val_fraction=0.25, seed=0):
        super().__init__(1, 0, False, seed, val_fraction)
        self.count = count

    def read(self, part):
        numbers = torch.arange(self.count) + (0 if part == "train" else 1000)
        pixels = torch.stack([numbers // 256, numbers % 256], 1).to(torch.uint8)
        return pixels[:, None, None], numbers % 5


def numbers(batch):
    """Which images they are, `(B, T)`."""
    pixels = batch["images"].long().flatten(2)
    return pixels[..., 0] * 256 + pixels[..., 1]


def ready(**arguments):
    data = ImageEpisodesDataModule(Numbered(), **{"length": 8, "batch_size": 4} | arguments)
    data.setup()
    return data


def epochs(data, count=1, part="train"):
    loader = getattr(data, f"{part}_dataloader")()
    return [torch.cat([numbers(batch) for batch in loader]) for _ in range(count)]


def image_set(counts):
    """A set with so many images of each class."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return ImageSet(torch.zeros(len(labels), 1, 1, 1, dtype=torch.uint8), labels)


def test_a_batch_holds_images_and_their_labels():
    batch = next(iter(ready().train_dataloader()))
    assert (batch["images"].dtype, batch["labels"].dtype) == (torch.uint8, torch.int64)
    assert (batch["images"].shape, batch["labels"].shape) == ((4, 8, 1, 1, 2), (4, 8))
    assert torch.equal(batch["labels"], numbers(batch) % 5)


def test_an_epoch_uses_each_training_image_at_most_once():
    data = ready(batch_size=1)
    train = set(Numbered().read_train()[0].members.tolist())
    [seen] = epochs(data)
    assert len(seen) == len(train) // 8
    assert len(seen.unique()) == seen.numel()
    assert set(seen.flatten().tolist()) <= train


def test_more_episodes_than_one_deal_use_each_image_equally_often():
    [seen] = epochs(ready(length=10, batch_size=1, episodes_per_epoch=90))
    assert seen.shape == (90, 10)
    assert set(seen.flatten().bincount().tolist()) == {0, 3}


@pytest.mark.parametrize("classes", [None, 2])
def test_training_episodes_are_others_in_every_epoch_and_the_same_with_the_same_seed(classes):
    first, second = epochs(ready(classes_per_episode=classes), count=2)
    again = epochs(ready(classes_per_episode=classes), count=2)
    other = epochs(ready(classes_per_episode=classes, seed=1))
    assert not torch.equal(first.sort(1).values.sort(0).values, second.sort(1).values.sort(0).values)
    assert torch.equal(torch.stack([first, second]), torch.stack(again))
    assert not torch.equal(first, other[0])


@pytest.mark.parametrize("classes", [None, 2])
@pytest.mark.parametrize("part", ["val", "test"])
def test_evaluation_has_the_same_episodes_always_whatever_the_batch(part, classes):
    first, second = epochs(ready(classes_per_episode=classes), count=2, part=part)
    other = epochs(ready(classes_per_episode=classes, batch_size=3, num_workers=1), part=part)[0]
    assert torch.equal(first, second)
    assert torch.equal(first, other)


def test_evaluation_uses_all_images_of_its_part_but_less_than_an_episode():
    data = ready(length=7)
    for part, members in (("val", Numbered().read_train()[1].members), ("test", torch.arange(400) + 1000)):
        [seen] = epochs(data, part=part)
        assert len(seen) == len(members) // 7
        assert set(seen.flatten().tolist()) <= set(members.tolist())
        assert len(seen.unique()) == seen.numel()


def test_predictions_are_for_the_test_episodes():
    data = ready()
    assert torch.equal(epochs(data, part="predict")[0], epochs(data, part="test")[0])


def test_evaluation_episodes_mix_the_classes():
    """Sets that are sorted by class would otherwise give episodes of one class."""
    episodes = ImageEpisodes(image_set([40] * 5), 20, None, None, seed=0)
    labels = episodes.__getitems__(range(len(episodes)))["labels"]
    assert min(len(row.unique()) for row in labels) >= 3


@given(
    counts=st.lists(st.integers(3, 9), min_size=3, max_size=6),
    classes=st.integers(1, 3),
    length=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_limited_episode_has_different_images_of_so_many_classes(counts, classes, length, seed):
    images = image_set(counts)
    images.images = torch.arange(len(images), dtype=torch.uint8)[:, None, None, None]
    batch = ImageEpisodes(images, length, classes, 6, seed).__getitems__(range(6))
    for row, labels in zip(batch["images"].flatten(1), batch["labels"], strict=True):
        assert len(row.unique()) == length
        assert len(labels.unique()) <= classes
        assert torch.equal(images.labels[row.long()], labels)


def test_the_classes_of_limited_episodes_are_all_equally_likely():
    """600 draws of 2 classes of 5: each is expected 240 times, with a standard deviation of 12."""
    episodes = ImageEpisodes(image_set([4, 9, 5, 6, 7]), 7, 2, 600, seed=0)
    labels = episodes.__getitems__(range(600))["labels"]
    present = torch.stack([(labels == number).any(1) for number in range(5)], 1)
    assert present.sum(1).max() <= 2
    assert (present.sum(0) - 240).abs().max() < 60


def test_images_of_a_limited_episode_are_drawn_from_its_classes_together():
    """Of 7 out of 4 + 8 images, 7 x 4 / 12 are of the small class; the bound is 5 standard errors."""
    labels = ImageEpisodes(image_set([4, 8]), 7, 2, 500, seed=0).__getitems__(range(500))["labels"]
    small = (labels == 0).sum(1).double()
    deviation = (7 * (1 / 3) * (2 / 3) * (12 - 7) / (12 - 1)) ** 0.5
    assert abs(small.mean() - 7 / 3) < 5 * deviation / 500**0.5


@settings(max_examples=10)
@given(
    world=st.sampled_from([2, 4]),
    classes=st.sampled_from([None, 2]),
    part=st.sampled_from(["train", "val"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_ranks_share_the_global_batches_of_one(world, classes, part, seed):
    def batches(batch_size, rank, world):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("graves_core.batches.rank_and_world", lambda: (rank, world))
            data = ready(classes_per_episode=classes, batch_size=batch_size, seed=seed, length=4)
            return [numbers(batch) for batch in getattr(data, f"{part}_dataloader")()]

    one = batches(8, 0, 1)
    assert len(one) > 2
    for rank in range(world):
        shares = batches(8 // world, rank, world)
        assert len(shares) in {len(one), len(one) - 1}
        for share, batch in zip(shares[:-1], one, strict=False):
            assert torch.equal(share, batch[rank::world])


class Reader(pl.LightningModule):
    """Its weight depends on the order of all that it has seen."""

    def __init__(self, folder=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2))
        self.folder = folder
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append(numbers(batch))
        pixels = batch["images"].flatten(0, 3).float() / 256
        return (self.weight - pixels).square().mean()

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", batch["images"].float().mean(), batch_size=1)

    def on_train_end(self):
        if self.folder is not None:
            torch.save(self.seen, self.folder / f"{self.global_rank}.pt")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.3)


def run(data, folder, **arguments):
    folder.mkdir()
    trainer = pl.Trainer(**QUIET | {"max_epochs": 2, "enable_checkpointing": False} | arguments)
    trainer.fit(Reader(folder), data)
    return [torch.load(path, weights_only=True) for path in sorted(folder.glob("*.pt"))]


@pytest.mark.parametrize("classes", [None, 2])
def test_two_processes_see_the_episodes_of_one(tmp_path, classes):
    def data(batch_size):
        return ImageEpisodesDataModule(Numbered(), 8, classes, batch_size)

    [one] = run(data(4), tmp_path / "one")
    two = run(data(2), tmp_path / "two", **TWO_RANKS)
    assert len(one) > 10
    for rank, share in enumerate(two):
        assert len(share) == len(one)
        assert all(torch.equal(got, whole[rank::2]) for got, whole in zip(share, one, strict=True))


@pytest.mark.parametrize(("classes", "num_workers"), [(None, 0), (2, 0), (None, 2)])
def test_a_run_is_resumed_with_the_very_next_batch(tmp_path, classes, num_workers):
    def data():
        return ImageEpisodesDataModule(Numbered(), 8, classes, 4, num_workers=num_workers)

    data().setup("fit")
    assert_exact_resume(Reader, data, [1, 9, 12], 20, tmp_path, lambda: [ExactResume()])


def test_the_spec_is_that_of_one_image():
    assert ImageEpisodesDataModule(Numbered()).spec == Numbered.spec
    assert ImageEpisodesDataModule().spec == DigitsDataModule().spec


@pytest.mark.parametrize("images", [OmniglotDataModule, CIFAR10DataModule])
def test_real_formats_are_read(tmp_path, images):
    write_fake_data(tmp_path)
    size = {"size": 28} if images is OmniglotDataModule else {}
    data = ImageEpisodesDataModule(images(str(tmp_path), val_fraction=0.2, **size), length=4, batch_size=2)
    data.prepare_data()
    data.setup()
    for part in ("train", "val", "test"):
        batch = next(iter(getattr(data, f"{part}_dataloader")()))
        assert batch["images"].shape[1:] == (4, *data.spec.shape)


@pytest.mark.parametrize(
    ("stage", "parts"), [("fit", ["train"]), ("test", ["test"]), (None, ["train", "test"])]
)
def test_only_the_files_of_the_stage_are_fetched(stage, parts):
    images, fetched = Numbered(), []
    images.fetch = fetched.append
    data = ImageEpisodesDataModule(images)
    if stage is not None:
        data.trainer = pl.Trainer(**QUIET)
        data.trainer.state.fn = stage
    data.prepare_data()
    assert fetched == parts


def test_no_validation_when_none_is_held_back():
    data = ImageEpisodesDataModule(Numbered(val_fraction=0.0), length=8)
    data.setup("fit")
    assert data.val_dataloader() == []


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"images": "digits"}, TypeError, "images must be an ImageDataModule or None, got str"),
        ({"length": 0}, ValueError, "length must be at least 1, got 0"),
        ({"length": 2.0}, TypeError, "length must be an integer"),
        ({"classes_per_episode": 0}, ValueError, "classes_per_episode must be at least 1"),
        ({"classes_per_episode": 6}, ValueError, "at most 5, the classes of Numbered, got 6"),
        ({"episodes_per_epoch": 0}, ValueError, "episodes_per_epoch must be at least 1"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"num_workers": -1}, ValueError, "num_workers must be at least 0"),
        ({"seed": -1}, ValueError, "seed must lie in"),
    ],
)
def test_wrong_arguments_are_refused(wrong, error, words):
    with pytest.raises(error, match=words):
        ImageEpisodesDataModule(**{"images": Numbered()} | wrong)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"length": 301}, "Numbered, train part: 300 images are too few for an episode of length=301"),
        ({"length": 101}, "Numbered, val part: 100 images are too few"),
        ({"length": 65, "classes_per_episode": 1}, "smallest such classes have 5. images together"),
    ],
)
def test_what_a_part_cannot_give_is_refused_before_training(wrong, words):
    data = ImageEpisodesDataModule(Numbered(), **wrong)
    with pytest.raises(ValueError, match=words):
        data.setup("fit")


def test_more_classes_than_a_part_has_are_refused():
    with pytest.raises(ValueError, match="classes_per_episode=4 is more than the 3 classes there are"):
        ImageEpisodes(image_set([5, 5, 5]), 2, 4, None, seed=0)


def test_the_command_line_makes_it():
    words = ["--data=graves_memory.data.episodes.ImageEpisodesDataModule", "--data.length=6"]
    words += ["--data.images=graves_core.OmniglotDataModule", "--data.images.size=28"]
    with contextlib.redirect_stderr(io.StringIO()):
        cli = LightningCLI(BoringModel, run=False, args=words, save_config_callback=None)
    assert cli.datamodule.spec.shape == (1, 28, 28)
    assert cli.datamodule.length == 6
