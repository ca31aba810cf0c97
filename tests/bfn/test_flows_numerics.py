"""Nothing becomes NaN or infinite, whatever the classes, the accuracy, the time or the precision."""

import subprocess
import sys

import jaxtyping
import pytest
import torch

from graves_bfn import (
    ContinuousFlow,
    DiscreteFlow,
    DiscretisedFlow,
    EntropySchedule,
    QuadraticSchedule,
    Schedule,
)

TIMES = torch.tensor([0.0, 1e-7, 0.5, 1 - 1e-7, 1.0])
PRECISIONS = [torch.float32, torch.bfloat16]


def assert_finite(losses: list[torch.Tensor], weight: torch.Tensor) -> None:
    for loss in losses:
        (grad,) = torch.autograd.grad(loss.sum(), weight, retain_graph=True)
        assert loss.dtype == torch.float32
        assert loss.isfinite().all()
        assert grad.isfinite()


def all_losses(flow: DiscreteFlow, network: object, x: torch.Tensor, **masks: object) -> list[torch.Tensor]:
    """All three at the ends of time, and a few messages with numbers of their own."""
    sender = torch.randn(1, *flow.message_noise_shape(tuple(x.shape)))
    steps = [(1, torch.ones(5, dtype=torch.long)), (1000, torch.tensor([1, 2, 500, 999, 1000]))]
    return [
        flow.continuous_time_loss(network, x, t=TIMES, **masks),
        flow.reconstruction_loss(network, x, **masks),
        *(
            flow.discrete_time_loss(network, x, n, step=step, sender_noise=sender, **masks)
            for n, step in steps
        ),
    ]


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("classes", [2, 27, 256, 50_000])
@pytest.mark.parametrize("total", [1.0, 96.0, 500.0])
@pytest.mark.parametrize("schedule", [QuadraticSchedule, EntropySchedule])
@pytest.mark.parametrize("receiver", ["joint", "factorised"])
def test_discrete_losses_and_gradients_are_finite(
    classes: int, total: float, dtype: torch.dtype, schedule: type, receiver: str
) -> None:
    sizes = (classes,) if schedule is EntropySchedule else ()
    flow = DiscreteFlow(classes, receiver=receiver, schedule=schedule(*sizes, total / classes))
    x = torch.randint(classes, (5, 2), generator=torch.Generator().manual_seed(0))
    weight = torch.ones((), dtype=dtype, requires_grad=True)

    def network(theta: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        assert theta.isfinite().all()
        return (30 * theta.to(dtype) - 10) * weight

    assert_finite(all_losses(flow, network, x), weight)
    known = torch.tensor([[True, False]]).expand(5, 2)
    assert_finite(all_losses(flow, network, x, valid=torch.ones_like(known), known=known), weight)
    assert (flow.sample(network, (2, 3), 2) < classes).all()


@pytest.mark.parametrize("receiver", ["joint", "factorised"])
@pytest.mark.parametrize("classes", [2, 27, 50_000])
def test_networks_that_are_sure_and_wrong_pay_a_finite_price(classes: int, receiver: str) -> None:
    flow = DiscreteFlow(classes, 500 / classes, receiver=receiver)
    weight = torch.ones((), requires_grad=True)
    x = torch.zeros(5, 2, dtype=torch.long)
    certain = torch.zeros(5, 2, flow.outputs_per_variable)
    certain[..., -1] = 1e4  # for the last class
    assert_finite(all_losses(flow, lambda theta, t: certain * weight, x), weight)


def test_one_huge_message_leaves_probabilities_and_lets_classes_come_back() -> None:
    flow = DiscreteFlow(8192, 164 / 8192)
    z = flow.send(torch.tensor([[7]]), flow.beta_1, generator=torch.Generator().manual_seed(0))
    assert flow.probabilities(z).isfinite().all()
    for _ in range(3):
        z = flow.update(z, flow.send(torch.tensor([[9]]), flow.beta_1), flow.beta_1)
    assert flow.probabilities(z).argmax() == 9


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("sigma_1", [1e-3, 0.03, 0.9])
@pytest.mark.parametrize(
    "make",
    [
        ContinuousFlow,
        lambda s: DiscretisedFlow(256, s),
        lambda s: DiscretisedFlow(3, s),
        lambda s: ContinuousFlow(schedule=EntropySchedule(4, s**-2)),
        lambda s: DiscretisedFlow(17, schedule=QuadraticSchedule(s**-2)),
    ],
)
def test_gaussian_losses_and_gradients_are_finite(make: type, sigma_1: float, dtype: torch.dtype) -> None:
    flow = make(sigma_1)
    x = 2 * torch.rand(5, 4, generator=torch.Generator().manual_seed(0)) - 1
    weight = torch.ones((), dtype=dtype, requires_grad=True)

    def network(mean: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return mean.to(dtype).unsqueeze(-1).expand(*mean.shape, flow.outputs_per_variable) * (20 * weight)

    known = torch.rand(5, 4, generator=torch.Generator().manual_seed(1)) < 0.5
    for masks in ({}, {"valid": ~known}, {"known": known}):
        assert_finite(all_losses(flow, network, x, **masks), weight)
        losses = [
            flow.discrete_time_loss(network, x, 5, step=torch.full((5,), i), **masks) for i in (1, 3, 5)
        ]
        assert_finite(losses, weight)
    assert flow.sample(network, (2, 3), 2).isfinite().all()


@pytest.mark.parametrize("power", [4, 8, 30])
def test_schedules_that_start_flat_have_finite_losses(power: int) -> None:
    class Power(Schedule):
        def __init__(self) -> None:
            pass

        def beta(self, t: torch.Tensor) -> torch.Tensor:
            return 9 * t**power

    weight, times = torch.ones((), requires_grad=True), torch.tensor([0.0, 1e-6, 1e-5, 1e-3, 1.0])
    for flow in (ContinuousFlow(schedule=Power()), DiscretisedFlow(16, schedule=Power())):
        outputs = flow.outputs_per_variable
        network = lambda mean, t, outputs=outputs: (weight * mean).unsqueeze(-1).expand(5, 2, outputs)
        x = torch.full((5, 2), 0.0625)
        assert_finite([flow.continuous_time_loss(network, x, t=times)], weight)


def test_losses_under_autocast_are_float32_and_close_to_the_plain_ones() -> None:
    layer = torch.nn.Linear(27, 27)
    flow, x = DiscreteFlow(27, 0.6), torch.randint(27, (4, 9))
    fixed = {"t": torch.rand(4), "noise": torch.randn(4, 9, 27)}
    plain = flow.continuous_time_loss(lambda theta, t: layer(theta), x, **fixed)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = flow.continuous_time_loss(lambda theta, t: layer(theta), x, **fixed)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, plain, rtol=1e-2, atol=1e-2)


COMPILED = """
import torch
from graves_bfn import ContinuousFlow, DiscreteFlow, DiscretisedFlow

torch.manual_seed(0)
for flow in (ContinuousFlow(0.1), DiscretisedFlow(256, 0.1), DiscreteFlow(5, 1.0)):
    discrete = isinstance(flow, DiscreteFlow)
    x = torch.randint(5, (3, 4)) if discrete else torch.rand(3, 4)
    layer = torch.nn.Linear(5 if discrete else 1, flow.outputs_per_variable)
    fixed = {"t": torch.rand(3), "noise": torch.randn(3, 4, 5) if discrete else torch.randn(3, 4)}

    def loss(x):
        network = lambda inputs, t: layer(inputs if discrete else inputs.unsqueeze(-1))
        return flow.continuous_time_loss(network, x, **fixed)

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), loss(x))
"""


def test_losses_compile_without_graph_breaks() -> None:
    # in a process of its own: the compiler cannot read the shape checks that the tests put around functions
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ContinuousFlow(1.0), "sigma_1 must lie in"),
        (lambda: ContinuousFlow(0.1, bounds=(1.0, -1.0)), "bounds must be"),
        (lambda: ContinuousFlow(0.1, num_bins=1), "num_bins must be at least 2"),
        (lambda: ContinuousFlow(0.1, reconstruction_std=0.0), "reconstruction_std must be positive"),
        (lambda: DiscretisedFlow(1, 0.1), "num_bins must be at least 2"),
        (lambda: DiscreteFlow(1, 0.1), "num_classes must be at least 2"),
        (lambda: DiscreteFlow(2, 0.0), "beta_1 must be positive"),
        (lambda: DiscreteFlow(2, 1.0, receiver="both"), "receiver must be one of"),
        (lambda: DiscreteFlow(2, 1.0).sample(lambda p, t: p, (1, 2), 0), "num_steps must be at least 1"),
        (
            lambda: DiscreteFlow(2, 1.0).discrete_time_loss(lambda p, t: p, torch.zeros(1, 2).long(), 0),
            "num_steps",
        ),
    ],
)
def test_bad_arguments_are_refused_by_name(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_noise_of_another_shape_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # which would refuse it first
    with pytest.raises(ValueError, match=r"noise must have shape \(2, 3\)"):
        ContinuousFlow(0.1).send(torch.zeros(2, 3), 1.0, noise=torch.zeros(1, 3))
