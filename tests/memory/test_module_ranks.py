"""MemoryRNN on two ranks computes what it computes on one."""

import pytest
from memory_models import NETS, bits, classes, make

from graves_core.testing import assert_same_gradients_ddp


@pytest.mark.parametrize("name", NETS)
def test_two_ranks_compute_the_gradient_of_one_for_bits(name: str) -> None:
    data = bits(rows=6)
    data["mask"][::2, 2:] = False  # the first rank has fewer answers
    assert_same_gradients_ddp(lambda: make(name), data)


@pytest.mark.parametrize("name", NETS)
def test_two_ranks_compute_the_gradient_of_one_for_classes(name: str) -> None:
    data = classes(rows=6)
    data["targets"][::2] = -100  # the first rank has no answer at all
    assert_same_gradients_ddp(lambda: make(name, answers="classes"), data)
