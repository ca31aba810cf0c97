"""Addressing by content, sharpening and writing against loops in numpy."""

import math

import numpy as np
import torch
from dense_reference import by_content, cosine, sharpened, softplus
from torch import Tensor

from graves_memory.equations import addressing

EXACT = {"rtol": 1e-10, "atol": 1e-12}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def each(function: object, *shape: int) -> Tensor:
    """A tensor of which every entry is a function of its indices."""
    return torch.tensor([function(*i) for i in np.ndindex(*shape)], dtype=torch.float64).view(shape)


def test_oneplus_is_one_and_a_softplus() -> None:
    x = drawn(7)
    expected = torch.tensor([1 + math.log(1 + math.exp(v)) for v in x.tolist()], dtype=torch.float64)
    torch.testing.assert_close(addressing.oneplus(x), expected)


def test_similarity_is_the_cosine_of_every_key_and_row() -> None:
    memory, keys = drawn(2, 5, 3), drawn(2, 4, 3, seed=1)
    m, k = memory.numpy(), keys.numpy()
    expected = each(lambda b, h, n: cosine(k[b, h], m[b, n]), 2, 4, 5)
    torch.testing.assert_close(addressing.cosine_similarity(memory, keys), expected, **EXACT)


def test_masked_similarity_is_the_cosine_of_the_masked_vectors() -> None:
    memory, keys, masks = drawn(2, 5, 3), drawn(2, 4, 3, seed=1), drawn(2, 4, 3, seed=2).sigmoid()
    m, k, s = memory.numpy(), keys.numpy(), masks.numpy()
    expected = each(lambda b, h, n: cosine(k[b, h] * s[b, h], m[b, n] * s[b, h]), 2, 4, 5)
    found = addressing.masked_cosine_similarity(memory, keys, masks)
    torch.testing.assert_close(found, expected, **EXACT)


def test_masks_of_ones_change_nothing() -> None:
    memory, keys = drawn(2, 5, 3), drawn(2, 4, 3, seed=1)
    found = addressing.masked_cosine_similarity(memory, keys, torch.ones_like(keys))
    torch.testing.assert_close(found, addressing.cosine_similarity(memory, keys), **EXACT)


def test_content_weights_are_the_softmax_over_rows() -> None:
    memory, keys, raw = drawn(2, 5, 3), drawn(2, 4, 3, seed=1), drawn(2, 4, seed=2)
    strengths = torch.nn.functional.softplus(raw)
    rows = [
        [by_content(memory[b].numpy(), keys[b, h].numpy(), softplus(raw[b, h].item())) for h in range(4)]
        for b in range(2)
    ]
    found = addressing.content_weights(addressing.cosine_similarity(memory, keys), strengths)
    torch.testing.assert_close(found, torch.tensor(np.array(rows)), **EXACT)


def test_the_row_that_equals_the_key_is_the_one_that_is_read() -> None:
    memory = drawn(3, 20, 8)
    rows = torch.tensor([[0, 5, 17, 19], [19, 0, 1, 2], [3, 3, 4, 18]])
    keys = memory.gather(1, rows[..., None].expand(-1, -1, 8))
    similarity = addressing.cosine_similarity(memory, keys)
    weights = addressing.content_weights(similarity, torch.full((3, 4), 500.0, dtype=torch.float64))
    assert torch.equal(weights.argmax(-1), rows)
    torch.testing.assert_close(addressing.read_words(memory, weights), keys, rtol=0, atol=1e-6)


def test_sharpening_raises_to_a_power_and_sums_to_one() -> None:
    weights, powers = drawn(2, 3, 6).softmax(-1), 1 + drawn(2, 3, seed=1).exp()
    expected = [[sharpened(weights[b, h].numpy(), powers[b, h].item()) for h in range(3)] for b in range(2)]
    found = addressing.sharpened(weights, powers)
    torch.testing.assert_close(found, torch.tensor(np.array(expected)), **EXACT)


def test_sharpening_weights_of_zero_has_finite_gradients() -> None:
    weights, powers = torch.zeros(1, 1, 6, requires_grad=True), torch.full((1, 1), 40.0, requires_grad=True)
    found = addressing.sharpened(weights, powers)
    torch.testing.assert_close(found, torch.full((1, 1, 6), 1 / 6))
    found[0, 0, 0].backward()
    assert weights.grad.isfinite().all()
    assert powers.grad.isfinite().all()


def test_zeros_in_memory_and_keys_have_finite_gradients() -> None:
    memory, keys, masks = (torch.zeros(1, 4, 3, requires_grad=True) for _ in range(3))
    addressing.cosine_similarity(memory, keys).sum().backward()
    addressing.masked_cosine_similarity(memory, keys, masks).sum().backward()
    assert all(value.grad.isfinite().all() for value in (memory, keys, masks))


def test_heads_erase_and_add_in_turn() -> None:
    memory, weights = drawn(2, 5, 3), drawn(2, 2, 5, seed=1).sigmoid()
    erase, words = drawn(2, 2, 3, seed=2).sigmoid(), drawn(2, 2, 3, seed=3)
    expected = memory.clone()
    for b, h, n, w in np.ndindex(2, 2, 5, 3):
        kept = expected[b, n, w] * (1 - weights[b, h, n] * erase[b, h, w])
        expected[b, n, w] = kept + weights[b, h, n] * words[b, h, w]
    found = addressing.erase_and_add(memory, weights, erase, words)
    torch.testing.assert_close(found, expected, **EXACT)


def test_the_product_over_heads_has_the_gradient_of_a_product_at_zeros() -> None:
    factors = torch.tensor([[[0.0], [0.0], [3.0]]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(addressing.product, [factors])
