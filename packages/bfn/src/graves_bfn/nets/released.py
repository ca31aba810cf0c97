"""Reads the weights that the authors of the paper released into the networks of this package."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graves_bfn.nets.transformer import BFNTransformer
from graves_bfn.nets.unet import BFNUNet
from graves_bfn.nets.vdm_unet import BFNVDMUNet

UNET = {
    "project_inputs": "input_projection",
    "embed_time.0": "time_embed.0",
    "embed_time.2": "time_embed.2",
    "first_conv": "input_blocks.0.0",
    "last_norm": "out.0",
    "last_conv": "out.2",
    "project_outputs": "output_adapter.output_projection",
}
UNET_BLOCK = {
    "first_norm": "in_layers.0",
    "first_conv": "in_layers.2",
    "time": "emb_layers.1",
    "second_norm": "out_layers.0",
    "second_conv": "out_layers.3",
    "skip": "skip_connection",
}
UNET_ATTENTION = {"norm": "norm", "qkv": "qkv", "out": "proj_out"}

VDM_UNET = {
    "embed_time.0": "embed_conditioning.0",
    "embed_time.2": "embed_conditioning.2",
    "first_conv": "conv_in",
    "attention.norm": "mid_attn_block.layers.0",
    "attention.qkv": "mid_attn_block.layers.1",
    "attention.out": "mid_attn_block.layers.3",
    "last_norm": "conv_out.0",
    "last_conv": "conv_out.2",
    "project_outputs": "output_adapter.output_projection",
}
VDM_UNET_BLOCK = {
    "first_norm": "net1.0",
    "first_conv": "net1.2",
    "time": "cond_proj",
    "second_norm": "net2.0",
    "second_conv": "net2.3",
    "skip": "skip_conv",
}

TRANSFORMER = {
    "embed_inputs": "input_adapter.inp_embedding",
    "embed_time": "input_adapter.t_embedding",
    "norm": "transformer.ln_f",
    "project_outputs": "lm_head",
}
TRANSFORMER_BLOCK = {
    "attention_norm": "ln_1",
    "qkv": "attn.c_attn",
    "attention_out": "attn.c_proj",
    "mlp_norm": "ln_2",
    "mlp_in": "mlp.c_fc",
    "mlp_out": "mlp.c_proj",
}

CONSTANTS = ("input_adapter.pos_feats", "input_adapter.pos_embedding")
SHOWN = 3


def load_released_weights(network: BFNUNet | BFNVDMUNet | BFNTransformer, path: str | Path) -> None:
    """Copies weights of the authors' code, averaged (`*_ema.pt`) or not, into the same network of ours.

    The file is a plain state dict of tensors. Its keys may begin with `net.` (their model around the
    network), `module.` (data parallelism) and `_orig_mod.` (compilation). Everything is checked before
    anything is copied. Two fixed tables that the files carry are left out: `input_adapter.pos_feats`, which
    no released network reads, and `input_adapter.pos_embedding`, which `BFNTransformer` computes.

    Heads, groups and Fourier exponents leave no trace in the shapes: build the network with those that the
    weights were trained with. The defaults are those of the released files.

    Args:
        network: what to load into; its dtype and device stay. The network is as ready for training as before:
            call `network.eval()` to sample or test.
        path: the file.

    Raises:
        TypeError: when `network` is none of the three networks that have released weights.
        ValueError: when `path` cannot be opened, holds anything but tensors, or its keys and shapes are not
            those of `network`.

    Source: Graves et al. 2023, released code.
    """
    names = _released_names(network)
    state = _read(path)
    prefix = _prefix(state)
    parameters = {prefix + names[name]: (name, p) for name, p in network.named_parameters()}
    expected = {key: _released_shape(network, name, p.shape) for key, (name, p) in parameters.items()}
    problems = _problems(state, expected, {prefix + constant for constant in CONSTANTS})
    if problems:
        raise ValueError(f"path: {path} does not fit this {type(network).__name__}: {'; '.join(problems)}")
    with torch.no_grad():
        for key, (name, parameter) in parameters.items():
            parameter.copy_(_arranged(network, name, state[key]).reshape(parameter.shape))


def _read(path: str | Path) -> dict[str, Tensor]:
    """Reads a file that must be a dict of tensors.

    Raises:
        ValueError: naming the file, when it is not.
    """
    try:
        with Path(path).open("rb") as file:
            state = _unpickled(file, path)
    except OSError as error:
        raise ValueError(f"path: {path} cannot be opened: {error.strerror}") from error
    if not isinstance(state, dict):
        raise ValueError(f"path: {path} holds one {type(state).__name__}; it must be a state dict of tensors")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            kind = type(value).__name__
            raise ValueError(f"path: {path} holds {kind} as {key!r}; it must be a state dict of tensors")
    return state


def _unpickled(file: BinaryIO, path: str | Path) -> Any:
    """Reads tensors and plain containers.

    Raises:
        ValueError: when the file is damaged or holds anything that could run code.
    """
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no checkpoint raise nearly anything
        found = re.search(r"\bGLOBAL (\S+)", str(error))
        reason = f"holds {found[1]}, not tensors alone" if found else "is damaged, cut off or no checkpoint"
        raise ValueError(f"path: {path} {reason}; it must be a state dict saved by PyTorch") from error


def _prefix(state: dict[str, Tensor]) -> str:
    """Finds what wrappers put in front of most keys."""
    found = Counter(re.findall(r"^(?:(?:module|_orig_mod|net)\.)*", key)[0] for key in state)
    return found.most_common(1)[0][0] if found else ""


def _problems(state: dict[str, Tensor], expected: dict[str, tuple[int, ...]], ignored: set[str]) -> list[str]:
    """Says which keys are missing, unexpected or of another shape, a few of each."""
    wrong = [
        f"{key} is {state[key].dtype} {tuple(state[key].shape)}, must be floating {shape}"
        for key, shape in expected.items()
        if key in state and not (state[key].is_floating_point() and state[key].shape == shape)
    ]
    found = {
        "missing": [key for key in expected if key not in state],
        "unexpected": [key for key in state if key not in expected and key not in ignored],
        "wrong": wrong,
    }
    return [f"{len(keys)} {kind} ({_few(keys)})" for kind, keys in found.items() if keys]


def _few(keys: list[str]) -> str:
    return ", ".join(keys[:SHOWN]) + (", ..." if len(keys) > SHOWN else "")


def _released_names(network: nn.Module) -> dict[str, str]:
    """The released name of each of our parameters; one that the released network lacks keeps its own.

    Raises:
        TypeError: when there is no such released network.
    """
    if isinstance(network, BFNUNet):
        modules = _unet_modules(network)
    elif isinstance(network, BFNVDMUNet):
        modules = _vdm_unet_modules(network)
    elif isinstance(network, BFNTransformer):
        blocks = range(len(network.blocks))
        modules = TRANSFORMER | _joined(
            (f"blocks.{i}", f"transformer.h.{i}", TRANSFORMER_BLOCK) for i in blocks
        )
    else:
        allowed = "BFNUNet, BFNVDMUNet or BFNTransformer"
        raise TypeError(f"network must be a {allowed}, got {type(network).__name__}")
    parts = {name: name.rpartition(".") for name, _ in network.named_parameters()}
    return {name: f"{modules.get(owner, owner)}.{leaf}" for name, (owner, _, leaf) in parts.items()}


def _joined(parts: Iterable[tuple[str, str, dict[str, str]]]) -> dict[str, str]:
    """Puts our and the released path of a part in front of the names within it."""
    return {
        f"{ours}.{inner}": f"{released}.{name}"
        for ours, released, names in parts
        for inner, name in names.items()
    }


def _unet_modules(network: BFNUNet) -> dict[str, str]:
    """Our modules and the released ones; the latter number what a stage holds: block, attention, resizing."""
    paths = {path for path, _ in network.named_modules()}
    stages = [(f"down.{i}", f"input_blocks.{i + 1}") for i in range(len(network.down))]
    stages += [(f"up.{i}", f"output_blocks.{i}") for i in range(len(network.up))]
    parts = [("middle.0.block", "middle_block.0", UNET_BLOCK)]
    parts += [("middle.0.attention", "middle_block.1", UNET_ATTENTION)]
    parts += [("middle.1.block", "middle_block.2", UNET_BLOCK)]
    modules = dict(UNET)
    for ours, released in stages:
        parts += [(f"{ours}.block", f"{released}.0", UNET_BLOCK)]
        parts += [(f"{ours}.attention", f"{released}.1", UNET_ATTENTION)]
        modules[ours] = f"{released}.0.op"
        modules[f"{ours}.enlarge"] = f"{released}.{2 if f'{ours}.attention' in paths else 1}.conv"
    return modules | _joined(parts)


def _vdm_unet_modules(network: BFNVDMUNet) -> dict[str, str]:
    """Our modules and the released ones."""
    blocks = [("middle_in", "mid_resnet_block_1"), ("middle_out", "mid_resnet_block_2")]
    blocks += [(f"down.{i}", f"down_blocks.{i}.resnet_block") for i in range(len(network.down))]
    blocks += [(f"up.{i}", f"up_blocks.{i}.resnet_block") for i in range(len(network.up))]
    return VDM_UNET | _joined((ours, released, VDM_UNET_BLOCK) for ours, released in blocks)


def _released_shape(network: nn.Module, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a released parameter; layers of attention between pixels are convolutions of size 1."""
    if not name.endswith(("attention.qkv.weight", "attention.out.weight")):
        return tuple(shape)
    return (*shape, 1) if isinstance(network, BFNUNet) else (*shape, 1, 1)


def _arranged(network: nn.Module, name: str, value: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Brings rows into our order: the released VDM U-Net has all queries, all keys, all values in turn."""
    if not (isinstance(network, BFNVDMUNet) and name.startswith("attention.qkv.")):
        return value
    parts = value.reshape(3, network.attention.heads, -1, *value.shape[1:])
    return parts.transpose(0, 1).reshape(value.shape)
