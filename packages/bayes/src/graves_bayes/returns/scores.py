"""Scores of Atari games beside those of a human tester."""

import statistics

from graves_bayes.returns.atari_scores import AGENTS, SCORES


def human_normalised(game: str, score: float) -> float:
    """100 (score - random) / (human - random): 0 for random play, 100 for the human tester.

    Compare agents by the median over games. Means depend on single games, and above all on Video Pinball,
    where random play scores 16,257 and the tester only 1,411 points more, so that any agent has tens of
    thousands of percent. The means published for NoisyNet (319 for DQN, 379 with noise, and so on) come out
    if random play of that game is taken to score 0; with the table here they are 791 and 728.

    Args:
        game: in lower case with underscores, such as `"space_invaders"`.
        score: mean over episodes.

    Returns:
        Percent.

    Raises:
        ValueError: when there is no such game.

    Example:
        >>> human_normalised("pong", -20.7), round(human_normalised("pong", 21), 1)
        (0.0, 118.1)
    """
    random, human = _scores(game)[:2]
    return 100 * (score - random) / (human - random)


def published_scores(agent: str) -> dict[str, float]:
    """The scores of an agent in all games.

    Args:
        agent: one of `graves_bayes.returns.atari_scores.AGENTS`.

    Raises:
        ValueError: when there is no such agent.

    Example:
        >>> published_scores("noisynet_dqn")["breakout"]
        516
    """
    if agent not in AGENTS:
        raise ValueError(f"agent must be one of {', '.join(AGENTS)}, not {agent!r}")
    column = AGENTS.index(agent)
    return {game: scores[column] for game, scores in SCORES.items()}


def median_human_normalised(scores: dict[str, float]) -> float:
    """The median over games of the human-normalised score, in percent.

    Args:
        scores: of games by their names.

    Raises:
        ValueError: when a game is unknown, or there is none.

    Example:
        >>> round(median_human_normalised(published_scores("dqn")), 1)
        83.3
    """
    if not scores:
        raise ValueError("scores must hold at least one game, not none")
    return statistics.median(human_normalised(game, score) for game, score in scores.items())


def _scores(game: str) -> tuple[float, ...]:
    if game not in SCORES:
        raise ValueError(f"game must be one of the {len(SCORES)} games of the table, not {game!r}")
    return SCORES[game]
