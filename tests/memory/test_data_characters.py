"""Episodes of characters: what is shown, when, with which label, and how it is turned and stretched."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graves_memory.data.characters import CharacterEpisodes
from graves_memory.data.warping import affine_maps, warped


def numbered(counts, side=2):
    """Drawings whose first pixel is their own number, of characters with these numbers of drawings, mixed."""
    labels = torch.tensor([label for label, count in enumerate(counts) for _ in range(count)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]
    images = torch.zeros(len(labels), 1, side, side, dtype=torch.uint8)
    images[:, 0, -1, -1] = torch.arange(len(labels))
    return images, labels


def episodes(maker, characters, batch, seed=0):
    return maker.show(maker.plan(characters, batch, torch.Generator().manual_seed(seed)))


def plain(counts, shows, classes, turns=False):
    return CharacterEpisodes(*numbered(counts), shows, classes, turns, rotation=0, stretch=0)


@given(
    counts=st.lists(st.integers(1, 5), min_size=3, max_size=6),
    characters=st.integers(1, 3),
    shows=st.integers(1, 7),
    seed=st.integers(0, 2**40),
)
def test_each_step_is_what_a_slow_reader_says_that_it_is(counts, characters, shows, seed):
    batch = episodes(plain(counts, shows, 5), characters, 3, seed)
    _, truth = numbered(counts)
    for images, before, targets, sight, level in zip(*(batch[name] for name in batch), strict=True):
        drawings = images[:, 0, -1, -1].long().tolist()
        who = truth[drawings].tolist()
        assert int(level) == characters == len(set(who))
        assert before.tolist() == [-1, *targets.tolist()[:-1]]
        assert sight.tolist() == [who[:time].count(one) for time, one in enumerate(who)]
        assert all(who.count(one) == shows for one in who)
        assert len(set(zip(who, targets.tolist(), strict=True))) == len(set(targets.tolist())) == characters
        for one in set(who):
            uses = [drawings.count(drawing) for drawing in (truth == one).nonzero()[:, 0].tolist()]
            assert max(uses) - min(uses) <= 1


def test_characters_labels_and_orders_are_uniform():
    count = 2000
    batch = episodes(plain([1] * 4, 2, 5), 2, count)
    first = batch["images"][:, 0, 0, -1, -1].long()
    labels = numbered([1] * 4)[1][first]
    for drawn, choices in ((labels, 4), (batch["targets"][:, 0], 5)):
        deviation = (count / choices * (1 - 1 / choices)) ** 0.5
        assert (drawn.bincount(minlength=choices) - count / choices).abs().max() <= 4.5 * deviation
    together = (batch["sight"][:, 1] == 1).sum()
    assert abs(together - count / 3) <= 4.5 * (count * 2 / 9) ** 0.5


def test_quarter_turns_are_characters_of_their_own():
    images = torch.arange(18, dtype=torch.uint8).view(2, 1, 3, 3)
    maker = CharacterEpisodes(images, torch.tensor([0, 1]), 2, 8, True, rotation=0, stretch=0)
    assert len(maker) == 8
    batch = episodes(maker, 8, 3)
    known = {
        tuple(image.rot90(turn, (1, 2)).flatten().tolist()): 4 * number + turn
        for number, image in enumerate(images)
        for turn in range(4)
    }
    for shown, targets in zip(batch["images"], batch["targets"], strict=True):
        who = [known[tuple(image.flatten().tolist())] for image in shown]
        assert len(set(zip(who, targets.tolist(), strict=True))) == len(set(who)) == 8


def test_a_character_is_turned_and_stretched_alike_in_an_episode_and_not_in_another():
    image = torch.randint(0, 256, (1, 1, 9, 9), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    maker = CharacterEpisodes(image, torch.tensor([0]), 3, 2, False, rotation=20, stretch=0.3)
    shown = episodes(maker, 1, 4)["images"].flatten(2)
    assert (shown == shown[:, :1]).all()
    assert len({tuple(row.tolist()) for row in shown[:, 0]}) == 4


def test_ink_that_comes_from_outside_is_paper():
    image = torch.full((1, 1, 8, 8), 255, dtype=torch.uint8)
    image[0, 0, 3:5, 3:5] = 7
    maker = CharacterEpisodes(image, torch.tensor([0]), 2, 3, True, rotation=45, stretch=0.5)
    shown = episodes(maker, 3, 50)["images"]
    assert (shown[..., [0, -1], :] == 255).all()
    assert shown.min() < 100


def test_maps_stay_within_the_rotation_and_the_stretch():
    maker = CharacterEpisodes(*numbered([1] * 3), 1, 5, False, rotation=30, stretch=0.25)
    maps = maker.plan(3, 500, torch.Generator().manual_seed(0))["maps"].flatten(0, 1)
    widths, heights = 1 / maps[:, :, :2].norm(dim=2).T
    degrees = torch.rad2deg(torch.atan2(maps[:, 1, 0], maps[:, 1, 1]))
    for factors in (widths, heights):
        assert 1 / 1.25 - 1e-6 <= factors.min() < 0.83
        assert 1.22 < factors.max() <= 1.25 + 1e-6
    assert -30.001 <= degrees.min() < -28
    assert 28 < degrees.max() <= 30.001
    assert abs(degrees.mean()) <= 4.5 * 30 / 3**0.5 / len(degrees) ** 0.5


def looked_up(drawing, angle, width, height, paper):
    """Bilinear interpolation of one drawing, point by point, from the middle of each pixel."""
    side = len(drawing)
    result = np.empty((side, side))
    for row in range(side):
        for column in range(side):
            x, y = ((place + 0.5) / side * 2 - 1 for place in (column, row))
            across = (x * np.cos(angle) - y * np.sin(angle)) / width
            down = (x * np.sin(angle) + y * np.cos(angle)) / height
            c, r = (((place + 1) / 2 * side - 0.5) for place in (across, down))
            value = 0.0
            for i in (int(np.floor(r)), int(np.floor(r)) + 1):
                for j in (int(np.floor(c)), int(np.floor(c)) + 1):
                    inside = 0 <= i < side and 0 <= j < side
                    share = (1 - abs(r - i)) * (1 - abs(c - j))
                    value += share * (float(drawing[i, j]) if inside else paper)
            result[row, column] = value
    return result


@pytest.mark.parametrize("paper", [0, 255])
def test_warping_is_bilinear_interpolation(paper):
    draw = torch.Generator().manual_seed(2)
    drawings = torch.randint(0, 256, (3, 2, 6, 6), generator=draw).to(torch.uint8)
    turns, degrees = torch.tensor([0, 1, 3]), torch.tensor([0.0, 17.0, -40.0])
    factors = torch.tensor([[1.5, 0.7], [1.0, 1.0], [0.8, 1.2]])
    got = warped(drawings, affine_maps(turns, degrees, factors), paper)
    for number in range(3):
        angle = float(turns[number]) * np.pi / 2 + np.deg2rad(float(degrees[number]))
        for channel in range(2):
            width, height = factors[number].tolist()
            expected = looked_up(drawings[number, channel].numpy(), angle, width, height, paper)
            assert np.abs(got[number, channel].numpy() - expected).max() <= 0.501


@given(side=st.integers(1, 9), turn=st.integers(0, 3), paper=st.integers(0, 255), seed=st.integers(0, 2**40))
def test_quarter_turns_of_squares_are_exact(side, turn, paper, seed):
    draw = torch.Generator().manual_seed(seed)
    drawing = torch.randint(0, 256, (1, 2, side, side), generator=draw).to(torch.uint8)
    maps = affine_maps(torch.tensor([turn]), torch.zeros(1), torch.ones(1, 2))
    assert torch.equal(warped(drawing, maps, paper), drawing.rot90(turn, (2, 3)))


def test_a_wider_drawing_is_wider():
    drawing = torch.zeros(1, 1, 12, 12, dtype=torch.uint8)
    drawing[..., 4:8, 4:8] = 200
    maps = affine_maps(torch.tensor([0]), torch.zeros(1), torch.tensor([[2.0, 1.0]]))
    columns, rows = (warped(drawing, maps, 0)[0, 0].max(axis).values.count_nonzero() for axis in (0, 1))
    assert (columns >= 8) & (rows == 4)
