"""The published scores, and the numbers that follow from them."""

import statistics

import pytest

from graves_bayes import human_normalised, median_human_normalised, published_scores
from graves_bayes.returns.atari_scores import SCORES

MEDIANS = {
    "dqn": 83.3,
    "noisynet_dqn": 122.9,
    "dueling": 132.5,
    "noisynet_dueling": 172.3,
    "a3c": 79.7,
    "noisynet_a3c": 92.6,
}
MEANS = {"dqn": (790.7, 319.1), "noisynet_dqn": (728, 379.0), "dueling": (1507, 524.1)}


def test_table_has_57_games_of_eight_scores() -> None:
    assert len(SCORES) == 57
    assert {len(scores) for scores in SCORES.values()} == {8}


@pytest.mark.parametrize("agent", MEDIANS)
def test_medians_are_those_of_the_paper(agent: str) -> None:
    assert median_human_normalised(published_scores(agent)) == pytest.approx(MEDIANS[agent], abs=0.05)


@pytest.mark.parametrize("agent", MEANS)
def test_published_means_take_random_play_of_video_pinball_for_zero(agent: str) -> None:
    with_table = {game: human_normalised(game, score) for game, score in published_scores(agent).items()}
    assert statistics.mean(with_table.values()) == pytest.approx(MEANS[agent][0], abs=0.5)
    pinball = published_scores(agent)["video_pinball"]
    as_published = with_table | {"video_pinball": 100 * pinball / published_scores("human")["video_pinball"]}
    assert statistics.mean(as_published.values()) == pytest.approx(MEANS[agent][1], abs=0.5)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="game must be one of the 57"):
        human_normalised("Pong", 1.0)
    with pytest.raises(ValueError, match="agent must be one of random"):
        published_scores("rainbow")
    with pytest.raises(ValueError, match="at least one game"):
        median_human_normalised({})
