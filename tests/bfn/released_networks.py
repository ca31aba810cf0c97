"""The released networks restated from the names in their files: the shapes, and what they compute.

Functions of a dict of tensors, with channels first inside the U-Nets; nothing of the package is used.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

Shapes = dict[str, tuple[int, ...]]
Weights = dict[str, Tensor]
POSITION_FEATURES = 2 * 2 * 64 + 2


def layer(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def unet_block(name: str, time: int, size: int, new_size: int) -> Shapes:
    shapes = layer(f"{name}.in_layers.0", size) | layer(f"{name}.in_layers.2", new_size, size, 3, 3)
    shapes |= layer(f"{name}.emb_layers.1", new_size, time) | layer(f"{name}.out_layers.0", new_size)
    shapes |= layer(f"{name}.out_layers.3", new_size, new_size, 3, 3)
    return shapes | (layer(f"{name}.skip_connection", new_size, size, 1, 1) if size != new_size else {})


def unet_attention(name: str, size: int) -> Shapes:
    shapes = layer(f"{name}.norm", size) | layer(f"{name}.qkv", 3 * size, size, 1)
    return shapes | layer(f"{name}.proj_out", size, size, 1)


def unet_shapes(
    channels: int,
    multipliers: tuple[int, ...] = (1, 2, 2),
    blocks: int = 2,
    attended: tuple[int, ...] = (),
    pixels: int = 784,
) -> Shapes:
    """The MNIST network; `attended` holds down-sampling factors."""
    time, last = 4 * channels, len(multipliers) - 1
    shapes: Shapes = {"input_adapter.pos_feats": (pixels, POSITION_FEATURES)}
    shapes |= layer("input_projection", channels, 2) | layer("input_blocks.0.0", channels, channels, 3, 3)
    shapes |= layer("time_embed.0", time, channels) | layer("time_embed.2", time, time)
    size, seen, number = channels, [channels], 1
    for level, multiplier in enumerate(multipliers):
        for _ in range(blocks):
            name, new_size = f"input_blocks.{number}", multiplier * channels
            shapes |= unet_block(f"{name}.0", time, size, new_size)
            shapes |= unet_attention(f"{name}.1", new_size) if 2**level in attended else {}
            size, seen, number = new_size, [*seen, new_size], number + 1
        if level < last:
            shapes |= layer(f"input_blocks.{number}.0.op", size, size, 3, 3)
            seen, number = [*seen, size], number + 1
    shapes |= unet_block("middle_block.0", time, size, size) | unet_attention("middle_block.1", size)
    shapes |= unet_block("middle_block.2", time, size, size)
    for number in range((last + 1) * (blocks + 1)):
        level = last - number // (blocks + 1)
        name, new_size = f"output_blocks.{number}", multipliers[level] * channels
        shapes |= unet_block(f"{name}.0", time, size + seen.pop(), new_size)
        shapes |= unet_attention(f"{name}.1", new_size) if 2**level in attended else {}
        if level and number % (blocks + 1) == blocks:
            position = 2 if 2**level in attended else 1
            shapes |= layer(f"{name}.{position}.conv", new_size, new_size, 3, 3)
        size = new_size
    shapes |= layer("out.0", size) | layer("out.2", channels, size, 3, 3)
    return shapes | layer("output_adapter.output_projection", 1, 2 * channels)


def vdm_block(name: str, size: int, new_size: int) -> Shapes:
    shapes = layer(f"{name}.net1.0", size) | layer(f"{name}.net1.2", new_size, size, 3, 3)
    shapes |= {f"{name}.cond_proj.weight": (new_size, 4 * new_size)}
    shapes |= layer(f"{name}.net2.0", new_size) | layer(f"{name}.net2.3", new_size, new_size, 3, 3)
    return shapes | (layer(f"{name}.skip_conv", new_size, size, 1, 1) if size != new_size else {})


def vdm_unet_shapes(channels: int, blocks: int = 32, outputs: int = 1, pixels: int = 1024) -> Shapes:
    """The CIFAR-10 network, with one or two outputs per value."""
    shapes: Shapes = {"input_adapter.pos_feats": (pixels, POSITION_FEATURES)}
    shapes |= layer("embed_conditioning.0", 4 * channels, channels)
    shapes |= layer("embed_conditioning.2", 4 * channels, 4 * channels)
    shapes |= layer("conv_in", channels, 15, 3, 3)
    for i in range(blocks):
        shapes |= vdm_block(f"down_blocks.{i}.resnet_block", channels, channels)
    for i in range(blocks + 1):
        shapes |= vdm_block(f"up_blocks.{i}.resnet_block", 2 * channels, channels)
    for i in (1, 2):
        shapes |= vdm_block(f"mid_resnet_block_{i}", channels, channels)
    middle = "mid_attn_block.layers"
    shapes |= layer(f"{middle}.0", channels) | layer(f"{middle}.1", 3 * channels, channels, 1, 1)
    shapes |= layer(f"{middle}.3", channels, channels, 1, 1)
    shapes |= layer("conv_out.0", channels) | layer("conv_out.2", channels, channels, 3, 3)
    return shapes | layer("output_adapter.output_projection", 3 * outputs, channels + 3)


def transformer_shapes(width: int, depth: int = 24, classes: int = 27, length: int = 256) -> Shapes:
    """The text8 network."""
    shapes: Shapes = {"input_adapter.pos_embedding": (length, width)}
    shapes |= layer("input_adapter.inp_embedding", width, classes)
    shapes |= layer("input_adapter.t_embedding", width, 1)
    for i in range(depth):
        name = f"transformer.h.{i}"
        shapes |= layer(f"{name}.ln_1", width) | layer(f"{name}.ln_2", width)
        shapes |= layer(f"{name}.attn.c_attn", 3 * width, width)
        shapes |= layer(f"{name}.attn.c_proj", width, width)
        shapes |= layer(f"{name}.mlp.c_fc", 4 * width, width) | layer(f"{name}.mlp.c_proj", width, 4 * width)
    return shapes | layer("transformer.ln_f", width) | layer("lm_head", classes, 2 * width)


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    return x @ w[f"{name}.weight"].flatten(1).T + w.get(f"{name}.bias", torch.zeros((), dtype=x.dtype))


def conv(w: Weights, name: str, h: Tensor, stride: int = 1) -> Tensor:
    weight = w[f"{name}.weight"]
    return functional.conv2d(h, weight, w[f"{name}.bias"], stride, padding=weight.shape[-1] // 2)


def activated(w: Weights, name: str, h: Tensor, groups: int) -> Tensor:
    return functional.silu(functional.group_norm(h, groups, w[f"{name}.weight"], w[f"{name}.bias"]))


def block(w: Weights, names: tuple[str, ...], h: Tensor, time: Tensor, groups: int) -> Tensor:
    first_norm, first, condition, second_norm, second, skip = names
    inner = conv(w, first, activated(w, first_norm, h, groups)) + linear(w, condition, time)[..., None, None]
    inner = conv(w, second, activated(w, second_norm, inner, groups))
    return inner + (conv(w, skip, h) if f"{skip}.weight" in w else h)


def attention(
    w: Weights, names: tuple[str, str, str], h: Tensor, groups: int, heads: int, rows: str
) -> Tensor:
    """Attention between pixels, head by head; `rows` is the order in which the rows of `qkv` are numbered."""
    norm, qkv, out = names
    features = functional.group_norm(h, groups, w[f"{norm}.weight"], w[f"{norm}.bias"]).flatten(2).mT
    size = features.shape[-1] // heads
    results = []
    for head in range(heads):
        start = {"head first": lambda part, head=head: (3 * head + part) * size}
        start["part first"] = lambda part, head=head: (heads * part + head) * size
        both = linear(w, qkv, features)
        q, k, v = (both[..., start[rows](part) : start[rows](part) + size] for part in range(3))
        results.append((q @ k.mT / math.sqrt(size)).softmax(-1) @ v)
    return h + linear(w, out, torch.cat(results, dim=-1)).mT.reshape(h.shape)


def time_mlp(w: Weights, name: str, features: Tensor) -> Tensor:
    return functional.silu(linear(w, f"{name}.2", functional.silu(linear(w, f"{name}.0", features))))


def unet_outputs(w: Weights, probabilities: Tensor, t: Tensor, groups: int, heads: int) -> Tensor:
    """Probabilities of class 0, `(batch, height, width, 1, 1)`, to logits of class 1."""
    batch, height, width = probabilities.shape[:3]
    clock = t[:, None, None, None].expand(batch, height, width, 1)
    x = linear(w, "input_projection", 2 * torch.cat([probabilities[..., 0], clock], dim=-1) - 1)
    half = x.shape[-1] // 2
    angles = 4000 * t[:, None] * 10_000 ** (-torch.arange(half, dtype=t.dtype) / half)
    time = time_mlp(w, "time_embed", torch.cat([angles.cos(), angles.sin()], dim=-1))
    parts = ("in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3", "skip_connection")

    def stage(name: str, h: Tensor) -> Tensor:
        number = 0
        while any(key.startswith(f"{name}.{number}.") for key in w):
            part = f"{name}.{number}"
            if f"{part}.qkv.weight" in w:
                names = (f"{part}.norm", f"{part}.qkv", f"{part}.proj_out")
                h = attention(w, names, h, groups, heads, "head first")
            elif f"{part}.op.weight" in w:
                h = conv(w, f"{part}.op", h, stride=2)
            elif f"{part}.conv.weight" in w:
                h = conv(w, f"{part}.conv", h.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
            else:
                h = block(w, tuple(f"{part}.{inner}" for inner in parts), h, time, groups)
            number += 1
        return h

    seen = [conv(w, "input_blocks.0.0", x.permute(0, 3, 1, 2))]
    while any(key.startswith(f"input_blocks.{len(seen)}.") for key in w):
        seen.append(stage(f"input_blocks.{len(seen)}", seen[-1]))
    h = stage("middle_block", seen[-1])
    for number, skip in enumerate(reversed(seen)):
        h = stage(f"output_blocks.{number}", torch.cat([h, skip], dim=1))
    h = conv(w, "out.2", activated(w, "out.0", h, groups)).permute(0, 2, 3, 1)
    return linear(w, "output_adapter.output_projection", torch.cat([x, h], dim=-1))[..., None]


def vdm_unet_outputs(w: Weights, means: Tensor, t: Tensor, groups: int, heads: int) -> Tensor:
    """Means, `(batch, height, width, 3)`, to one or two outputs of each."""
    waves = [wave(2 * math.pi * 2**n * means) for wave in (torch.sin, torch.cos) for n in (5, 6)]
    h = conv(w, "conv_in", torch.cat([means, *waves], dim=-1).permute(0, 3, 1, 2))
    frequencies = 10 ** torch.linspace(0, -4, h.shape[1] // 2, dtype=t.dtype)
    angles = 1000 * (t[:, None] + 0.001) * frequencies
    time = time_mlp(w, "embed_conditioning", torch.cat([angles.sin(), angles.cos()], dim=-1))
    parts = ("net1.0", "net1.2", "cond_proj", "net2.0", "net2.3", "skip_conv")

    def stage(name: str, h: Tensor) -> Tensor:
        return block(w, tuple(f"{name}.{inner}" for inner in parts), h, time, groups)

    seen = [h]
    while f"down_blocks.{len(seen) - 1}.resnet_block.net1.0.weight" in w:
        seen.append(stage(f"down_blocks.{len(seen) - 1}.resnet_block", seen[-1]))
    names = tuple(f"mid_attn_block.layers.{number}" for number in (0, 1, 3))
    h = attention(w, names, stage("mid_resnet_block_1", seen[-1]), groups, heads, "part first")
    h = stage("mid_resnet_block_2", h)
    for number, skip in enumerate(reversed(seen)):
        h = stage(f"up_blocks.{number}.resnet_block", torch.cat([h, skip], dim=1))
    h = conv(w, "conv_out.2", activated(w, "conv_out.0", h, groups)).permute(0, 2, 3, 1)
    outputs = linear(w, "output_adapter.output_projection", torch.cat([means, h], dim=-1))
    return outputs.unflatten(-1, (3, -1))


def normed(w: Weights, name: str, h: Tensor) -> Tensor:
    centred = h - h.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]


def transformer_outputs(w: Weights, probabilities: Tensor, t: Tensor, heads: int) -> Tensor:
    """Probabilities, `(batch, length, classes)`, to logits."""
    x = linear(w, "input_adapter.inp_embedding", 2 * probabilities - 1) + w["input_adapter.pos_embedding"]
    x = x + linear(w, "input_adapter.t_embedding", 2 * t[:, None, None] - 1)
    h, depth = x, len({key.split(".")[2] for key in w if key.startswith("transformer.h.")})
    for name in (f"transformer.h.{i}" for i in range(depth)):
        parts = linear(w, f"{name}.attn.c_attn", normed(w, f"{name}.ln_1", h)).chunk(3, dim=-1)
        q, k, v = (torch.stack(part.chunk(heads, dim=-1)) for part in parts)
        read = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1) @ v
        h = h + linear(w, f"{name}.attn.c_proj", torch.cat(list(read), dim=-1))
        inner = linear(w, f"{name}.mlp.c_fc", normed(w, f"{name}.ln_2", h))
        inner = inner * (1 + torch.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3))) / 2
        h = h + linear(w, f"{name}.mlp.c_proj", inner)
    return linear(w, "lm_head", torch.cat([normed(w, "transformer.ln_f", h), x], dim=-1))
