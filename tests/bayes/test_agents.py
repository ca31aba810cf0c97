"""The agents: which noise is where, what is learned, and what is refused."""

from itertools import product
from typing import Any

import pytest
import torch
from agent_cases import ACTIONS, SIZE, rollout, small_actor_critic, small_dqn, transitions
from torch import Tensor, nn

from graves_bayes import (
    DQN,
    ActorCritic,
    Clock,
    MinAtarTorso,
    NatureTorso,
    NoisyLinear,
    Torso,
    VectorTorso,
    noise_off,
    noisy_layers,
)

CLOCK = Clock(seed=3, actions=40, updates=7, episodes=2)


def loss_of(agent: DQN | ActorCritic) -> Tensor:
    if isinstance(agent, ActorCritic):
        losses = agent.losses(rollout())
        return losses.policy + losses.value
    return agent.temporal_differences(transitions(), CLOCK)[0].square().mean()


VARIANTS: list[tuple[Any, dict[str, Any]]] = [
    *(
        (small_dqn, {"dueling": dueling, "double": double, "noise": noise})
        for dueling, double, noise in product((False, True), (False, True), ("factorised", "independent"))
    ),
    (small_actor_critic, {"noise": "factorised"}),
    (small_actor_critic, {"noise": "independent"}),
]


@pytest.mark.parametrize(("make", "options"), VARIANTS)
def test_sigma_of_every_noisy_layer_gets_a_gradient(make: Any, options: dict[str, Any]) -> None:
    agent = make(**options)
    loss_of(agent).backward()
    learned = {name: layer for name, layer in noisy_layers(agent).items() if not name.startswith("target")}
    assert len(learned) == (3 if make is small_actor_critic else 4 if options["dueling"] else 2)
    for layer in learned.values():
        for sigma in (layer.weight_sigma, layer.bias_sigma):
            assert sigma is not None
            assert sigma.grad is not None
            assert float(sigma.grad.abs().max()) > 0


def test_target_network_is_not_learned() -> None:
    agent = small_dqn(double=True)
    loss_of(agent).backward()
    assert all(weight.grad is None for weight in agent.target.parameters())
    assert not any(weight.requires_grad for weight in agent.target.parameters())


def all_layers_are_noisy(agent: nn.Module) -> bool:
    return not any(type(layer) is nn.Linear for layer in agent.modules())


def test_all_fully_connected_layers_and_no_convolution_are_noisy() -> None:
    agent = DQN(NatureTorso(), actions=6, dueling=True)
    assert all_layers_are_noisy(agent)
    assert len(noisy_layers(agent.online)) == 4
    assert not noisy_layers(agent.online.torso)
    assert not noisy_layers(DQN(VectorTorso(4), actions=2, noise="none"))


class Witness:
    """Records the noise of the last layer whenever a network is used."""

    def __init__(self, *nets: nn.Module) -> None:
        self.seen: list[tuple[int, Tensor]] = []
        for number, net in enumerate(nets):
            net.register_forward_hook(lambda module, *_, number=number: self.look(module, number))

    def look(self, net: nn.Module, number: int) -> None:
        noise = list(noisy_layers(net).values())[-1].noise
        assert noise is not None
        self.seen.append((number, noise[0].clone()))


def test_online_target_and_selection_noise_are_three_draws() -> None:
    agent = small_dqn(double=True)
    witness = Witness(agent.online, agent.target)
    agent.temporal_differences(transitions(), CLOCK)
    agent.act(torch.zeros(1, SIZE), CLOCK)
    assert [number for number, _ in witness.seen] == [1, 0, 0, 0]
    for first in range(4):
        for second in range(first):
            assert not torch.equal(witness.seen[first][1], witness.seen[second][1])


def test_noises_of_the_three_networks_are_uncorrelated() -> None:
    agent = small_dqn(double=True, hidden=[64])
    witness = Witness(agent.online, agent.target)
    with torch.no_grad():
        for updates in range(40):
            agent.temporal_differences(transitions(2), Clock(0, updates, updates))
    draws = torch.stack([noise for _, noise in witness.seen]).view(40, 3, -1).transpose(0, 1).flatten(1)
    correlations = torch.corrcoef(draws)
    assert (correlations - torch.eye(3)).abs().max() < 4.5 / draws.shape[1] ** 0.5


def test_noise_is_the_same_across_a_batch() -> None:
    agent = small_dqn()
    same = transitions(2)
    copies = type(same)(*(part[:1].expand(16, *part.shape[1:]) for part in same))
    errors, values = agent.temporal_differences(copies, CLOCK)
    assert float(errors.detach().std()) < 1e-6
    assert float(values.detach().std()) < 1e-6


def test_noise_of_the_rollout_is_that_of_its_update() -> None:
    agent, batch = small_actor_critic(), rollout()
    witness = Witness(agent.net)
    for step in range(4):
        agent.act(batch["observations"][step], batch["clock"]._replace(actions=step))
    agent.losses(batch)
    agent.act(batch["observations"][0], batch["clock"]._replace(updates=1))
    *during, after = [noise for _, noise in witness.seen]
    assert all(torch.equal(noise, during[0]) for noise in during)
    assert not torch.equal(after, during[0])


@pytest.mark.parametrize("resample", ["action", "update", "episode"])
def test_acting_noise_changes_with_its_counter_alone(resample: Any) -> None:
    agent = small_dqn(resample=resample)
    witness = Witness(agent.online)
    for clock in (CLOCK, *(CLOCK._replace(**{f"{name}s": 99}) for name in ("action", "update", "episode"))):
        agent.act(torch.zeros(1, SIZE), clock)
        agent.temporal_differences(transitions(2), CLOCK)
    first, *others = [noise for _, noise in witness.seen[::2]]
    changed = [not torch.equal(noise, first) for noise in others]
    assert changed == [resample == name for name in ("action", "update", "episode")]


def test_environments_act_with_noise_of_their_own() -> None:
    agent = small_dqn()
    seen: list[Tensor] = []
    agent.online.register_forward_hook(lambda module, given, output: seen.append(output))
    agent.act(torch.ones(5, SIZE), CLOCK)
    assert seen[0].unique(dim=0).shape[0] == 5


def test_greedy_actions_are_those_of_the_means() -> None:
    agent, observations = small_dqn(eval_epsilon=0.0), torch.randn(20, SIZE)
    found = agent.act(observations, CLOCK, greedy=True)
    with noise_off(agent.online), torch.no_grad():
        assert torch.equal(found, agent.online(observations).argmax(1))
    assert torch.equal(found, agent.act(observations, CLOCK._replace(seed=9), greedy=True))


def test_same_clock_gives_the_same_actions() -> None:
    for agent in (small_dqn(epsilon_start=0.5, epsilon_end=0.5), small_actor_critic()):
        observations = torch.randn(50, SIZE)
        first = agent.act(observations, CLOCK)
        agent.act(observations, CLOCK._replace(seed=1))
        assert torch.equal(agent.act(observations, CLOCK), first)


def test_epsilon_falls_and_is_the_share_of_chance() -> None:
    agent = small_dqn(noise="none", epsilon_start=1.0, epsilon_end=0.2, epsilon_steps=100)
    assert [agent.epsilon(Clock(0, actions)) for actions in (0, 50, 100, 500)] == pytest.approx(
        [1, 0.6, 0.2, 0.2]
    )
    count = 20_000
    observations = torch.zeros(count, SIZE)
    best = agent.act(observations, CLOCK, greedy=True)
    others = float((agent.act(observations, Clock(0, 100)) != best).float().mean())
    expected = 0.2 * (ACTIONS - 1) / ACTIONS
    assert abs(others - expected) < 5 * (expected * (1 - expected) / count) ** 0.5


def test_policy_actions_have_the_frequencies_of_the_policy() -> None:
    agent, count = small_actor_critic(), 20_000
    observations = torch.randn(1, SIZE).expand(count, SIZE)
    actions = agent.act(observations, CLOCK, greedy=True)
    with noise_off(agent.net), torch.no_grad():
        policy = agent.net(observations[:1])[0].softmax(1)[0]
    shares = torch.bincount(actions, minlength=ACTIONS) / count
    assert ((shares - policy).abs() < 5 * (policy * (1 - policy) / count).sqrt()).all()


def test_double_q_uses_the_action_of_the_online_network() -> None:
    agent, given = small_dqn(double=True, noise="none"), transitions()
    with torch.no_grad():
        for weight in agent.target.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
        errors, values = agent.temporal_differences(given, CLOCK)
        chosen = agent.online(given.next_observations).argmax(1)
        after = agent.target(given.next_observations)[torch.arange(8), chosen]
    assert torch.allclose(errors + values, given.rewards + given.discounts * after, atol=1e-6)


@pytest.mark.parametrize(
    ("torso", "observations"),
    [
        (VectorTorso(5), torch.zeros(2, 5, dtype=torch.float64)),
        (VectorTorso(5, hidden=[7, 3]), torch.zeros(2, 5, dtype=torch.float64)),
        (MinAtarTorso(6), torch.ones(2, 10, 10, 6, dtype=torch.bool)),
        (NatureTorso(3), torch.full((2, 3, 84, 84), 255, dtype=torch.uint8)),
    ],
)
def test_torsos_have_the_size_that_they_say(torso: Torso, observations: Tensor) -> None:
    assert torso.observation_shape == tuple(observations.shape[1:])
    assert torso(observations).shape == (2, torso.size)


def test_dueling_doubles_the_noisy_layers_of_their_sizes() -> None:
    shapes = [
        (layer.in_features, layer.out_features)
        for layer in noisy_layers(DQN(NatureTorso(), actions=6, dueling=True).online).values()
    ]
    assert sorted(shapes) == [(512, 1), (512, 6), (3136, 512), (3136, 512)]
    assert isinstance(small_dqn().online.advantages[0], NoisyLinear)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_every": 0}, "target_every must be at least 1"),
        ({"epsilon_start": 1.5}, r"epsilon_start must lie in \[0, 1\]"),
        ({"hidden": [0]}, "hidden must hold sizes of at least 1"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_dqn(**options)
