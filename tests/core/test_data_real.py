"""The original files, against the numbers published with them."""

import pytest
import torch

from graves_core import CIFAR10DataModule, MNISTDataModule, OmniglotDataModule, TextFileDataModule
from graves_core.data.alphabet import LETTERS
from graves_core.data.files import DataFolder
from graves_core.data.mnist import FILES

pytestmark = pytest.mark.real_data


@pytest.fixture
def home(real_data, request):
    folder = real_data / request.param
    if not folder.exists():
        pytest.skip(f"{request.param} is not at hand")
    return folder


at = pytest.mark.parametrize


@at("home", ["mnist"], indirect=True)
def test_mnist(home):
    data = MNISTDataModule(str(home.parent))
    images, labels = data.read("train")
    assert labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    pixels = images.double() / 255
    assert (round(float(pixels.mean()), 5), round(float(pixels.std()), 5)) == (0.13066, 0.30811)
    _, labels = data.read("test")
    assert labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@at("home", ["mnist"], indirect=True)
def test_checksums_of_mnist_are_those_of_the_original_files(home):
    import hashlib

    data = MNISTDataModule(str(home.parent))
    for name in (name for names in FILES.values() for name in names):
        path = DataFolder(str(home), "mnist").require(name)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == data.remote(name).sha256


@at("home", ["cifar10/lossless"], indirect=True)
def test_partly_filled_lossless_cifar10(home):
    data = CIFAR10DataModule(str(home))
    images, labels = data.read("train")
    assert images.shape == (3000, 3, 32, 32)
    assert images[0, 0, 0, :5].tolist() == [59, 43, 50, 68, 98]
    assert labels.bincount().tolist() == [299, 287, 322, 285, 311, 279, 312, 297, 308, 300]
    with pytest.raises(FileNotFoundError, match="holds no test_batch"):
        data.setup("test")


@at("home", ["cifar10/jpeg"], indirect=True)
def test_partly_filled_cifar10_with_a_test_batch(home):
    data = CIFAR10DataModule(str(home))
    assert data.read("train")[1].bincount().tolist() == [497, 510, 511, 494, 508, 489, 503, 513, 497, 478]
    assert data.read("test")[1].bincount().tolist() == [196, 198, 195, 199, 198, 185, 216, 193, 217, 203]


@at("home", ["omniglot"], indirect=True)
def test_omniglot(home):
    data = OmniglotDataModule(str(home.parent), size=15)
    data.setup("fit")
    background, evaluation = data.train_dataloader().dataset.labels, data.test_dataloader().dataset.labels
    assert torch.equal(background.bincount(), torch.full((964,), 20))
    assert torch.equal(evaluation.bincount(), torch.tensor([0] * 964 + [20] * 659))
    assert len(data.val_dataloader().dataset) == 96 * 20


@at("home", ["text"], indirect=True)
def test_novels_in_the_layout_of_text8(home):
    data = TextFileDataModule("novels27.zip", str(home.parent), length=250)
    data.setup()
    assert data.spec.symbols == LETTERS
    assert [len(loader.dataset) for loader in (data.val_dataloader(), data.test_dataloader())] == [4000, 4000]
    assert len(data.train_dataloader().dataset) == (18_000_000 - 249) // 250


@at("home", ["text"], indirect=True)
@at(
    ("name", "length", "symbols"),
    [("tinyshakespeare.txt", 1_115_394, 65), ("wikitext-2.valid.txt.gz", 1_121_681, 122)],
)
def test_plain_and_gzipped_text(home, name, length, symbols):
    data = TextFileDataModule(name, str(home.parent))
    text, _ = data.read()
    assert len(text.encode()) == length
    data.setup("test")
    assert data.spec.levels == symbols
