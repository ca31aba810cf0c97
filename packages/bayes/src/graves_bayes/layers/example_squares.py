"""Exact sums over examples of squared gradients, for layers whose inputs and output gradients tell them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import grad
from torch.utils.hooks import RemovableHandle

from graves_bayes.layers.posterior import WeightPosterior
from graves_bayes.layers.sample_buffers import gradient_of
from graves_bayes.variational.estimators import linear_squares

Captured = tuple[Any, Tensor, Tensor]

KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Embedding, nn.LayerNorm)
CONVOLUTIONS = {
    nn.Conv1d: grad.conv1d_weight,
    nn.Conv2d: grad.conv2d_weight,
    nn.Conv3d: grad.conv3d_weight,
}


def capturable(module: nn.Module) -> dict[str, nn.Module]:
    """The layers of a network whose examples can be told apart in a batch.

    These are linear, convolutional (with zeros as padding), embedding and layer normalisation layers that are
    called themselves, with the examples along the first axis. Attention, for one, uses the weights of its
    last layer without calling it; and batch normalisation mixes the examples.

    Args:
        module: the network.
    """
    inside = {
        id(child) for m in module.modules() if isinstance(m, nn.MultiheadAttention) for child in m.modules()
    }
    return {
        name: layer
        for name, layer in module.named_modules()
        if type(layer) in KINDS
        and id(layer) not in inside
        and getattr(layer, "padding_mode", "zeros") == "zeros"
        and not isinstance(getattr(layer, "padding", 0), str)
    }


class ExampleSquares:
    """Adds the squared gradients of single examples to the gradients of a posterior's scales.

    Each forward pass of the layers is noted; `add_` then squares the gradient of each example, which may come
    from several calls of several layers that share a parameter, and adds up.

    Args:
        posterior: with `estimator="squared"`.
        layers: of `capturable`.

    Example:
        >>> from graves_bayes.layers.sampled import posterior_over, sampled_weights
        >>> net = nn.Linear(3, 2)
        >>> posterior = posterior_over(net, estimator="squared")
        >>> squares = ExampleSquares(posterior, [net])
        >>> with sampled_weights(posterior):
        ...     net(torch.ones(4, 3)).sum().backward()
        >>> squares.add_(examples=4, factor=1.0)
        >>> posterior.log_sigma[0].grad[0]
        tensor([4., 4., 4.])
        >>> squares.remove()
    """

    def __init__(self, posterior: WeightPosterior, layers: Sequence[Any]) -> None:
        self._posterior = posterior
        self._index = {id(p): index for index, p in enumerate(posterior.parameters_of_network)}
        self._captured: list[Captured] = []
        self._handles: list[RemovableHandle] = []
        owned = set()
        for layer in layers:
            mine = {self._index[id(p)] for p in layer.parameters(recurse=False) if id(p) in self._index}
            if mine:
                self._handles.append(layer.register_forward_hook(self._note))
            owned |= mine
        posterior.captured = frozenset(owned)

    @torch.no_grad()
    def add_(self, examples: int, factor: float) -> None:
        """Adds what the last backward pass has told.

        Args:
            examples: size of the batch.
            factor: what the squares are multiplied with: the size of the batch if the loss is a mean over it,
                else 1.

        Raises:
            ValueError: when a layer was not given the examples along the first axis.
        """
        captured, self._captured = self._captured, []
        for layer, inputs, _ in captured:
            if len(inputs) != examples:
                raise ValueError(
                    f"estimator='squared' needs the {examples} examples along the first axis of what enters "
                    f"a {type(layer).__name__}, got {tuple(inputs.shape)}"
                )
        if _is_simple(captured):
            for layer, inputs, gradients in captured:
                self._add(layer.weight, linear_squares(inputs.to(gradients), gradients), factor)
                self._add(layer.bias, gradients.square().sum(0), factor)
        else:
            for example in range(examples if captured else 0):
                self._add_example(captured, example, factor)

    def remove(self) -> None:
        """Stops to note."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._posterior.captured = frozenset()

    def _note(self, layer: nn.Module, inputs: Any, output: Tensor) -> None:
        if not (torch.is_grad_enabled() and self._posterior.is_sampled and output.requires_grad):
            return
        kept = inputs[0].detach()

        def note(gradient: Tensor) -> None:
            self._captured.append((layer, kept, gradient.detach()))

        hooked: Any = output
        hooked.register_hook(note)

    def _add_example(self, captured: Sequence[Captured], example: int, factor: float) -> None:
        totals: dict[int, Tensor] = {}
        leaves: dict[int, Tensor] = {}
        rows = slice(example, example + 1)
        for layer, inputs, gradients in captured:
            for leaf, gradient in _gradients(layer, inputs[rows], gradients[rows]):
                leaves[id(leaf)] = leaf
                totals[id(leaf)] = totals[id(leaf)] + gradient if id(leaf) in totals else gradient
        for key, total in totals.items():
            self._add(leaves[key], total.square_(), factor)

    def _add(self, leaf: Tensor | None, squares: Tensor, factor: float) -> None:
        if leaf is not None and id(leaf) in self._index:
            scale = self._posterior.log_sigma[self._index[id(leaf)]]
            if scale.requires_grad:
                gradient_of(scale).add_(squares, alpha=factor)


def _is_simple(captured: Sequence[Captured]) -> bool:
    """Whether no parameter was used twice, by linear layers that see one vector for each example."""
    used = {id(layer.weight) for layer, _, _ in captured}
    linear = all(isinstance(layer, nn.Linear) and inputs.dim() == 2 for layer, inputs, _ in captured)
    return linear and len(used) == len(captured)


def _gradients(layer: Any, inputs: Tensor, gradients: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The gradient of each parameter of a layer, from the inputs and output gradients of one example."""
    flat = gradients.reshape(-1, gradients.shape[-1])
    if type(layer) in CONVOLUTIONS:
        found = [(layer.weight, _convolution(layer, inputs, gradients))]
        return found if layer.bias is None else [*found, (layer.bias, gradients.flatten(2).sum((0, 2)))]
    if isinstance(layer, nn.Embedding):
        rows = torch.zeros_like(layer.weight, dtype=flat.dtype).index_add_(0, inputs.reshape(-1), flat)
        if layer.padding_idx is not None:
            rows[layer.padding_idx] = 0
        return [(layer.weight, rows)]
    if isinstance(layer, nn.LayerNorm):
        axes = gradients.dim() - len(layer.normalized_shape)
        normal = nn.functional.layer_norm(inputs, layer.normalized_shape, eps=layer.eps)
        found = (
            [(layer.weight, (gradients * normal).flatten(0, axes - 1).sum(0))]
            if layer.weight is not None
            else []
        )
        return found if layer.bias is None else [*found, (layer.bias, gradients.flatten(0, axes - 1).sum(0))]
    found = [(layer.weight, flat.T @ inputs.reshape(-1, inputs.shape[-1]).to(flat))]
    return found if layer.bias is None else [*found, (layer.bias, flat.sum(0))]


def _convolution(layer: Any, inputs: Tensor, gradients: Tensor) -> Tensor:
    function: Any = CONVOLUTIONS[type(layer)]
    shape = layer.weight.shape
    found: Tensor = function(
        inputs.to(gradients), shape, gradients, layer.stride, layer.padding, layer.dilation, layer.groups
    )
    return found
