"""A small network on given numbers, and its gradients computed by the plainest means.

Everything is written out for dense float64 matrices whose masked entries are zero: backpropagation through
time by autograd, influence matrices `(batch, state, parameters)` by autograd Jacobians, and patterns by
boolean matrix products. The packages' own code is not used.
"""

import functools
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["vanilla", "gru", "lstm"]
KINDS: tuple[Kind, ...] = ("vanilla", "gru", "lstm")
NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
GATES = {"vanilla": 1, "gru": 3, "lstm": 4}
PARTS = {"vanilla": 1, "gru": 1, "lstm": 2}
SCALES = {"weight_ih": 0.8, "weight_hh": 0.9, "bias_ih": 0.3, "bias_hh": 0.2}
Weights = dict[str, Tensor]


def step(kind: Kind, weights: Weights, x: Tensor, state: Tensor) -> Tensor:
    """One step, `(batch, state)` to `(batch, state)`; the state of an LSTM is h and then c."""
    units = state.shape[1] // PARTS[kind]
    hidden = state[:, :units]
    given = x @ weights["weight_ih"].T + weights["bias_ih"]
    kept = hidden @ weights["weight_hh"].T + weights["bias_hh"]
    if kind == "vanilla":
        return torch.tanh(given + kept)
    if kind == "gru":
        (given_r, given_z, given_n), (kept_r, kept_z, kept_n) = given.chunk(3, 1), kept.chunk(3, 1)
        update = torch.sigmoid(given_z + kept_z)
        candidate = torch.tanh(given_n + torch.sigmoid(given_r + kept_r) * kept_n)
        return (1 - update) * candidate + update * hidden
    into, forget, new, out = (given + kept).chunk(4, 1)
    cell = torch.sigmoid(forget) * state[:, units:] + torch.sigmoid(into) * torch.tanh(new)
    return torch.cat([torch.sigmoid(out) * torch.tanh(cell), cell], 1)


@dataclass
class Setting:
    """A network, its masks, and data.

    Args:
        kind: the cell.
        units: how many.
        features: inputs of a step.
        steps: length of the sequences.
        batch: how many sequences.
        dense: keep every entry.
        one_hot: inputs with one 1 and zeros in each step.
        shared: the same recurrent mask in all gates.
    """

    kind: Kind
    units: int = 6
    features: int = 3
    steps: int = 5
    batch: int = 2
    dense: bool = False
    one_hot: bool = False
    shared: bool = False
    masks: Weights = field(init=False)
    weights: Weights = field(init=False)
    inputs: Tensor = field(init=False)
    targets: Tensor = field(init=False)

    def __post_init__(self) -> None:
        rows = GATES[self.kind] * self.units
        shapes = {"weight_ih": (rows, self.features), "weight_hh": (rows, self.units)}
        shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        self.masks = {name: self._mask(k, shape) for k, (name, shape) in enumerate(shapes.items())}
        self.weights = {
            name: SCALES[name] * torch.sin(0.9 * _count(shape) + 0.37 * k + 0.5) * self.masks[name]
            for k, (name, shape) in enumerate(shapes.items())
        }
        self.inputs = torch.cos(0.31 * _count((self.steps, self.batch, self.features)) + 0.2)
        if self.one_hot:
            symbols = torch.arange(self.steps * self.batch).pow(2).remainder(self.features)
            self.inputs = torch.eye(self.features, dtype=torch.float64)[symbols.view(self.steps, self.batch)]
        self.targets = 0.5 * torch.sin(0.23 * _count((self.steps, self.batch, self.units)) + 1.1)

    def _mask(self, k: int, shape: tuple[int, ...]) -> Tensor:
        if self.dense or len(shape) == 1:
            return torch.ones(shape, dtype=torch.bool)
        i, j = torch.arange(shape[0])[:, None], torch.arange(shape[1])
        if self.shared:
            i = i % self.units
        return (13 * i + 29 * j + 7 * i**2 + 3 * j**2 + 5 * i * j + 11 * k) % 10 < 3

    @property
    def state_size(self) -> int:
        return PARTS[self.kind] * self.units

    def start(self) -> Tensor:
        return torch.zeros(self.batch, self.state_size, dtype=torch.float64)

    def kept(self) -> Tensor:
        """Which of all entries, one after another, are parameters."""
        return torch.cat([self.masks[name].flatten() for name in NAMES])

    def split(self, vector: Tensor) -> Weights:
        """A vector over all entries by name and in the shapes of the matrices."""
        sizes = [self.weights[name].numel() for name in NAMES]
        parts = zip(NAMES, vector.split(sizes), strict=True)
        return {name: part.view_as(self.weights[name]) for name, part in parts}


def _count(shape: tuple[int, ...]) -> Tensor:
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float64).view(shape)


def bptt(setting: Setting) -> tuple[Weights, Tensor]:
    """Gradients of sum over steps of |h - y|^2 / 2, and the outputs `(steps, batch, units)`."""
    leaves = {name: value.clone().requires_grad_() for name, value in setting.weights.items()}
    masked = {name: leaf * setting.masks[name] for name, leaf in leaves.items()}
    state, outputs = setting.start(), []
    for x in setting.inputs:
        state = step(setting.kind, masked, x, state)
        outputs.append(state[:, : setting.units])
    loss = (torch.stack(outputs) - setting.targets).pow(2).sum() / 2
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return dict(zip(leaves, gradients, strict=True)), torch.stack(outputs).detach()


def jacobians(setting: Setting, weights: Weights, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The new state, D `(batch, state, state)` and I `(batch, state, entries)`, masked entries zero."""
    vector = torch.cat([weights[name].flatten() for name in NAMES])

    def one(vector: Tensor, x: Tensor, state: Tensor) -> Tensor:
        return step(setting.kind, setting.split(vector), x[None], state[None])[0]

    dynamics, immediate = [], []
    for b in range(setting.batch):
        by_vector, by_state = torch.autograd.functional.jacobian(
            lambda v, s, b=b: one(v, x[b], s), (vector, state[b])
        )
        immediate.append(by_vector * setting.kept())
        dynamics.append(by_state)
    return step(setting.kind, weights, x, state), torch.stack(dynamics), torch.stack(immediate)


@functools.cache
def structure(kind: Kind, dense: bool, shared: bool) -> tuple[Tensor, Tensor]:
    """Where D `(state, state)` and I `(state, entries)` can be other than zero, from masks and equations."""
    setting = Setting(kind, dense=dense, shared=shared)
    units, gates = setting.units, GATES[kind]
    recurrent = setting.masks["weight_hh"].view(gates, units, units)
    eye = torch.eye(units, dtype=torch.bool)
    unit = torch.cat([torch.arange(value.numel()) // value[0].numel() for value in setting.weights.values()])
    touched = (unit % units)[None] == torch.arange(units)[:, None]
    touched &= setting.kept()
    if kind == "vanilla":
        return recurrent[0], touched
    if kind == "gru":
        return recurrent.any(0) | eye, touched
    into_cell = recurrent[:3].any(0)
    dynamics = torch.cat([torch.cat([recurrent.any(0), eye], 1), torch.cat([into_cell, eye], 1)])
    return dynamics, torch.cat([touched, touched & (unit // units < 3)])


def pattern(setting: Setting, order: int, form: Literal["strict", "unit"] = "strict") -> Tensor:
    """S_n: S_1 = nz(I), S_n = S_(n-1) or nz(D) S_(n-1). "unit" always keeps both rows of a unit."""
    dynamics, kept = structure(setting.kind, setting.dense, setting.shared)

    def formed(kept: Tensor) -> Tensor:
        if form == "strict":
            return kept
        return kept.view(PARTS[setting.kind], setting.units, -1).any(0).repeat(PARTS[setting.kind], 1)

    kept = formed(kept)
    for _ in range(order - 1):
        kept = formed(kept | (dynamics.double() @ kept.double() > 0))
    return kept


def rtrl(setting: Setting, mask: Tensor | None = None, rate: float = 0.0) -> tuple[Weights, list[Tensor]]:
    """Sum over steps of delta^T J with J <- mask * (I + D J), and J after every step.

    With a `rate` the weights move after every step, J is carried over, and the result is the final weights.
    """
    weights = dict(setting.weights)
    state, kept = setting.start(), mask if mask is not None else torch.ones(1)
    influence = torch.zeros(setting.batch, setting.state_size, len(setting.kept()), dtype=torch.float64)
    total, influences = torch.zeros(len(setting.kept()), dtype=torch.float64), []
    for x, target in zip(setting.inputs, setting.targets, strict=True):
        state, dynamics, immediate = jacobians(setting, weights, x, state)
        influence = kept * (immediate + dynamics @ influence)
        delta = torch.zeros_like(state)
        delta[:, : setting.units] = state[:, : setting.units] - target
        gradient = torch.einsum("bs,bsp->p", delta, influence)
        total += gradient
        influences.append(influence)
        if rate:
            moves = setting.split(gradient)
            weights = {name: value - rate * moves[name] for name, value in weights.items()}
    return (weights if rate else setting.split(total)), influences
