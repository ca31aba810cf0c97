"""Usage, allocation and links of the differentiable neural computer against loops in numpy."""

import numpy as np
import torch
from dense_reference import allocated, new_links
from torch import Tensor

from graves_memory.equations import dnc
from graves_memory.layers.dense_links import link_step

EXACT = {"rtol": 1e-9, "atol": 1e-12}


def shares(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def link_inputs(size: int = 5) -> list[Tensor]:
    links = shares(2, 2, size, size) / size
    links.diagonal(dim1=2, dim2=3).zero_()
    return [links, *(shares(2, n, size, seed=s) / size for n, s in ((2, 1), (2, 2), (3, 3)))]


def test_freed_rows_are_retained_less() -> None:
    gates, reads = shares(2, 3), shares(2, 3, 5, seed=1)
    expected = np.ones((2, 5))
    for b, h, n in np.ndindex(2, 3, 5):
        expected[b, n] *= 1 - gates[b, h] * reads[b, h, n]
    np.testing.assert_allclose(dnc.retention(gates, reads), expected, **EXACT)


def test_usage_rises_by_writing_and_falls_by_freeing() -> None:
    usage, writes, kept = shares(2, 5), shares(2, 1, 5, seed=1), shares(2, 5, seed=2)
    w = writes[:, 0]
    torch.testing.assert_close(dnc.usage_after(usage, writes, kept), (usage + w - usage * w) * kept)


def test_allocation_goes_to_rows_by_ascending_usage() -> None:
    usage = shares(3, 40)
    expected = np.stack([allocated(row) for row in usage.numpy()])
    np.testing.assert_allclose(dnc.allocation(usage), expected, **EXACT)


def test_allocation_of_an_unused_memory_is_the_first_row() -> None:
    found = dnc.allocation(torch.zeros(1, 300))
    torch.testing.assert_close(found[0, 0].item(), 1.0, rtol=0, atol=1e-5)
    assert found[0, 1:].sum() < 1e-5


def test_allocation_of_a_full_memory_is_nothing() -> None:
    assert dnc.allocation(torch.ones(1, 300)).abs().max() < 1e-5


def test_allocation_has_finite_gradients_whatever_the_usage() -> None:
    for usage in (torch.zeros(1, 300), torch.ones(1, 300), torch.linspace(0, 1, 300)[None]):
        usage.requires_grad_()
        dnc.allocation(usage).square().sum().backward()
        assert usage.grad.isfinite().all()


def test_the_gradient_of_the_allocation_is_that_of_finite_differences() -> None:
    assert torch.autograd.gradcheck(dnc.allocation, [shares(2, 6).requires_grad_()])


def test_write_heads_take_other_free_rows_each() -> None:
    found = dnc.allocations(torch.zeros(1, 6, dtype=torch.float64), torch.ones(1, 3).double())
    assert len(set(found.argmax(-1)[0].tolist())) == 3
    assert found.max(-1).values.min() > 0.99


def test_links_equal_loops() -> None:
    links, writes, precedence, _ = link_inputs()
    found = dnc.linked(links, writes, precedence)
    for b, h in np.ndindex(2, 2):
        expected = new_links(links[b, h].numpy(), writes[b, h].numpy(), precedence[b, h].numpy())
        np.testing.assert_allclose(found[b, h], expected, **EXACT)


def test_links_lead_from_each_write_to_the_next() -> None:
    rows = [3, 0, 2]
    links, precedence = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4)
    for row in rows:
        writes = torch.eye(4)[row].view(1, 1, 4)
        links = dnc.linked(links, writes, precedence)
        precedence = dnc.precedence_after(precedence, writes)
    on, back = dnc.followed(links, torch.eye(4)[None, [0]])
    assert on.argmax().item() == 2
    assert back.argmax().item() == 3


def test_the_fused_step_of_the_links_equals_the_equations() -> None:
    links, writes, precedence, reads = link_inputs()
    new = dnc.linked(links, writes, precedence)
    expected = (new, *dnc.followed(new, reads))
    for found, value in zip(link_step(links, writes, precedence, reads), expected, strict=True):
        torch.testing.assert_close(found, value)


def test_the_fused_step_of_the_links_has_their_gradients() -> None:
    inputs = [value.requires_grad_() for value in link_inputs(4)]
    assert torch.autograd.gradcheck(link_step, inputs)


def test_the_fused_step_of_the_links_has_second_derivatives() -> None:
    inputs = [value.requires_grad_() for value in link_inputs(3)]
    assert torch.autograd.gradgradcheck(link_step, inputs)


def test_several_write_heads_all_erase_before_one_adds() -> None:
    memory, writes = shares(1, 4, 3), shares(1, 2, 4, seed=1)
    erase, words = shares(1, 2, 3, seed=2), shares(1, 2, 3, seed=3)
    expected = memory.clone()
    for h, n, w in np.ndindex(2, 4, 3):
        expected[0, n, w] *= 1 - writes[0, h, n] * erase[0, h, w]
    for h, n, w in np.ndindex(2, 4, 3):
        expected[0, n, w] += writes[0, h, n] * words[0, h, w]
    torch.testing.assert_close(dnc.written(memory, writes, erase, words), expected)


def test_modes_mix_the_ways_to_read() -> None:
    ways, modes = [shares(2, 3, 5, seed=s) for s in range(3)], shares(2, 3, 3, seed=4)
    expected = sum(modes[:, :, i, None] * ways[i] for i in range(3))
    torch.testing.assert_close(dnc.mixed(ways, modes), expected)
