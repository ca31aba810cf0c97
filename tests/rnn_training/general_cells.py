"""Cells and independent statements for tests of learners."""

from collections.abc import Callable, Iterator

import torch
from reference_setting import NAMES, Kind, Setting
from torch import Tensor, nn

from graves_rnn_training.layers.cells.base import OnlineCell
from graves_rnn_training.layers.cells.gru import GRUCell
from graves_rnn_training.layers.cells.lstm import LSTMCell
from graves_rnn_training.layers.cells.unit import UnitCell
from graves_rnn_training.layers.cells.vanilla import VanillaCell
from graves_rnn_training.layers.learners.base import Learner

CELLS = {
    "vanilla": (VanillaCell, nn.RNNCell),
    "gru": (GRUCell, nn.GRUCell),
    "lstm": (LSTMCell, nn.LSTMCell),
}


class LeakyCell(OnlineCell):
    """A cell of a user: leaky units of which only the first `seen` are output, with recurrent masks."""

    def __init__(self, input_size: int = 3, units: int = 5, seen: int = 4) -> None:
        super().__init__(input_size, seen, units)
        self.mix = nn.Linear(input_size, units)
        self.weight = nn.Parameter(torch.randn(units, units) / units**0.5)
        self.register_buffer("mask", torch.eye(units).roll(1, 0) + torch.eye(units).roll(2, 1))

    def forward(self, inputs: Tensor, state: Tensor) -> Tensor:
        drive = self.mix(inputs) + state.tanh() @ (self.weight * self.mask).T
        return 0.7 * state + 0.3 * torch.relu(drive)


def torch_cell(setting: Setting) -> nn.RNNCellBase:
    """Torch's cell with the weights of a setting; masked entries are zero but learned."""
    cell = CELLS[setting.kind][1](setting.features, setting.units).double()
    cell.load_state_dict(setting.weights)
    return cell


def built_in(setting: Setting) -> UnitCell:
    """Our cell for a setting, with its masks."""
    masks = None if setting.dense else {name: setting.masks[name] for name in ("weight_hh", "weight_ih")}
    return CELLS[setting.kind][0].from_torch(torch_cell(setting), masks)


def whole_gradients(setting: Setting, cell: UnitCell) -> dict[str, Tensor]:
    """Gradients of our cell as those of dense matrices, zero where nothing is kept."""
    found = {}
    for name in NAMES:
        value = torch.zeros_like(setting.weights[name])
        value[setting.masks[name]] = cell.get_parameter(name).grad
        found[name] = value
    return found


def kinds(dense: bool = False) -> Iterator[Setting]:
    """The three cells, with and without masks."""
    every: tuple[Kind, ...] = ("vanilla", "gru", "lstm")
    yield from (Setting(kind, dense=dense) for kind in every)


def data(steps: int = 5, batch: int = 2, features: int = 3, outputs: int = 4) -> tuple[Tensor, Tensor]:
    """Inputs and targets `(steps, batch, size)` in double precision."""
    draw = torch.Generator().manual_seed(7)
    inputs = torch.randn(steps, batch, features, generator=draw, dtype=torch.float64)
    return inputs, torch.randn(steps, batch, outputs, generator=draw, dtype=torch.float64)


def loss_of(output: Tensor, target: Tensor) -> Tensor:
    """Half the squared distance, summed."""
    return (output - target).pow(2).sum() / 2


def through_time(cell: OnlineCell, inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Gradients of the summed loss by autograd over a loop that calls the cell."""
    state = torch.zeros(inputs.shape[1], cell.state_size, dtype=inputs.dtype)
    loss = torch.zeros((), dtype=inputs.dtype)
    for x, target in zip(inputs, targets, strict=True):
        state = cell(x, state)
        loss = loss + loss_of(cell.output(state), target)
    names, parameters = zip(*cell.learned(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def each_step(
    learner: Learner, inputs: Tensor, targets: Tensor, after: Callable[[], None] = lambda: None
) -> dict[str, Tensor]:
    """Goes backward after every step, and returns the gradients that add up."""
    state = learner.initial_state(inputs.shape[1])
    for x, target in zip(inputs, targets, strict=True):
        output, state = learner(x, state)
        loss_of(output, target).backward()
        after()
    return {name: value.grad for name, value in learner.named_parameters() if value.grad is not None}


def masked_by_hand(cell: OnlineCell, inputs: Tensor, targets: Tensor, mask: Tensor | float = 1.0) -> Tensor:
    """Sum over steps of delta^T J with J <- mask * (I + D J), one sequence and derivative at a time."""
    parameters = [value for _, value in cell.learned()]
    total = torch.zeros(sum(value.numel() for value in parameters), dtype=inputs.dtype)
    for b in range(inputs.shape[1]):
        state = torch.zeros(1, cell.state_size, dtype=inputs.dtype)
        influence = torch.zeros(cell.state_size, len(total), dtype=inputs.dtype)
        for x, target in zip(inputs[:, b : b + 1], targets[:, b : b + 1], strict=True):
            before = state.detach().requires_grad_()
            state = cell(x, before)
            rows = [torch.autograd.grad(s, [before, *parameters], retain_graph=True) for s in state[0]]
            dynamics = torch.stack([row[0][0] for row in rows])
            immediate = torch.stack([torch.cat([g.flatten() for g in row[1:]]) for row in rows])
            influence = mask * (immediate + dynamics @ influence)
            total += (cell.output(state) - target)[0].detach() @ influence[: cell.hidden_size]
    return total


def flat(gradients: dict[str, Tensor]) -> Tensor:
    """One vector."""
    return torch.cat([gradient.flatten() for gradient in gradients.values()])
