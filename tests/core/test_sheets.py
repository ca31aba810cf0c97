"""Sheets of pictures: each stands where its row and column are, and is enlarged as far as asked."""

import pytest
import torch

from graves_core.sheets import GAP, OUTLINE, labelled_sheet


def picture(value, channels=1, side=4):
    return torch.full((channels, side, side), value, dtype=torch.uint8)


def places(sheet, value):
    """Rows and columns of the pixels that have the value in all colours."""
    return (sheet == value).all(0).nonzero()


def test_each_picture_stands_in_its_row_and_column():
    values = [[10, 20, 30], [40, 50, 60]]
    tint = torch.tensor([0, 0, 255], dtype=torch.uint8)[:, None, None]  # no letter has it
    cells = [[picture(value, channels=3) | tint for value in row] for row in values]
    sheet = labelled_sheet(cells, ["one", "two"], ["a", "b", "c"], cell=40)
    found = [[places(sheet, value | tint) for value in row] for row in values]
    for row in found:
        assert {len(pixels) for pixels in row} == {40 * 40}
        assert len({int(pixels[0, 0]) for pixels in row}) == 1
        lefts = [int(pixels[0, 1]) for pixels in row]
        assert lefts[1] - lefts[0] == lefts[2] - lefts[1] == 40 + GAP
    assert int(found[1][0][0, 0] - found[0][0][0, 0]) == 40 + GAP
    assert int(found[1][0][0, 1]) == int(found[0][0][0, 1])


@pytest.mark.parametrize(("cell", "columns", "side"), [(40, 1, 40), (43, 1, 40), (3, 1, 4), (4000, 30, 40)])
def test_pixels_are_enlarged_by_whole_numbers_as_far_as_there_is_room(cell, columns, side):
    sheet = labelled_sheet([[picture(77)] * columns], ["row"], [""] * columns, cell=cell)
    assert len(places(sheet, 77)) == columns * side**2


def test_names_take_room_only_where_there_are_some():
    named = labelled_sheet([[picture(1)]], ["row"], ["column"])
    bare = labelled_sheet([[picture(1)]], ["row"], [""])
    assert named.shape[1] > bare.shape[1]
    assert named.shape[2] == bare.shape[2]


def test_a_white_picture_has_an_outline():
    line = int(OUTLINE[1:3], 16)
    sheet = labelled_sheet([[picture(255)]], [""], [""], cell=8)
    assert len(places(sheet, line)) == 4 * 9


def test_colours_stay_what_they_are():
    red = torch.tensor([200, 3, 7], dtype=torch.uint8)[:, None, None].expand(3, 2, 2)
    sheet = labelled_sheet([[red]], [""], [""], cell=2)
    assert int((sheet == red[:, :1, :1]).all(0).sum()) == 4
