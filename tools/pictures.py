"""Trains what the READMEs show, from the shipped experiments; copies the last pictures to docs/pictures/."""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHOWN = {
    "bfn/digits": ["samples.png", "generation.gif", "strip.png", "quality.png", "quality_samples.png"],
    "bfn/digits_conditional": ["samples.png", "completions.png"],
    "bfn/diabetes": ["marginals.png"],
    "bfn/mnist_small": ["samples.png", "strip.png"],
    "bayes/digits_vi": ["description_length.png"],
    "memory/copy": ["memory.png", "progress.png"],
    "memory/kanerva_digits": ["samples.png", "denoising_occlusion.png"],
    "rnn_training/copy_snap": ["predictions.png", "progress.png"],
}
TESTED = {"bfn/digits": "graves_bfn.BFNQuality"}
"""Callbacks that draw some of the pictures in a test after the training."""


def latest(run: Path, picture: str) -> Path:
    """The file of a kind of picture that was drawn last in a run.

    Raises:
        FileNotFoundError: when the run drew none.
    """
    kind = Path(picture)
    found = {
        int(match.group(1)): path
        for path in run.rglob(f"{kind.stem}_step=*{kind.suffix}")
        if (match := re.search(r"step=(\d+)", path.name))
    }
    if not found:
        raise FileNotFoundError(f"{run} holds no {kind.stem}_step=...{kind.suffix}")
    return found[max(found)]


def lightning(verb: str, recipe: str, run: str, *options: str) -> None:
    """Runs the command on a recipe in a folder of its own."""
    config = ROOT / "lightning_configs" / f"{recipe}.yaml"
    command = [sys.executable, "-m", "graves_core", verb, "--config", str(config)]
    subprocess.run([*command, "--trainer.default_root_dir", run, *options], check=True, cwd=run)


def main(options: list[str]) -> None:
    """Trains each experiment and copies its pictures; options go to `lightning fit`."""
    target = ROOT / "docs" / "pictures"
    target.mkdir(exist_ok=True)
    for recipe, pictures in SHOWN.items():
        with tempfile.TemporaryDirectory() as run:
            lightning("fit", recipe, run, *options)
            if recipe in TESTED:
                (checkpoint,) = Path(run).rglob("last.ckpt")
                callback = f"--trainer.callbacks+={TESTED[recipe]}"
                lightning("test", recipe, run, "--ckpt_path", str(checkpoint), callback)
            for picture in pictures:
                name = recipe.replace("/", "_")
                shutil.copyfile(latest(Path(run), picture), target / f"{name}_{picture}")


if __name__ == "__main__":
    main(sys.argv[1:])
