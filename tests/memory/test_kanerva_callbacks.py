"""The callbacks for memories of images: what they log, what they draw, and what they leave alone."""

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from recalling_model import Losses, Recalling

from graves_core import DigitsDataModule
from graves_core.testing.quiet import QUIET
from graves_memory.callbacks import capacity, denoising, reconstruction, samples
from graves_memory.callbacks.capacity import CapacityCurve
from graves_memory.callbacks.damage import occlude, salt_and_pepper
from graves_memory.callbacks.denoising import Denoising
from graves_memory.callbacks.reconstruction import ReadIterations
from graves_memory.callbacks.samples import KanervaSamples
from graves_memory.data.episodes import ImageEpisodesDataModule
from graves_memory.layers.images.likelihoods import BinaryPixels
from graves_memory.layers.images.mlp import MLPImageDecoder, MLPImageEncoder
from graves_memory.layers.kanerva import AddressNetwork, KanervaMemory
from graves_memory.module.dynamic import DynamicKanervaMachine
from graves_memory.module.kanerva import KanervaMachine

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

ALL = (KanervaSamples, ReadIterations, Denoising, CapacityCurve)


def data(batch_size=3):
    return ImageEpisodesDataModule(DigitsDataModule(), length=10, batch_size=batch_size)


def probe(batch_size=3):
    """The images that the callbacks are lent."""
    episodes = data(batch_size)
    episodes.setup("fit")
    return next(iter(episodes.val_dataloader()))["images"]


def run(callbacks, root, model=None, stage="fit", **arguments):
    limits = {"max_epochs": 1, "limit_train_batches": 2, "enable_checkpointing": False}
    trainer = pl.Trainer(**QUIET | {"default_root_dir": root, "callbacks": callbacks} | limits | arguments)
    method = getattr(trainer, stage)
    method(model or Recalling(), data(), **({} if stage == "fit" else {"verbose": False}))
    return trainer


def files(root):
    return sorted(path.name for path in (root / "images").glob("*.png"))


def spy(monkeypatch, module, name):
    """Makes a callback's module hand over what it draws."""
    found, original = [], getattr(module, name)

    def draw(*arguments, **named):
        found.append((arguments, named))
        return original(*arguments, **named)

    monkeypatch.setattr(module, name, draw)
    return found


def test_errors_of_damaged_images_are_logged_reading_by_reading(tmp_path):
    """The model halves the distance to the original, so the squared error is a quarter after each reading."""
    metrics = run([Denoising(iterations=3, noise=0.1, square=0.3)], tmp_path).callback_metrics
    images = probe()
    clean = images.float() / 16
    draw = torch.Generator().manual_seed(0)
    for kind, damage, share in (("salt_and_pepper", salt_and_pepper, 0.1), ("occlusion", occlude, 0.3)):
        error = (damage(images, share, draw).images.float() / 16 - clean).square().mean()
        assert error > 0.01
        for number in range(4):
            assert metrics[f"val/{kind}_error_{number}"] == pytest.approx(float(error) / 4**number, rel=1e-5)
    assert files(tmp_path) == ["denoising_occlusion_step=2.png", "denoising_salt_and_pepper_step=2.png"]


def test_denoising_shows_the_image_the_damage_and_each_reading(monkeypatch, tmp_path):
    found = spy(monkeypatch, denoising, "sheet")
    run([Denoising(["occlusion"], iterations=2, num_images=5)], tmp_path)
    ((rows,), _) = found[0]
    assert list(rows) == ["image", "damaged", "reading 1", "reading 2"]
    assert {tuple(images.shape) for images in rows.values()} == {(1, 5, 1, 8, 8)}
    assert torch.equal(rows["image"], probe()[:1, :5].float() / 16)
    distances = [float((images - rows["image"]).square().mean()) for images in rows.values()]
    assert distances == sorted(distances, key=lambda x: (x > 0, -x))


@pytest.mark.parametrize("tell", [False, True])
def test_the_model_is_told_what_is_known_of_the_damage_if_that_is_wanted(tmp_path, tell):
    model = Recalling()
    run([Denoising(noise=0.2, square=0.5, tell=tell)], tmp_path, model)
    if not tell:
        assert model.told == [None, None]
        return
    salted, occluded = model.told
    assert salted == pytest.approx(0.9)
    assert occluded.shape == (3, 10, 1, 8, 8)
    assert int((occluded == 0.5).sum()) == 30 * 16


def test_reading_iterations_show_images_of_the_memory(monkeypatch, tmp_path):
    found = spy(monkeypatch, reconstruction, "sheet")
    model = Recalling()
    run([ReadIterations(num_images=4, iterations=3)], tmp_path, model)
    ((rows,), _) = found[0]
    assert list(rows) == ["image", "reading 1", "reading 2", "reading 3"]
    assert torch.equal(rows["reading 3"], probe()[:1, :4].float() / 16)
    assert torch.equal(model.written[0], probe()[:1])
    assert files(tmp_path) == ["reconstructions_step=2.png"]


def test_samples_stand_beside_the_images_of_their_memory(monkeypatch, tmp_path):
    found = spy(monkeypatch, samples, "labelled_sheet")
    run([KanervaSamples(episodes=2, iterations=[5, 1])], tmp_path)
    ((cells, rows, columns, _), _) = found[0]
    assert rows == ["memory 1", "memory 2"]
    assert columns == ["images in the memory", "samples, 1 iteration", "samples, 5 iterations"]
    for row, images in zip(cells, probe(), strict=False):
        assert torch.equal(row[0], samples.block(images.float() / 16, samples.COLUMNS))
        assert {cell.shape for cell in row} == {row[0].shape}
    assert files(tmp_path) == ["samples_step=2.png"]


def test_the_capacity_curve_has_the_loss_of_each_number_of_images(monkeypatch, tmp_path):
    """The model's losses lie between the number of images and one more; 30 images are too few for 32."""
    found = spy(monkeypatch, capacity, "line_chart")
    trainer = run([CapacityCurve([8, 1, 32], levels={"VAE": 5.0})], tmp_path)
    (((curves, *labels), named),) = found
    curve = curves["Recalling"]
    assert list(curve.x) == [1, 8]
    assert list(curve.y) == pytest.approx([1 + 29 / 60, 8 + 23 / 48])
    expected = [torch.arange(30).div(30).std(correction=0) / 30**0.5]
    expected += [torch.arange(24).div(24).std(correction=0) / 24**0.5]
    assert list(curve.error) == pytest.approx([float(error) for error in expected])
    assert labels == ["images in the memory", "nats per image"]
    assert named["levels"] == {"VAE": 5.0}
    assert trainer.callback_metrics["val/nelbo_of_8"] == pytest.approx(8 + 23 / 48)
    assert "val/nelbo_of_32" not in trainer.callback_metrics
    assert files(tmp_path) == ["capacity_step=2.png"]


def test_every_size_of_memory_is_measured_on_the_same_images():
    seen = []

    class Counting(Recalling):
        def losses(self, images, generator=None):
            seen.append(images)
            return Losses(images.float().flatten(2).mean(2))

    images = probe()
    curve = CapacityCurve([1, 3, 10])
    for number in curve.patterns:
        assert len(curve._losses(Counting(), images.flatten(0, 1), number)) == 30
    assert [tuple(dealt.shape[:2]) for dealt in seen] == [(30, 1), (10, 3), (3, 10)]
    assert all(torch.equal(dealt.flatten(0, 1), images.flatten(0, 1)) for dealt in seen)


@pytest.mark.parametrize("callback", ALL)
def test_pictures_are_drawn_every_so_many_epochs_and_are_the_same_while_nothing_is_learnt(tmp_path, callback):
    class Still(Recalling):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.0)

    run([callback(every_n_epochs=2)], tmp_path, Still(), max_epochs=5, num_sanity_val_steps=1)
    names = files(tmp_path)
    assert {name.partition("_step=")[2] for name in names} == {"4.png", "8.png"}
    for name in names:
        if name.endswith("=4.png"):
            later = tmp_path / "images" / name.replace("=4.", "=8.")
            assert (tmp_path / "images" / name).read_bytes() == later.read_bytes()


def test_training_draws_what_it_draws_without_the_callbacks(tmp_path):
    def weight(callbacks, root):
        pl.seed_everything(0, verbose=False)
        return run(callbacks, root, max_epochs=3).lightning_module.weight.detach()

    assert torch.equal(weight([], tmp_path / "a"), weight([callback() for callback in ALL], tmp_path / "b"))


def kanerva(kind):
    parts = MLPImageEncoder((1, 8, 8), 8), MLPImageDecoder((1, 8, 8), 4, size=8), BinaryPixels(17)
    if kind is KanervaMachine:
        return kind(*parts, KanervaMemory(5, 4), AddressNetwork(5, 3, hidden_size=8), hidden_size=8)
    return kind(*parts, KanervaMemory(5, 4, covariance="scalar"))


@pytest.mark.parametrize("kind", [KanervaMachine, DynamicKanervaMachine])
def test_kanerva_machines_are_drawn_and_trained_as_without_it(tmp_path, kind):
    def trained(callbacks, root):
        pl.seed_everything(0, verbose=False)
        return run(callbacks, root, kanerva(kind), max_epochs=2)

    alone = trained([], tmp_path / "a").lightning_module
    trainer = trained([callback() for callback in ALL], tmp_path / "b")
    weights = alone.state_dict()
    assert all(
        torch.equal(weights[name], value) for name, value in trainer.lightning_module.state_dict().items()
    )
    assert len(files(tmp_path / "b")) == 2 * 5
    eight = CapacityCurve()._losses(trainer.lightning_module.eval(), probe().flatten(0, 1), 8)
    assert trainer.callback_metrics["val/nelbo_of_8"] == pytest.approx(float(eight.detach().mean()), rel=1e-5)


@pytest.mark.parametrize("callback", ALL)
def test_a_test_leaves_pictures_of_its_own_and_logs_under_its_name(tmp_path, callback):
    trainer = run([callback()], tmp_path, stage="test")
    assert files(tmp_path)
    assert all(name.startswith("test_") for name in files(tmp_path))
    assert all(name.startswith("test/") for name in trainer.callback_metrics)


def test_two_processes_log_the_mean_of_both(tmp_path):
    class Printing(pl.Callback):
        def on_validation_end(self, trainer, pl_module):
            torch.save(trainer.callback_metrics, tmp_path / f"{trainer.global_rank}.pt")

    callbacks = [Denoising(["salt_and_pepper"]), CapacityCurve([1, 4]), Printing()]
    ranks = {"accelerator": "cpu", "devices": 2, "strategy": "ddp_fork"}
    run(callbacks, tmp_path, **ranks)
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    images, errors = probe(batch_size=6), []
    for share in (images[::2], images[1::2]):
        damaged = salt_and_pepper(share, 0.15, torch.Generator().manual_seed(0)).images
        errors.append(float((damaged.float() - share.float()).div(16).square().mean()))
    assert abs(errors[0] - errors[1]) > 1e-4
    for metrics in (one, two):
        assert metrics["val/salt_and_pepper_error_0"] == pytest.approx(sum(errors) / 2, rel=1e-5)
        assert metrics["val/nelbo_of_1"] == pytest.approx(1 + 29 / 60)


@pytest.mark.parametrize("callback", ALL)
def test_a_model_without_the_methods_is_refused_before_training(tmp_path, callback):
    missing = "write" if callback is not CapacityCurve else "losses"
    with pytest.raises(
        TypeError, match=rf"{callback.__name__}: BoringModel must have .*it lacks .*{missing}"
    ):
        run([callback()], tmp_path, BoringModel())


def test_batches_without_episodes_are_refused(tmp_path):
    model = Recalling()
    trainer = pl.Trainer(**QUIET | {"default_root_dir": tmp_path, "callbacks": [ReadIterations()]})
    with pytest.raises(TypeError, match=r"episodes of images under 'images'.*got list"):
        trainer.validate(model, DigitsDataModule(), verbose=False)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: KanervaSamples(episodes=0), "episodes must be at least 1, not 0"),
        (lambda: KanervaSamples(iterations=[]), "iterations must hold at least one number"),
        (lambda: KanervaSamples(iterations=[0]), "iterations must be at least 1, not 0"),
        (lambda: KanervaSamples(num_samples=0), "num_samples must be at least 1"),
        (lambda: ReadIterations(num_images=0), "num_images must be at least 1"),
        (lambda: ReadIterations(every_n_epochs=0), "every_n_epochs must be at least 1"),
        (lambda: Denoising(["blur"]), "damage must hold 'salt_and_pepper', 'occlusion' or both"),
        (lambda: Denoising([]), "damage must hold"),
        (lambda: Denoising(noise=1.1), "noise must lie in"),
        (lambda: Denoising(square=-0.1), "square must lie in"),
        (lambda: Denoising(iterations=0), "iterations must be at least 1"),
        (lambda: CapacityCurve([]), "patterns must hold at least one number"),
        (lambda: CapacityCurve([4, 0]), "patterns must be at least 1, not 0"),
    ],
)
def test_wrong_arguments_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_salt_and_pepper_changes_a_share_of_the_pixels_in_all_channels_alike():
    """Of 20,000 pixels, 1,500 +- 37 go to either end; the bound is 5 standard deviations."""
    images = torch.full((2, 3, 100, 100), 5, dtype=torch.uint8)
    images[0, 0, 0, 0], images[0, 0, 0, 1] = 0, 16
    damaged = salt_and_pepper(images, 0.15, torch.Generator().manual_seed(1)).images
    assert torch.equal(damaged[:, 1], damaged[:, 2])
    assert set(damaged.flatten().tolist()) == {0, 5, 16}
    for value in (0, 16):
        assert abs(int((damaged[:, 1] == value).sum()) - 1500) < 5 * 37
    assert torch.equal(salt_and_pepper(images, 0.0, torch.Generator()).images, images)


def test_an_occluded_image_differs_in_one_square_alone():
    draw = torch.Generator().manual_seed(0)
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(500, 3, -1, -1)
    damaged, reliability = occlude(images, 0.25, draw)
    changed = damaged != images
    assert set(reliability[~changed[:, :1]].tolist()) <= {0.5, 1.0}
    assert (reliability[changed[:, :1]] == 0.5).all()
    assert ((reliability == 0.5).sum((1, 2, 3)) == 16).all()
    assert torch.equal(changed[:, 0], changed[:, 2])
    tops = set()
    for mask in changed[:, 0]:
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        height, width = int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1
        assert (height, width) == (4, 4)
        assert int(mask.sum()) >= 15
        tops.add(int(rows[0]))
    assert tops == set(range(13))
