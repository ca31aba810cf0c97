"""`GlobalDraws`: N ranks draw together what one process draws."""

import pytest
import torch
from torch import nn

from graves_core.testing import GlobalDraws

BATCH, WORLD = 3, 2
ROWS = BATCH * WORLD


def sequence(values, rows):
    """Draws of every kind, on a batch of `rows` and on shapes that have nothing to do with it."""
    generator = torch.Generator().manual_seed(5)
    dropout = nn.Dropout(0.4)
    attention = nn.functional.scaled_dot_product_attention
    probabilities = values.softmax(-1)
    return {
        "randn": torch.randn(rows, 7),
        "randn of few": torch.randn(rows, 1),
        "rand": torch.rand((rows, 2, 3), dtype=torch.float64),
        "of a vector": torch.rand(rows),
        "randint": torch.randint(0, 100, (rows, 5)),
        "generator": torch.randn(rows, 20, generator=generator),
        "randn_like": torch.randn_like(values),
        "rand_like": torch.rand_like(values),
        "randint_like": torch.randint_like(values, 9),
        "normal_": torch.empty(rows, 30).normal_(2, 3),
        "uniform_": torch.empty(rows, 30).uniform_(),
        "exponential_": torch.empty(rows, 4).exponential_(),
        "bernoulli_": torch.empty(rows, 4).bernoulli_(0.3),
        "bernoulli": torch.bernoulli(probabilities),
        "normal": torch.normal(values, values.abs() + 1),
        "multinomial": torch.multinomial(probabilities, 1),
        "categorical": torch.distributions.Categorical(probabilities.reshape(-1, 2, 4)).sample(),
        "gaussian": torch.distributions.Normal(values, 1.0).rsample(),
        "dropout": dropout(values),
        "dropout of heads": dropout(values.reshape(-1, 2, 2, 2).reshape(-1, 2, 2)).reshape(-1, 8),
        "dropout of channels": nn.functional.dropout2d(values.reshape(-1, 8, 1, 1)),
        "attention": attention(*[values.reshape(-1, 1, 4, 2)] * 3, dropout_p=0.5),
    }


def test_ranks_draw_together_what_one_process_draws():
    values = torch.linspace(-2, 2, ROWS * 8).reshape(ROWS, 8)
    torch.manual_seed(1)
    whole = sequence(values, ROWS)
    for rank in range(WORLD):
        torch.manual_seed(1)
        with GlobalDraws(rank, WORLD, BATCH):
            part = sequence(values[rank::WORLD], BATCH)
        for name, drawn in part.items():
            assert torch.equal(drawn, whole[name][rank::WORLD]), name


def test_without_it_ranks_draw_something_else():
    torch.manual_seed(1)
    whole = torch.randn(ROWS, 7)
    torch.manual_seed(1)
    assert not torch.equal(torch.randn(BATCH, 7), whole[::WORLD])


def test_draws_that_are_not_of_the_batch_are_the_same_on_every_rank():
    def draw(rank):
        torch.manual_seed(1)
        with GlobalDraws(rank, WORLD, BATCH):
            return torch.randn(4, 5), torch.randn(()), torch.randperm(BATCH), torch.rand(0)

    for first, second in zip(draw(0), draw(1), strict=True):
        assert torch.equal(first, second)


def test_gradients_flow_through_draws():
    values = torch.ones(BATCH, 4, requires_grad=True)
    with GlobalDraws(1, WORLD, BATCH):
        dropped = nn.functional.dropout(values, 0.5)
        dropped.sum().backward()
    assert torch.equal(values.grad, dropped.detach())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((2, 2, 3), "got rank=2, world=2"),
        ((0, 0, 3), "world=0"),
        ((0, 1, 0), "batch must be at least 1"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        GlobalDraws(*arguments)
