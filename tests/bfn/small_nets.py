"""Small networks of every kind with extra inputs, and all that can be said to them."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from graves_bfn import (
    BFNMLP,
    BFNConvNet,
    BFNMixedMLP,
    BFNNetwork,
    BFNTransformer,
    BFNUNet,
    BFNVDMUNet,
    ClassCondition,
    ExtraInputs,
    FieldShape,
)

SHAPE = (4, 6, 2)
FIELDS = {"what": FieldShape((4,), 5, 5), "bit": FieldShape((2,), 1, 1), "at": FieldShape((4, 3), 1, 2)}
Make = Callable[[int, ExtraInputs | None], BFNNetwork]
Network = TypeVar("Network", bound=nn.Module)


def mlp(size: int, extra: ExtraInputs | None) -> BFNNetwork:
    return BFNMLP(SHAPE, size, size, width=16, depth=2, extra_inputs=extra)


def unet(size: int, extra: ExtraInputs | None) -> BFNNetwork:
    return BFNUNet(SHAPE, size, size, 16, (1, 2), 1, 2, (2,), dropout=0.0, groups=8, extra_inputs=extra)


def vdm_unet(size: int, extra: ExtraInputs | None) -> BFNNetwork:
    return BFNVDMUNet(SHAPE, size, size, 16, blocks=1, dropout=0.0, groups=8, extra_inputs=extra)


def convnet(size: int, extra: ExtraInputs | None) -> BFNNetwork:
    return BFNConvNet(SHAPE, size, size, width=16, dilations=(1, 2), kernel=5, extra_inputs=extra)


def transformer(size: int, extra: ExtraInputs | None) -> BFNNetwork:
    return BFNTransformer(SHAPE, size, size, width=16, depth=2, heads=2, extra_inputs=extra)


MAKERS: list[Make] = [mlp, unet, vdm_unet, convnet, transformer]


def everything(dropout: float = 0.0) -> ExtraInputs:
    """All extra inputs at once; labels of three classes."""
    return ExtraInputs(ClassCondition(3, dropout), known=True, self_conditioning=True)


def awake(net: Network) -> Network:
    """Moves the layers that start at zero away from it, as the first training steps do."""
    generator = torch.Generator().manual_seed(0)
    for p in net.parameters():
        p.data += 0.05 * torch.randn(p.shape, generator=generator)
    return net


def said(shape: tuple[int, ...] = SHAPE, batch: int = 3) -> dict[str, Tensor]:
    """Means, times and all that `everything` adds, for networks of one number per variable."""
    generator = torch.Generator().manual_seed(1)
    places: dict[str, Any] = {"size": (batch, *shape), "generator": generator}
    return {
        "inputs": torch.randn(**places),
        "t": torch.rand(batch, generator=generator),
        "condition": torch.arange(batch) % 3,
        "valid": torch.rand(**places) < 0.7,
        "known": torch.rand(**places) < 0.5,
        "estimate": torch.randn(**places),
    }


def mixed(extra: ExtraInputs | None = None, **sizes: Any) -> BFNMixedMLP:
    return BFNMixedMLP(FIELDS, **{"width": 16, "depth": 2, **sizes}, extra_inputs=extra)


def spoken(batch: int = 3) -> dict[str, Any]:
    """Inputs, times and all that `everything` adds, for `FIELDS`."""
    g = torch.Generator().manual_seed(2)

    def masks(share: float) -> dict[str, Tensor]:
        drawn = {name: torch.rand(batch, *f.shape, generator=g) < share for name, f in FIELDS.items()}
        for mask in drawn.values():
            mask.view(-1)[:2] = torch.tensor([True, False])
        return drawn

    def parameters() -> dict[str, Tensor]:
        what, at = torch.randn(batch, 4, 5, generator=g).softmax(-1), torch.randn(batch, 4, 3, generator=g)
        return {"at": at, "what": what, "bit": torch.rand(batch, 2, 1, generator=g)}

    return {
        "inputs": parameters(),
        "t": torch.rand(batch, generator=g),
        "condition": torch.arange(batch) % 3,
        "valid": masks(0.7),
        "known": masks(0.5),
        "estimate": parameters(),
    }
