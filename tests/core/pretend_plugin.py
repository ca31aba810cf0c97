"""A small third-party plugin, written to a folder as pip installs it, and the command run in this process."""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

from graves_core.cli import main

NETS = """
    from typing import Literal

    import torch
    from torch import nn
    from graves_core.spec import Spec


    class Net(Spec, nn.Module):
        '''A layer.

        Args:
            width: number of inputs.
            activation: what follows.
        '''

        def __init__(self, width: int, activation: Literal["relu", "tanh"] = "relu") -> None:
            super().__init__()
            if width < 1:
                raise ValueError(f"width must be at least 1, got {width}")
            self.layer = nn.Linear(width, 1)


    class NeedsExtra(Net):
        def __init__(self, width: int = 3) -> None:
            raise ImportError('scipy is missing: pip install "graves-pretend[scipy]"')


    class Buggy(Net):
        def __init__(self, width: int = 3) -> None:
            None + width
"""
MODULE = """
    import torch
    from lightning.pytorch import LightningModule
    from lightning.pytorch.cli import OptimizerCallable
    from graves_core.spec import Spec
    from graves_pretend.nets import Net


    class Pretender(Spec, LightningModule):
        '''Learns nothing.

        Args:
            net: the network.
            scale: a number that is logged.
            optimizer: how it is trained.
        '''

        def __init__(
            self, net: Net, scale: float = 1.0, optimizer: OptimizerCallable = torch.optim.AdamW
        ) -> None:
            super().__init__()
            self.net, self.scale, self.optimizer = net, scale, optimizer

        def training_step(self, batch, index):
            return self.net.layer(batch).square().mean()

        def test_step(self, batch, index):
            self.log("scale", self.scale)

        def configure_optimizers(self):
            return self.optimizer(self.parameters())


    class Grouped(Pretender):
        def parameter_groups(self):
            return [{"params": self.parameters()}]
"""
DATA = """
    import torch
    from lightning.pytorch import LightningDataModule


    class NoiseDataModule(LightningDataModule):
        '''Noise.

        Args:
            size: number of rows.
            file: a file that must exist.
        '''

        def __init__(self, size: int = 8, file: str | None = None) -> None:
            super().__init__()
            self.size, self.file = size, file

        def prepare_data(self):
            if self.file:
                raise FileNotFoundError(f"no file {self.file}")

        def train_dataloader(self):
            return torch.utils.data.DataLoader(torch.randn(self.size, 3), batch_size=4)

        test_dataloader = train_dataloader
"""
RECIPE = """\
# A pretended table 1: nothing is learned, in no time
model:
  class_path: graves_pretend.Pretender
  init_args:
    net: {class_path: graves_pretend.Net, init_args: {width: 3}}
    optimizer: {class_path: torch.optim.Adam, init_args: {lr: 1e-3}}
data: graves_pretend.NoiseDataModule
trainer:
  max_epochs: 1
  accelerator: cpu
  logger: false
  log_every_n_steps: 1
  enable_progress_bar: false
  enable_model_summary: false
  callbacks:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {save_last: true}
"""
STUB = """
    from .data import NoiseDataModule as NoiseDataModule
    from .module import Grouped as Grouped
    from .module import Pretender as Pretender
    from .nets import Buggy as Buggy
    from .nets import NeedsExtra as NeedsExtra
    from .nets import Net as Net
"""
INIT = """
    from graves_core.lazy import attach

    __getattr__, __dir__, __all__ = attach(__name__, __file__)
"""


def install(site: Path, name: str, entry_points: str, files: dict[str, str], version: str = "1.2") -> None:
    """Writes a distribution into a folder, as pip would."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    everything = {f"{info.name}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"}
    everything |= {f"{info.name}/entry_points.txt": entry_points} | files
    for path, text in everything.items():
        file = site / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text), encoding="utf-8")


def install_plugin(site: Path) -> None:
    """Writes the distribution graves-pretend into a folder."""
    package = {
        "__init__.py": INIT,
        "__init__.pyi": STUB,
        "nets.py": NETS,
        "module.py": MODULE,
        "data.py": DATA,
    }
    files = {f"graves_pretend/{name}": text for name, text in package.items()}
    files["graves_pretend/recipes/tiny.yaml"] = RECIPE
    install(site, "graves-pretend", "[graves.plugins]\npretend = graves_pretend\n", files)


@pytest.fixture(scope="session")
def pretend_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the distribution graves-pretend is installed."""
    site = tmp_path_factory.mktemp("site")
    install_plugin(site)
    return site


@dataclass(frozen=True)
class Answer:
    """What one command line did."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """What stderr says besides Lightning's log; checked to be short and without a stack trace."""
        lines = [line for line in self.err.splitlines() if not line.startswith(("Seed set", "GPU available"))]
        assert self.code == 2
        assert 1 <= len(lines) <= 3
        assert "Traceback" not in self.err
        return "\n".join(lines)


Command = Callable[..., Answer]


@pytest.fixture
def lightning(
    pretend_site: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Command:
    """The command, run in this process in an empty folder, with that plugin and `tiny.yaml` at hand."""
    monkeypatch.setattr(sys, "path", [str(pretend_site), *sys.path])
    monkeypatch.setattr(
        logging, "raiseExceptions", False
    )  # Lightning's handler keeps the stderr of its import
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(RECIPE, encoding="utf-8")

    def run(*words: str) -> Answer:
        capfd.readouterr()
        code = main(words)
        captured = capfd.readouterr()
        return Answer(code, captured.out, captured.err)

    return run
