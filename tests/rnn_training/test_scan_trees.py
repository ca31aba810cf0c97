"""Inputs, states and outputs of any shape; what wants a gradient gets it, what must not be is refused."""

import functools
from typing import Any

import pytest
import torch
from scan_loops import STRATEGIES, assert_equal, plain_loop, results_and_gradients, scan
from torch import Tensor, nn

from graves_rnn_training.layers.scan.budget import MemoryBudget
from graves_rnn_training.layers.scan.scan import checkpointed_scan

strategies = pytest.mark.parametrize("strategy", STRATEGIES)


def double(*shape: int, wants: bool = False) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=wants)


class Nested(nn.Module):
    """A state with numbers, whole numbers, booleans, None and text in it; inputs and outputs in dicts."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(5, 5, dtype=torch.float64)
        self.unused = nn.Parameter(torch.ones(2, dtype=torch.float64))

    def forward(self, inputs: Any, state: Any) -> tuple[Any, Any]:
        hidden = torch.where(state["on"][:, None], self.mix(state["memory"][0]), state["memory"][0])
        hidden = (hidden + inputs["x"] * inputs["scale"]).tanh()
        after = {
            "memory": (hidden, state["memory"][1]),
            "count": state["count"] + 1,
            "on": ~state["on"],
            "nothing": None,
            "name": state["name"],
            "turn": state["turn"] + 1,
        }
        return {"h": hidden, "hits": (inputs["y"] == state["count"] % 3), "both": [hidden.sum(), None]}, after


def nested() -> tuple[Nested, Any, Any, list[Tensor]]:
    torch.manual_seed(0)
    cell, x, kept = Nested(), double(30, 4, 5, wants=True), double(4, 2, wants=True)
    state = {
        "memory": (double(4, 5, wants=True), kept),
        "count": torch.tensor(0),
        "on": torch.tensor([True, False, True, True]),
        "nothing": None,
        "name": "any",
        "turn": 0,
    }
    inputs = {"x": x, "y": torch.arange(30) % 5, "scale": 0.5}
    return cell, inputs, state, [x, kept, state["memory"][0], cell.mix.weight, cell.mix.bias]


@strategies
def test_nested_states_give_what_a_loop_over_them_gives(strategy: str) -> None:
    cell, inputs, state, wanted = nested()

    def tensors(h: Tensor, hits: Tensor, total: Tensor, final: Any) -> Any:
        return h, hits, total, final["memory"], final["count"], final["on"]

    def loop() -> Any:
        before, outputs = state, []
        for time in range(30):
            at_once = {"x": inputs["x"][time], "y": inputs["y"][time], "scale": 0.5}
            output, before = cell(at_once, before)
            outputs.append(output)
        stacked = (torch.stack([output[name] for output in outputs]) for name in ("h", "hits"))
        return tensors(*stacked, torch.stack([output["both"][0] for output in outputs]), before)

    def scanned() -> Any:
        outputs, final = scan(cell, inputs, state, strategy)
        assert (final["nothing"], final["name"], final["turn"]) == (None, "any", 30)
        assert outputs["both"][1] is None
        return tensors(outputs["h"], outputs["hits"], outputs["both"][0], final)

    found, expected = results_and_gradients(scanned, wanted), results_and_gradients(loop, wanted)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_parameters_that_the_cell_does_not_use_get_no_gradient() -> None:
    cell, inputs, state, _ = nested()
    scan(cell, inputs, state)[0]["h"].sum().backward()
    assert cell.unused.grad is None
    assert cell.mix.weight.grad is not None


@strategies
@pytest.mark.parametrize("segment", [1, 4])
def test_each_reduction_is_that_of_the_stacked_outputs(strategy: Any, segment: int) -> None:
    x, weight = double(30, 4, 5), double(5, 5, wants=True)

    def cell(inputs: Tensor, state: Tensor) -> Any:
        state = (inputs + state @ weight).tanh()
        return {"a": state, "b": (state.sum(), state > 0), "c": state[:, 0], "d": state}, state

    def reduced(outputs: Any, final: Any) -> Any:
        return outputs["a"], *outputs["b"], outputs["c"], final

    def loop() -> Any:
        outputs, final = plain_loop(cell, x, torch.zeros(4, 5, dtype=torch.float64))
        total, positive = outputs["b"]
        return outputs["a"][-1], total.mean(), positive.sum(0), outputs["c"].sum(0), final

    def scanned() -> Any:
        outputs, final = checkpointed_scan(
            cell,
            x,
            torch.zeros(4, 5, dtype=torch.float64),
            budget=MemoryBudget(slots=3, strategy=strategy, segment=segment),
            outputs={"a": "last", "b": ("mean", "sum"), "c": "sum", "d": "none"},
            parameters=[weight],
        )
        assert outputs["d"] is None
        return reduced(outputs, final)

    found, expected = results_and_gradients(scanned, [weight]), results_and_gradients(loop, [weight])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


@strategies
def test_a_state_that_is_changed_in_place_is_copied_first(strategy: str) -> None:
    """A ring buffer of the last outputs, written in place."""
    weight, x = double(3, 3, wants=True), double(20, 2, 3, wants=True)

    def cell(inputs: Tensor, state: Any) -> Any:
        buffer, turn = state
        hidden = (inputs + buffer.mean(0) @ weight).tanh()
        buffer[turn % 4] = hidden
        return hidden, (buffer, turn + 1)

    def begin() -> Any:
        return torch.zeros(4, 2, 3, dtype=torch.float64), 0

    expected = results_and_gradients(lambda: plain_loop(cell, x, begin()), [weight, x])
    start = begin()
    found = results_and_gradients(lambda: scan(cell, x, start, strategy, parameters=[weight]), [weight, x])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
    assert start[0].count_nonzero() == 0


def test_a_state_that_is_changed_in_place_at_later_steps_only_is_refused() -> None:
    def cell(inputs: Tensor, state: Any) -> Any:
        hidden, turn = state
        if turn > 4:
            hidden.mul_(0.5)
        hidden = hidden * inputs if turn <= 4 else hidden
        return hidden.sum(), (hidden, turn + 1)

    x = double(20, 2, wants=True)
    with pytest.raises(RuntimeError, match=r"in.place"):
        scan(cell, x, (torch.ones(2, dtype=torch.float64), 0), "hidden")[0].sum().backward()


@strategies
def test_one_tensor_twice_in_a_state_gets_both_gradients(strategy: str) -> None:
    first = double(3, wants=True)

    def cell(inputs: Tensor, state: Any) -> Any:
        a, b = state
        return a * b, (a * inputs, b + inputs)

    x = double(10, 3)
    expected = results_and_gradients(lambda: plain_loop(cell, x, (first, first)), [first])
    found = results_and_gradients(lambda: scan(cell, x, (first, first), strategy), [first])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


@strategies
def test_parameters_used_elsewhere_get_the_sum_of_gradients(strategy: str) -> None:
    cell = nn.GRUCell(3, 3, dtype=torch.float64)
    x = double(20, 2, 3)

    def step(inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = cell(inputs, state)
        return state, state

    def around(outputs: Tensor, state: Tensor) -> Tensor:
        return (outputs @ cell.weight_ih.T).sum() + cell.weight_hh.square().sum() + state.sum()

    start = torch.zeros(2, 3, dtype=torch.float64)
    expected = results_and_gradients(lambda: around(*plain_loop(step, x, start)), cell.parameters())
    found = results_and_gradients(lambda: around(*scan(cell, x, start, strategy)), cell.parameters())
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_tensors_of_a_graph_may_be_parameters_of_a_function() -> None:
    """What an encoder computed, used at every step, gets its gradient and passes it on."""
    encoder, x = double(3, 3, wants=True), double(20, 2, 3)

    def cell(memory: Tensor, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = (inputs + state @ memory).tanh()
        return state, state

    start = torch.zeros(2, 3, dtype=torch.float64)

    def scanned() -> Any:
        memory = encoder.sin()
        return scan(functools.partial(cell, memory), x, start, parameters=[memory])

    expected = results_and_gradients(
        lambda: plain_loop(functools.partial(cell, encoder.sin()), x, start), [encoder]
    )
    torch.testing.assert_close(results_and_gradients(scanned, [encoder]), expected, rtol=1e-12, atol=1e-12)


@strategies
def test_sparse_gradients_of_embeddings_add_up(strategy: str) -> None:
    table = nn.Embedding(7, 3, sparse=True, dtype=torch.float64)
    cell = nn.GRUCell(3, 3, dtype=torch.float64)

    def step(symbols: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = cell(table(symbols), state)
        return state, state

    symbols, start = torch.randint(7, (30, 2)), torch.zeros(2, 3, dtype=torch.float64)
    wanted = [table.weight, *cell.parameters()]
    expected = results_and_gradients(lambda: plain_loop(step, symbols, start), wanted)
    found = results_and_gradients(lambda: scan(step, symbols, start, strategy, parameters=wanted), wanted)
    for one, other in zip(found, expected, strict=True):
        assert one.is_sparse == other.is_sparse
        torch.testing.assert_close(one.to_dense(), other.to_dense(), rtol=1e-12, atol=1e-12)


@strategies
def test_gradients_that_share_memory_do_not_mix(strategy: str) -> None:
    """A bias as large as the output, used at some steps: autograd hands it the output's own gradient."""
    bias, weight = double(2, 3, wants=True), double(3, 3, wants=True)

    def cell(inputs: Tensor, state: Any) -> Any:
        hidden, turn = state
        hidden = hidden @ weight + inputs
        hidden = hidden + bias if turn % 3 == 0 else hidden.tanh()
        return hidden, (hidden, turn + 1)

    x = double(20, 2, 3)

    def begin() -> Any:
        return torch.zeros(2, 3, dtype=torch.float64), 0

    wanted = [bias, weight]
    expected = results_and_gradients(lambda: plain_loop(cell, x, begin()), wanted)
    found = results_and_gradients(lambda: scan(cell, x, begin(), strategy, parameters=wanted), wanted)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_frozen_parameters_leave_the_gradient_of_inputs() -> None:
    cell = nn.GRUCell(3, 3, dtype=torch.float64).requires_grad_(False)
    x = double(20, 2, 3, wants=True)
    outputs, _ = scan(cell, x, torch.zeros(2, 3, dtype=torch.float64))
    outputs[-1].sum().backward()
    assert x.grad is not None
    assert x.grad[0].abs().sum() > 0
    assert cell.weight_ih.grad is None


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_it_is_the_plain_loop(mode: Any) -> None:
    cell, calls = nn.GRUCell(3, 3), []
    cell.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    with mode():
        outputs, state = checkpointed_scan(cell, torch.ones(20, 2, 3))
    assert calls == [False] * 20
    assert not outputs.requires_grad
    assert_equal([outputs[-1]], [state])


@pytest.mark.parametrize("wants_input", [True, False])
def test_tensors_that_nobody_named_are_refused_not_forgotten(wants_input: bool) -> None:
    weight, x = double(3, 3, wants=True), double(5, 2, 3, wants=wants_input)

    def cell(inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = inputs + state @ weight
        return state, state

    with pytest.raises(RuntimeError, match=r"1 tensors that require a gradient and that nobody named.*3, 3"):
        scan(cell, x, torch.zeros(2, 3, dtype=torch.float64))


def test_a_method_brings_the_parameters_of_its_module() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(3, 3)

        def step(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            state = self.cell(inputs, state)
            return state, state

    model = Model()
    for step in (
        model.step,
        functools.partial(model.step),
        functools.wraps(model.step)(lambda *a: model.step(*a)),
    ):
        model.zero_grad()
        scan(step, torch.ones(5, 2, 3), torch.zeros(2, 3))[0].sum().backward()
        assert model.cell.weight_hh.grad is not None


def test_parameters_that_change_before_backward_are_refused_by_name() -> None:
    cell = nn.GRUCell(3, 3)
    outputs, _ = scan(cell, torch.ones(20, 2, 3), torch.zeros(2, 3))
    with torch.no_grad():
        cell.weight_hh.mul_(2)
    with pytest.raises(RuntimeError, match="weight_hh was changed in place between forward and backward"):
        outputs.sum().backward()


def test_a_fused_optimizer_before_backward_is_refused_and_that_of_other_weights_is_not() -> None:
    """Such optimizers change weights without raising torch's version of them by themselves."""
    cell, other = nn.GRUCell(3, 3), nn.Parameter(torch.ones(2))
    outputs, _ = scan(cell, torch.ones(20, 2, 3), torch.zeros(2, 3))
    for weight in (*cell.parameters(), other):
        weight.grad = torch.ones_like(weight)
    torch.optim.Adam([other], fused=True).step()
    outputs.sum().backward(retain_graph=True)
    outputs, _ = scan(cell, torch.ones(20, 2, 3), torch.zeros(2, 3))
    torch.optim.Adam(cell.parameters(), fused=True).step()
    with pytest.raises(RuntimeError, match="was changed in place between forward and backward"):
        outputs.sum().backward()


def test_inputs_that_change_before_backward_are_refused() -> None:
    x = torch.ones(20, 2, 3)
    outputs, _ = scan(nn.GRUCell(3, 3), x, torch.zeros(2, 3))
    x.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.sum().backward()


def test_a_second_backward_is_refused() -> None:
    outputs, _ = scan(nn.GRUCell(3, 3), torch.ones(20, 2, 3), torch.zeros(2, 3))
    outputs.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="goes backward once only"):
        outputs.sum().backward()


def test_gradients_are_not_differentiable_again() -> None:
    x = torch.ones(20, 2, 3, requires_grad=True)
    outputs, _ = scan(nn.GRUCell(3, 3), x, torch.zeros(2, 3))
    (gradient,) = torch.autograd.grad(outputs.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient.sum().backward()


def test_nothing_is_kept_after_backward() -> None:
    """The states are freed even while the loss lives on."""
    import gc
    import weakref

    seen = []

    class Watched(nn.GRUCell):
        def forward(self, inputs: Tensor, hx: Tensor | None = None) -> Tensor:
            after = super().forward(inputs, hx)
            seen.append(weakref.ref(after.untyped_storage()))
            return after

    loss, _ = checkpointed_scan(Watched(3, 3), torch.ones(20, 2, 3), torch.zeros(2, 3), outputs="sum")
    loss.sum().backward(retain_graph=True)
    gc.collect()
    assert loss is not None
    assert sum(ref() is not None for ref in seen) <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": (torch.ones(3, 1), torch.ones(4, 1))}, r"first axis, with one length, but have \[3, 4\]"),
        ({"length": 7}, r"first axis, with one length, but have \[5, 7\]"),
        ({"inputs": None}, "no input that is a tensor; give length"),
        ({"inputs": torch.ones(0, 2, 3)}, "at least 1 time step, not 0"),
        ({"outputs": "product"}, "outputs must be one of .*'stack'.*, got 'product'"),
        ({"outputs": ("sum", "last")}, r"outputs=\('sum', 'last'\) does not fit what a step gives"),
    ],
)
def test_what_does_not_fit_is_refused(change: Any, message: str) -> None:
    arguments = {"inputs": torch.ones(5, 2, 3), "state": torch.zeros(2, 3)} | change
    inputs, state = arguments.pop("inputs"), arguments.pop("state")
    with pytest.raises(ValueError, match=message):
        checkpointed_scan(nn.GRUCell(3, 3), inputs, state, **arguments)


def test_a_cell_without_inputs_runs_for_a_given_length() -> None:
    weight = double(3, 3, wants=True)

    def cell(inputs: None, state: Tensor) -> tuple[Tensor, Tensor]:
        state = (state @ weight).tanh()
        return state, state

    outputs, _ = scan(cell, None, torch.ones(2, 3, dtype=torch.float64), length=7, parameters=[weight])
    assert outputs.shape == (7, 2, 3)
