"""Pictures and texts of a run, into its folder and to its logger."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from jaxtyping import UInt8
from torch import Tensor

from graves_core.pictures import image_grid, save_gif, save_png, visible_scale


def log_images(
    trainer: pl.Trainer,
    name: str,
    images: UInt8[Tensor, "count channels height width"],
    columns: int | None = None,
) -> Path | None:
    """Shows images as a grid: a PNG file in `images/` of the run's folder, and in the logger if it can.

    All ranks must call it, because the run's folder is agreed upon among them; rank 0 writes its images.

    Args:
        trainer: the Trainer of the run.
        name: what the images show; the file is called `<name>_step=<global step>.png`.
        images: at least one image, of 1 channel for grey or 3 for colours.
        columns: images per row; `None` makes the grid as square as can be.

    Returns:
        The file on rank 0, and `None` on other ranks.

    Example:
        >>> import tempfile, torch
        >>> trainer = pl.Trainer(logger=False, default_root_dir=tempfile.mkdtemp())
        >>> log_images(trainer, "noise", torch.randint(256, (9, 1, 8, 8), dtype=torch.uint8)).name
        'noise_step=0.png'
    """
    path = _file(trainer, "images", name, "png")
    if path is None:
        return None
    grid = image_grid(images, columns).cpu()
    save_png(grid, path, visible_scale(grid))
    for logger in trainer.loggers:
        experiment: Any = getattr(logger, "experiment", None)
        if hasattr(experiment, "add_image"):
            experiment.add_image(name, grid, trainer.global_step)
        elif hasattr(logger, "log_image"):
            logger.log_image(name, [grid.permute(1, 2, 0).numpy()], step=trainer.global_step)
    return path


def log_animation(
    trainer: pl.Trainer,
    name: str,
    frames: UInt8[Tensor, "time channels height width"],
    milliseconds: int = 100,
) -> Path | None:
    """Shows an animation: a GIF file in `images/` of the run's folder. All ranks must call it.

    Args:
        trainer: the Trainer of the run.
        name: what the animation shows; the file is called `<name>_step=<global step>.gif`.
        frames: at least one image, of 1 channel for grey or 3 for colours; see `image_grid` for many at once.
        milliseconds: how long each frame is shown.

    Returns:
        The file on rank 0, and `None` on other ranks.
    """
    path = _file(trainer, "images", name, "gif")
    return path and save_gif(frames, path, milliseconds, visible_scale(frames))


def log_text(trainer: pl.Trainer, name: str, lines: Sequence[str]) -> Path | None:
    """Shows texts: a file in `texts/` of the run's folder, and in the logger if it can.

    All ranks must call it, because the run's folder is agreed upon among them; rank 0 writes its lines.

    Args:
        trainer: the Trainer of the run.
        name: what the texts are; the file is called `<name>_step=<global step>.txt`.
        lines: the texts.

    Returns:
        The file on rank 0, and `None` on other ranks.
    """
    path = _file(trainer, "texts", name, "txt")
    if path is None:
        return None
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    for logger in trainer.loggers:
        experiment: Any = getattr(logger, "experiment", None)
        if hasattr(experiment, "add_text"):
            experiment.add_text(name, "\n\n".join(lines), trainer.global_step)
        elif hasattr(logger, "log_text"):
            logger.log_text(name, columns=["text"], data=[[line] for line in lines], step=trainer.global_step)
    return path


def _file(trainer: pl.Trainer, kind: str, name: str, ending: str) -> Path | None:
    folder = trainer.log_dir or trainer.default_root_dir  # talks to the other ranks
    if not trainer.is_global_zero:
        return None
    path = Path(folder) / kind / f"{name.replace('/', '_')}_step={trainer.global_step}.{ending}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
