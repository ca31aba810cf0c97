"""Drawings that are turned and stretched."""

import math

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor


def affine_maps(
    turns: Int64[Tensor, "*some"], degrees: Float[Tensor, "*some"], factors: Float[Tensor, "*some 2"]
) -> Float[Tensor, "*some 2 3"]:
    """Where the points of a picture lie in the drawing that it is made of, as `affine_grid` takes it.

    The drawing is stretched along its own axes, then turned counter-clockwise about its middle.

    Args:
        turns: quarter turns.
        degrees: the turn beyond those.
        factors: by how much the drawing becomes wider and higher.

    Example:
        >>> affine_maps(torch.tensor(1), torch.tensor(0.0), torch.tensor([2.0, 1.0])).round()
        tensor([[-0., -0., 0.],
                [1., -0., 0.]])
    """
    angle = turns * (math.pi / 2) + degrees * (math.pi / 180)
    cos, sin = angle.cos(), angle.sin()
    back = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    return torch.nn.functional.pad(back / factors[..., None], (0, 1))


def warped(
    drawings: UInt8[Tensor, "many channels height width"], maps: Float[Tensor, "many 2 3"], paper: int
) -> UInt8[Tensor, "many channels height width"]:
    """Looks the points of pictures up in drawings, with bilinear interpolation.

    Args:
        drawings: what is turned and stretched; all channels of one alike.
        maps: where the points lie, one map for each drawing.
        paper: the value outside of the drawings.

    Example:
        >>> drawing = torch.tensor([[[[1, 2], [3, 4]]]], dtype=torch.uint8)
        >>> turn = affine_maps(torch.tensor([1]), torch.zeros(1), torch.ones(1, 2))
        >>> warped(drawing, turn, paper=0).tolist() == drawing.rot90(1, (2, 3)).tolist()
        True
    """
    grid = torch.nn.functional.affine_grid(maps, list(drawings.shape), align_corners=False)
    ink = drawings.to(maps.dtype) - paper
    seen = torch.nn.functional.grid_sample(ink, grid, align_corners=False)
    return (seen + paper).round_().to(torch.uint8)
