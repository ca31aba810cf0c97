"""Torch's recurrent layers in segments: the same outputs, states and gradients, with the same parameters."""

import copy
from itertools import product
from typing import Any

import pytest
import torch
from scan_loops import weights
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from graves_core.spec import build
from graves_core.testing import peak_bytes
from graves_rnn_training.layers.scan.budget import MemoryBudget
from graves_rnn_training.layers.scan.recurrent import reversed_places, run_rnn
from graves_rnn_training.layers.scan.rnn import CheckpointedCell, CheckpointedRNN, checkpointed
from graves_rnn_training.layers.scan.scan import checkpointed_scan, plan_cost

KINDS = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}
TIME, BATCH = 23, 3
LAYOUTS = [
    dict(zip(("num_layers", "bidirectional", "batch_first"), choice, strict=True))
    for choice in product((1, 2), (False, True), (False, True))
]


def layer(kind: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return KINDS[kind](4, 5, **options).double()


def everything(run: Any, rnn: Any, packed: bool = False, with_state: bool = True) -> list[Tensor]:
    """Outputs, final state, and the gradients of both by inputs, initial state and parameters."""
    torch.manual_seed(1)
    shape = (BATCH, TIME, 4) if rnn.batch_first else (TIME, BATCH, 4)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    layers = rnn.num_layers * (2 if rnn.bidirectional else 1)
    sizes = [rnn.proj_size or 5, 5][: 2 if rnn.mode == "LSTM" else 1]
    hx = [torch.randn(layers, BATCH, size, dtype=torch.float64, requires_grad=True) for size in sizes]
    inputs = pack_padded_sequence(x, torch.tensor([7, 23, 12]), rnn.batch_first, False) if packed else x
    outputs, state = run(inputs, (tuple(hx) if rnn.mode == "LSTM" else hx[0]) if with_state else None)
    results = [
        outputs.data if isinstance(outputs, PackedSequence) else outputs,
        *(state if isinstance(state, tuple) else (state,)),
    ]
    loss = sum((result * weights(result)).sum() for result in results)
    wanted = [x, *(hx if with_state else []), *rnn.parameters()]
    return [*results, *torch.autograd.grad(loss, wanted)]  # type: ignore[arg-type]


def assert_close(found: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("packed", [False, True], ids=["dense", "packed"])
@pytest.mark.parametrize("options", LAYOUTS, ids=lambda options: "-".join(map(str, options.values())))
@pytest.mark.parametrize("kind", KINDS)
def test_segments_give_what_the_layer_gives(kind: str, options: dict[str, Any], packed: bool) -> None:
    rnn = layer(kind, **options)
    expected = everything(rnn, rnn, packed)
    for segment in (1, 5):
        budget = MemoryBudget(slots=3, segment=segment)
        assert_close(everything(lambda x, hx, b=budget: run_rnn(rnn, x, hx, budget=b), rnn, packed), expected)


@pytest.mark.parametrize(
    "budget",
    [
        MemoryBudget(),
        MemoryBudget(slots=4),
        MemoryBudget(fraction=0.2),
        MemoryBudget(bytes=12_000),
        MemoryBudget(slots=2, strategy="internal", segment=7),
        MemoryBudget(segment=1000),
    ],
    ids=lambda budget: str(budget.spec["init_args"]),
)
def test_segments_of_any_budget_give_what_the_layer_gives(budget: MemoryBudget) -> None:
    rnn = layer("LSTM", num_layers=2, proj_size=3)
    run = CheckpointedRNN.wrap(rnn, budget)
    assert_close(everything(run, rnn), everything(rnn, rnn))
    assert_close(everything(run, rnn, with_state=False), everything(rnn, rnn, with_state=False))


def test_layers_without_biases_are_run() -> None:
    rnn = layer("LSTM", bias=False, bidirectional=True)
    assert_close(everything(checkpointed(rnn, MemoryBudget(slots=3)), rnn), everything(rnn, rnn))


def test_a_sequence_without_a_batch_is_taken() -> None:
    rnn = layer("GRU", bidirectional=True)
    x = torch.randn(TIME, 4, dtype=torch.float64)
    expected, found = rnn(x), checkpointed(rnn, MemoryBudget(slots=3))(x)
    torch.testing.assert_close(found, expected)


def test_frozen_and_shared_parameters_are_the_layer_s_own() -> None:
    rnn = layer("LSTM")
    rnn.weight_hh_l0.requires_grad_(False)
    checkpointed(rnn)(torch.randn(TIME, BATCH, 4, dtype=torch.float64))[0].sum().backward()
    assert rnn.weight_hh_l0.grad is None
    assert rnn.weight_ih_l0.grad is not None


def test_dropout_between_layers_has_a_consistent_gradient() -> None:
    """The directional derivative along a random direction, by differences under the same seed."""
    rnn = layer("LSTM", num_layers=3, dropout=0.5)
    x = torch.randn(TIME, BATCH, 4, dtype=torch.float64)
    budget = MemoryBudget(slots=2, segment=4)

    def loss() -> Tensor:
        torch.manual_seed(5)
        output = run_rnn(rnn, x, budget=budget)[0]
        return (output * weights(output)).sum()

    gradients = torch.autograd.grad(loss(), list(rnn.parameters()))
    directions = [torch.randn_like(weight) for weight in rnn.parameters()]
    expected = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True))
    with torch.no_grad():
        sides = []
        for sign in (1, -1):
            moved = copy.deepcopy(list(rnn.parameters()))
            for weight, direction in zip(rnn.parameters(), directions, strict=True):
                weight.add_(direction, alpha=sign * 1e-6)
            with torch.enable_grad():
                sides.append(loss().detach())
            for weight, before in zip(rnn.parameters(), moved, strict=True):
                weight.copy_(before)
    torch.testing.assert_close((sides[0] - sides[1]) / 2e-6, expected, rtol=1e-5, atol=1e-6)


def test_dropout_leaves_evaluation_alone() -> None:
    rnn = layer("GRU", num_layers=2, dropout=0.5).eval()
    assert_close(everything(checkpointed(rnn), rnn), everything(rnn, rnn))


def test_weights_made_of_others_get_their_gradient() -> None:
    rnn = layer("LSTM")
    nn.utils.parametrizations.weight_norm(rnn, "weight_hh_l0")
    expected = everything(rnn, rnn)
    found = everything(lambda x, hx: run_rnn(rnn, x, hx, budget=MemoryBudget(slots=3)), rnn)
    assert_close(found, expected)


def test_the_layer_and_its_copy_exchange_state_dicts() -> None:
    plain = nn.LSTM(4, 5, num_layers=2, bidirectional=True)
    ours = CheckpointedRNN("LSTM", 4, 5, num_layers=2, bidirectional=True)
    ours.load_state_dict(plain.state_dict())
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(TIME, BATCH, 4)
    torch.testing.assert_close(ours(x), plain(x))


def test_a_layer_is_plain_data() -> None:
    ours = CheckpointedRNN("RNN", 4, 5, nonlinearity="relu", budget=MemoryBudget(slots=7))
    again = build(ours.spec)
    again.load_state_dict(ours.state_dict())
    x = torch.randn(TIME, BATCH, 4)
    torch.testing.assert_close(again(x), ours(x))
    assert again.budget.slots == 7
    assert CheckpointedRNN.wrap(nn.RNN(4, 5, nonlinearity="relu")).mode == "RNN_RELU"


def test_wrapping_draws_no_random_numbers() -> None:
    rnn, before = nn.GRU(3, 4), torch.get_rng_state()
    CheckpointedRNN.wrap(rnn)
    assert torch.equal(before, torch.get_rng_state())


def test_a_cell_becomes_a_layer() -> None:
    cell = nn.GRUCell(4, 5).double()
    rnn = layer("GRU", batch_first=True)
    for name, weight in rnn.named_parameters():
        getattr(cell, name.removesuffix("_l0")).data.copy_(weight)
    run = checkpointed(cell, MemoryBudget(slots=4), batch_first=True)
    assert isinstance(run, CheckpointedCell)
    x = torch.randn(BATCH, TIME, 4, dtype=torch.float64)
    output, hidden = run(x)
    expected, last = rnn(x)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(hidden, last[0])
    assert list(run.state_dict()) == [f"cell.{name}" for name in cell.state_dict()]


def test_segments_save_memory() -> None:
    rnn, x = nn.LSTM(8, 16), torch.randn(1024, 32, 8)

    def train(run: Any) -> Any:
        def once() -> None:
            rnn.zero_grad()
            run(x)[0].sum().backward()

        once()
        return once

    outputs = 1024 * 32 * 16 * 4
    full, ours = peak_bytes(train(rnn)), peak_bytes(train(checkpointed(rnn)))
    assert ours - 2 * outputs < 0.1 * full


@pytest.mark.parametrize("share", [0.06, 0.2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_budget_in_bytes_is_kept(kind: str, share: float) -> None:
    rnn, x = KINDS[kind](8, 16), torch.randn(1024, 32, 8)

    def train(run: Any) -> Any:
        def once() -> None:
            rnn.zero_grad()
            checkpointed_scan(
                run, x, readout=lambda h: h.square().mean((1, 2)), outputs="mean", budget=budget
            )[0].backward()

        once()
        return once

    full = plan_cost(rnn, x, readout=lambda h: h.square().mean((1, 2)), outputs="mean").full_bytes
    assert full is not None
    budget = MemoryBudget(bytes=int(share * full))
    weights_bytes = 2 * 4 * sum(weight.numel() for weight in rnn.parameters())
    assert 0.5 * share * full < peak_bytes(train(rnn)) - weights_bytes <= share * full


def test_reversing_the_places_of_packed_sequences_twice_changes_nothing() -> None:
    sizes = torch.tensor([4, 4, 3, 1, 1])
    places = reversed_places(sizes)
    assert torch.equal(places[places], torch.arange(13))


class Own(nn.LSTM):
    def forward(self, *inputs: Any) -> Any:
        return super().forward(*inputs)[0]


def test_layers_with_a_forward_or_weights_of_their_own_are_not_wrapped() -> None:
    with pytest.raises(TypeError, match="Own has a forward of its own"):
        checkpointed(Own(3, 4))
    with pytest.raises(TypeError, match="parametrized weights"):
        checkpointed(nn.utils.parametrizations.weight_norm(nn.LSTM(3, 4), "weight_hh_l0"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("CNN", 3, 4), "kind must be one of .*, not 'CNN'"),
        (("GRU", 3, 4, 1, "tanh", True, False, 0.0, False, 2), "proj_size must be 0 for kind 'GRU', not 2"),
    ],
)
def test_layers_that_torch_does_not_have_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CheckpointedRNN(*arguments)


def test_wrong_shapes_are_refused_as_by_torch() -> None:
    rnn = CheckpointedRNN("LSTM", 3, 4)
    with pytest.raises(RuntimeError, match="input"):
        rnn(torch.randn(5, 2, 7))
    with pytest.raises(RuntimeError, match="Expected hidden size"):
        rnn(torch.randn(5, 2, 3), (torch.zeros(1, 2, 5), torch.zeros(1, 2, 4)))
