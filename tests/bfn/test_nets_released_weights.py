"""Files of released weights fill our networks completely, in the right places, or are refused as a whole."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import released_networks as released
import torch
from released_networks import Shapes, Weights
from torch import Tensor, nn

from graves_bfn import BFNMLP, BFNTransformer, BFNUNet, BFNVDMUNet, load_released_weights

Network = BFNUNet | BFNVDMUNet | BFNTransformer
UNET: dict[str, Any] = {
    "multipliers": (1, 2),
    "blocks": 1,
    "attention_resolutions": (2,),
    "heads": 4,
    "groups": 2,
}
TIMES = torch.tensor([0.015625, 0.0625], dtype=torch.float64)

FULL: dict[str, tuple[Callable[[], Network], Shapes]] = {
    "mnist_ema.pt": (lambda: BFNUNet((28, 28, 1), 1, 1), released.unet_shapes(128)),
    "cifar10_256c_ema.pt": (lambda: BFNVDMUNet((32, 32, 3), 1, 1), released.vdm_unet_shapes(128)),
    "cifar10_256d_ema.pt": (lambda: BFNVDMUNet((32, 32, 3), 1, 2), released.vdm_unet_shapes(128, outputs=2)),
    "text8_ema.pt": (lambda: BFNTransformer((256,), 27, 27), released.transformer_shapes(768)),
}
NARROW: dict[str, tuple[Callable[[], Network], Shapes]] = {
    "mnist": (lambda: BFNUNet((28, 28, 1), 1, 1, 4, groups=2), released.unet_shapes(4)),
    "mnist with more attention": (
        lambda: BFNUNet((28, 28, 1), 1, 1, 4, groups=2, attention_resolutions=(1, 4)),
        released.unet_shapes(4, attended=(1, 4)),
    ),
    "cifar10": (lambda: BFNVDMUNet((32, 32, 3), 1, 2, 4, groups=2), released.vdm_unet_shapes(4, outputs=2)),
    "text8": (lambda: BFNTransformer((256,), 27, 27, width=12), released.transformer_shapes(12)),
}


def drawn(shapes: Shapes) -> Weights:
    """Random weights in float64 under which signals keep their size."""
    generator = torch.Generator().manual_seed(0)
    scales = {name: math.prod(shape[1:]) ** -0.5 for name, shape in shapes.items()}
    draws = {name: torch.randn(shape, generator=generator).double() for name, shape in shapes.items()}
    return {name: draw * scales[name] for name, draw in draws.items()}


def saved(tmp_path: Path, state: object, prefix: str = "net.") -> Path:
    if isinstance(state, dict):
        state = {f"{prefix}{key}": value for key, value in state.items()}
    torch.save(state, tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def small() -> BFNTransformer:
    return BFNTransformer((3,), 5, 5, width=8, depth=2, heads=2)


def small_state() -> Weights:
    return drawn(released.transformer_shapes(8, depth=2, classes=5, length=3))


@pytest.mark.parametrize("name", FULL)
def test_full_size_files_have_exactly_the_names_and_shapes_that_the_defaults_need(
    name: str, tmp_path: Path
) -> None:
    make, shapes = FULL[name]
    with torch.device("meta"):
        network = make()
    file = saved(tmp_path, {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()})
    load_released_weights(network, file)
    sizes = [math.prod(shape) for key, shape in shapes.items() if ".pos_" not in key]
    assert sum(sizes) == sum(p.numel() for p in network.parameters())
    assert len(sizes) == len(list(network.parameters()))


@pytest.mark.parametrize("name", NARROW)
def test_every_released_tensor_goes_to_one_parameter_and_all_are_filled(name: str, tmp_path: Path) -> None:
    make, shapes = NARROW[name]
    numbered = {key: torch.tensor(float(i)).expand(shape) for i, (key, shape) in enumerate(shapes.items(), 1)}
    network = make()
    load_released_weights(network, saved(tmp_path, numbered))
    arrived = [p.unique().tolist() for p in network.parameters()]
    sent = [[value.max().item()] for key, value in numbered.items() if ".pos_" not in key]
    assert sorted(arrived) == sent


@pytest.mark.parametrize("attended", [(), (2,), (1, 2)])
def test_loaded_unet_computes_what_the_names_of_the_file_say(
    attended: tuple[int, ...], tmp_path: Path
) -> None:
    weights = drawn(released.unet_shapes(8, (1, 2), 1, attended, pixels=16))
    network = BFNUNet((4, 4, 1), 1, 1, 8, **{**UNET, "attention_resolutions": attended}).double().eval()
    load_released_weights(network, saved(tmp_path, weights))
    inputs = torch.rand(2, 4, 4, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = released.unet_outputs(weights, inputs, TIMES, groups=2, heads=4)
    torch.testing.assert_close(network(inputs, TIMES), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("heads", "outputs"), [(1, 1), (1, 2), (4, 2)])
def test_loaded_vdm_unet_computes_what_the_names_of_the_file_say(
    heads: int, outputs: int, tmp_path: Path
) -> None:
    weights = drawn(released.vdm_unet_shapes(8, 2, outputs, pixels=12))
    network = BFNVDMUNet((4, 3, 3), 1, outputs, 8, 2, heads, groups=2).double().eval()
    load_released_weights(network, saved(tmp_path, weights))
    inputs = torch.randn(2, 4, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = released.vdm_unet_outputs(weights, inputs, TIMES, groups=2, heads=heads)
    torch.testing.assert_close(network(inputs, TIMES), expected, rtol=0, atol=1e-4)


def test_loaded_transformer_computes_what_the_names_of_the_file_say(tmp_path: Path) -> None:
    weights = small_state()
    positions = torch.arange(3, dtype=torch.float64)[:, None] / 1000 ** (torch.arange(8) / 8).double()
    even = torch.arange(8) % 2 == 0
    weights["input_adapter.pos_embedding"] = torch.where(even, positions.sin(), positions.cos())
    network = small().double().eval()
    load_released_weights(network, saved(tmp_path, weights))
    inputs = torch.rand(2, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = released.transformer_outputs(weights, inputs, TIMES, heads=2)
    torch.testing.assert_close(network(inputs, TIMES), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "net.", "module.net.", "module._orig_mod.net."])
def test_prefixes_of_wrappers_make_no_difference(prefix: str, tmp_path: Path) -> None:
    network = small()
    load_released_weights(network, saved(tmp_path, small_state(), prefix))
    torch.testing.assert_close(network.norm.weight, small_state()["transformer.ln_f.weight"].float())


def test_loading_keeps_the_dtype_and_the_mode_of_the_network(tmp_path: Path) -> None:
    network = small().bfloat16()
    load_released_weights(network, saved(tmp_path, small_state()))
    assert {p.dtype for p in network.parameters()} == {torch.bfloat16}
    assert all(p.requires_grad for p in network.parameters())
    assert network.training


def changed(**changes: Tensor | None) -> Callable[[Weights], Weights]:
    """Replaces weights, or drops those that are given as None."""

    def change(state: Weights) -> Weights:
        renamed = {key.replace("__", "."): value for key, value in changes.items()}
        return {key: value for key, value in {**state, **renamed}.items() if value is not None}

    return change


REFUSED = {
    "missing": (changed(lm_head__bias=None), r"1 missing \(net\.lm_head\.bias\)$"),
    "unexpected": (
        changed(input_adapter__mask=torch.zeros(1)),
        r"1 unexpected \(net\.input_adapter\.mask\)$",
    ),
    "wrong shape": (
        changed(lm_head__weight=torch.zeros(5, 8)),
        r"1 wrong \(net\.lm_head\.weight is torch\.float32 \(5, 8\), must be floating \(5, 16\)\)$",
    ),
    "transposed": (
        changed(lm_head__weight=torch.zeros(16, 5)),
        r"net\.lm_head\.weight is torch\.float32 \(16, 5\)",
    ),
    "integers": (
        changed(lm_head__bias=torch.zeros(5, dtype=torch.int64)),
        r"net\.lm_head\.bias is torch\.int64 \(5,\)",
    ),
    "missing and unexpected": (
        changed(lm_head__bias=None, lm_head__offset=torch.zeros(5)),
        r"1 missing \(net\.lm_head\.bias\); 1 unexpected \(net\.lm_head\.offset\)$",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_files_of_another_network_are_refused_by_key_and_nothing_is_loaded(case: str, tmp_path: Path) -> None:
    change, message = REFUSED[case]
    file = saved(tmp_path, change(small_state()))
    network = small()
    before = [p.clone() for p in network.parameters()]
    with pytest.raises(
        ValueError, match=rf"^path: .*weights\.pt does not fit this BFNTransformer: .*{message}"
    ):
        load_released_weights(network, file)
    assert all(torch.equal(p, old) for p, old in zip(network.parameters(), before, strict=True))


def test_long_lists_of_keys_are_cut(tmp_path: Path) -> None:
    state = {key: value for key, value in small_state().items() if not key.startswith("transformer.h.1.")}
    shown = ", ".join(
        rf"net\.transformer\.h\.1\.{key}" for key in (r"ln_1\.weight", r"ln_1\.bias", r"attn\.\S+")
    )
    with pytest.raises(ValueError, match=rf": 12 missing \({shown}, \.\.\.\)$"):
        load_released_weights(small(), saved(tmp_path, state))


def test_parameters_that_the_released_network_lacks_are_named(tmp_path: Path) -> None:
    network = small()
    network.condition = nn.Linear(2, 8)
    with pytest.raises(ValueError, match=r": 2 missing \(net\.condition\.weight, net\.condition\.bias\)$"):
        load_released_weights(network, saved(tmp_path, small_state()))


def test_a_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^path: .*absent\.pt cannot be opened: No such file"):
        load_released_weights(small(), tmp_path / "absent.pt")


@pytest.mark.parametrize("kind", ["cut off", "text", "empty"])
def test_a_file_that_is_no_state_dict_is_a_clear_error(kind: str, tmp_path: Path) -> None:
    file = saved(tmp_path, small_state())
    content = {"cut off": file.read_bytes()[:-500], "text": b"version 1\noid sha256:00\n", "empty": b""}
    file.write_bytes(content[kind])
    with pytest.raises(ValueError, match=r"^path: .*weights\.pt is damaged, cut off or no checkpoint"):
        load_released_weights(small(), file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(3), "holds one Tensor; it must be"),
        ({"epoch": 3}, "holds int as 'net.epoch'; it must be"),
        ({"model": {"lm_head.bias": torch.zeros(5)}}, "holds dict as 'net.model'; it must be"),
    ],
)
def test_a_file_of_something_else_is_a_clear_error(content: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"^path: .*weights\.pt {message}"):
        load_released_weights(small(), saved(tmp_path, content))


class Intruder:
    """Would make a folder if it were unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return os.mkdir, (self.folder,)


def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path) -> None:
    file = saved(tmp_path, {"lm_head.bias": Intruder(tmp_path / "made")})
    with pytest.raises(ValueError, match=r"^path: .*weights\.pt holds (posix|nt)\.mkdir, not tensors alone"):
        load_released_weights(small(), file)
    assert not (tmp_path / "made").exists()


def test_a_network_that_was_never_released_is_refused(tmp_path: Path) -> None:
    file = saved(tmp_path, small_state())
    with pytest.raises(TypeError, match="network"):
        load_released_weights(BFNMLP((3,), 5, 5, width=8, depth=1), file)  # type: ignore[arg-type]
