"""What holds for every data set: what batches are, who sees which example, and runs by the Trainer."""

import inspect

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

import graves_core
from graves_core.testing.fake_data import write_fake_data

pytest.importorskip("sklearn")
NAMES = sorted(name for name in dir(graves_core) if name.endswith("DataModule"))
TABLES = ["DiabetesDataModule"]
SEX = {"sex": graves_core.FieldSpec("class", ("sex",), classes=2)}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = write_fake_data(tmp_path_factory.mktemp("data"))
    (root / "any.txt").write_text("The quick brown fox jumps over the lazy dog. " * 100)
    return root


@pytest.fixture
def make(root):
    def make(name, **arguments):
        cls = getattr(graves_core, name)
        known = inspect.signature(cls).parameters
        common = {"data_dir": str(root), "file": "any.txt", "length": 32, "size": 21, "batch_size": 8}
        return cls(**{key: value for key, value in common.items() if key in known}, **arguments)

    return make


def flat(batch):
    if isinstance(batch, dict):
        return torch.cat(list(batch.values()), 1)
    return batch if isinstance(batch, torch.Tensor) else batch[0]


def rows(loader):
    return sorted(tuple(row.flatten().tolist()) for batch in loader for row in flat(batch))


def test_all_ten_sets_are_public():
    assert NAMES == [
        "CIFAR10DataModule",
        "DiabetesDataModule",
        "DigitsDataModule",
        "EnglishTextDataModule",
        "EnglishWordsDataModule",
        "FashionMNISTDataModule",
        "MNISTDataModule",
        "OmniglotDataModule",
        "Text8DataModule",
        "TextFileDataModule",
    ]


def first_batches(data):
    data.prepare_data()
    data.setup()
    for stage in ("train", "val", "test", "predict"):
        yield next(iter(getattr(data, f"{stage}_dataloader")()))


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(TABLES)))
def test_batches_are_what_the_spec_says(make, name):
    data = make(name)
    for batch in first_batches(data):
        spec, values = data.spec, flat(batch)
        assert values.dtype == torch.uint8
        assert values.shape[1:] == spec.shape
        assert int(values.max()) < spec.levels
        if spec.kind == "image":
            assert batch[1].dtype == torch.int64
            assert batch[1].shape == values.shape[:1]
            assert int(batch[1].max()) < spec.classes


@pytest.mark.parametrize("name", TABLES)
def test_batches_of_tables_are_what_the_spec_says(make, name):
    data = make(name)
    for batch in first_batches(data):
        assert list(batch) == list(data.spec.fields)
        for field, values in zip(data.spec.fields.values(), batch.values(), strict=True):
            assert values.dtype == (torch.float32 if field.kind == "real" else torch.int64)
            assert values.shape == (8, len(field.names))
            low, high = torch.tensor(field.ranges, dtype=values.dtype).T
            assert ((low <= values) & (values <= high)).all()


@pytest.mark.parametrize("name", NAMES)
def test_splits_do_not_depend_on_batch_size_and_workers(make, name):
    one, other = make(name, seed=7), make(name, seed=7)
    other.batch_size = 5
    one.setup("fit")
    other.setup("fit")
    assert rows(one.val_dataloader()) == rows(other.val_dataloader())


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_sees_every_example_once(make, name):
    data = make(name)
    data.setup()
    for loader in (data.val_dataloader(), data.test_dataloader()):
        assert sum(len(flat(batch)) for batch in loader) == len(loader.dataset)


@pytest.mark.parametrize("name", NAMES)
def test_training_batches_are_full_and_in_another_order_each_epoch(make, name):
    data = make(name)
    data.setup("fit")
    loader = data.train_dataloader()
    epochs = [[flat(batch) for batch in loader] for _ in range(2)]
    assert {len(batch) for epoch in epochs for batch in epoch} == {8}
    assert not torch.equal(torch.cat(epochs[0]), torch.cat(epochs[1]))


@pytest.mark.parametrize("name", NAMES)
def test_set_smaller_than_a_batch_is_one_batch(make, name):
    data = make(name)
    data.batch_size = 100_000
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert [len(flat(batch)) for batch in batches] == [len(data.train_dataloader().dataset)]


@pytest.mark.parametrize("name", NAMES)
def test_workers_and_resuming_change_nothing(make, name):
    data = make(name)
    data.setup("fit")
    loader = data.train_dataloader()
    epochs = [[flat(batch) for batch in loader] for _ in range(2)]
    data.num_workers = 1
    resumed = data.train_dataloader()
    resumed.load_state_dict({"epoch": 1, "batches": 1})
    rest = [flat(batch) for batch in resumed]
    assert len(rest) == len(epochs[1]) - 1
    assert all(torch.equal(one, other) for one, other in zip(rest, epochs[1][1:], strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_ranks_share_the_batches_of_one_process_out(make, monkeypatch, name):
    whole, shared = make(name), make(name)
    shared.batch_size = 4
    whole.setup("fit")
    shared.setup("fit")
    expected = [flat(batch) for batch in whole.train_dataloader()]
    for rank in range(2):
        monkeypatch.setattr("graves_core.batches.rank_and_world", lambda rank=rank: (rank, 2))
        batches = [flat(batch) for batch in shared.train_dataloader()]
        assert all(torch.equal(one, other[rank::2]) for one, other in zip(batches, expected, strict=True))


class Counter(LightningModule):
    """Counts the examples of each loop."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = {"train": 0, "val": 0, "test": 0, "predict": 0}

    def training_step(self, batch):
        self.seen["train"] += len(flat(batch))
        return self.weight * flat(batch).float().mean()

    def validation_step(self, batch):
        self.seen["val"] += len(flat(batch))

    def test_step(self, batch):
        self.seen["test"] += len(flat(batch))

    def predict_step(self, batch):
        self.seen["predict"] += len(flat(batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(folder):
    return Trainer(
        accelerator="cpu",
        max_epochs=1,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


@pytest.mark.parametrize("name", ["MNISTDataModule", "Text8DataModule"])
def test_trainer_runs_all_stages(make, tmp_path, name):
    model, data = Counter(), make(name)
    runner = trainer(tmp_path)
    runner.fit(model, datamodule=data)
    runner.test(model, datamodule=data, verbose=False)
    runner.predict(model, datamodule=data)
    sizes = {part: len(getattr(data, f"{part}_dataloader")().dataset) for part in ("train", "val", "test")}
    assert model.seen == {
        "train": sizes["train"] // 8 * 8,
        "val": sizes["val"],
        "test": sizes["test"],
        "predict": sizes["test"],
    }


def test_no_validation_when_the_fraction_is_zero(make, tmp_path):
    model, data = Counter(), make("MNISTDataModule", val_fraction=0.0)
    trainer(tmp_path).fit(model, datamodule=data)
    assert data.val_dataloader() == []
    assert model.seen == {"train": 256, "val": 0, "test": 0, "predict": 0}


def test_only_the_files_of_the_stage_are_fetched(tmp_path, monkeypatch):
    fetched = []
    data = graves_core.DigitsDataModule()
    monkeypatch.setattr(data, "fetch", fetched.append)
    runner = trainer(tmp_path)
    runner.fit(Counter(), datamodule=data)
    assert fetched == ["train"]
    runner.test(Counter(), datamodule=data, verbose=False)
    assert fetched == ["train", "test"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"num_workers": -1}, "num_workers must be at least 0, got -1"),
        ({"seed": -1}, "seed must lie in 0..2\\*\\*32-1, got -1"),
        ({"val_fraction": 1.0}, "val_fraction must lie in \\[0, 1\\), got 1.0"),
        ({"val_fraction": -0.1}, "val_fraction must lie in \\[0, 1\\), got -0.1"),
    ],
)
def test_arguments_are_checked_at_construction(arguments, message):
    with pytest.raises(ValueError, match=message):
        graves_core.DigitsDataModule(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"kind": "sound", "shape": (1,), "levels": 2},
            "kind must be 'image', 'text', 'table' or 'sequence', got",
        ),
        ({"kind": "image", "shape": (28, 28), "levels": 2}, "shape of kind 'image' takes 3 sizes"),
        ({"kind": "text", "shape": (0,), "levels": 2}, "shape of kind 'text' takes 1 sizes >= 1"),
        ({"kind": "text", "shape": (4,), "levels": 257}, "levels must lie in 2..256, got 257"),
        ({"kind": "text", "shape": (4,), "levels": 3, "symbols": "ab"}, "symbols must be 3 .levels. char"),
        ({"kind": "text", "shape": (4,)}, "levels must lie in 2..256, got None"),
        ({"kind": "text", "shape": (4,), "levels": 3, "padding": 3}, "padding must lie in 0..2, got 3"),
        ({"kind": "image", "shape": (1, 2, 2), "levels": 3, "padding": 0}, "padding must be None for kind"),
        ({"kind": "table"}, "fields are for kind 'table', which needs some; got .. for 'table'"),
        (
            {"kind": "text", "shape": (4,), "levels": 3, "fields": SEX},
            "fields are for kind 'table', which needs some",
        ),
        ({"kind": "table", "shape": (4,), "fields": SEX}, "shape of kind 'table' takes 0 sizes"),
        ({"kind": "table", "levels": 4, "fields": SEX}, "levels must be None for kind 'table', got 4"),
    ],
)
def test_spec_that_contradicts_itself_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        graves_core.DataSpec(**arguments)


def test_images_have_no_symbols_to_decode():
    with pytest.raises(ValueError, match="data of kind 'image' cannot be read as text"):
        graves_core.DataSpec("image", (1, 2, 2), levels=2).decode([0])
