"""What networks read, made of batches."""

from typing import Any

import pytest
import torch

from graves_core import build
from graves_memory.layers.encoders import ImageStepEncoder, TokenEncoder


def steps(shape: tuple[int, ...] = (1, 6, 7)) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (2, 3, *shape), generator=draw, dtype=torch.uint8)
    return {"images": images, "labels_before": torch.tensor([[-1, 0, 3], [-1, 2, 2]])}


def test_tokens_become_ones_among_zeros() -> None:
    tokens = torch.tensor([[2, 0], [1, 1]], dtype=torch.uint8)
    encoded = TokenEncoder(3)({"tokens": tokens})
    assert encoded.tolist() == [[[0, 0, 1], [1, 0, 0]], [[0, 1, 0], [0, 1, 0]]]


def test_tokens_become_learned_vectors() -> None:
    encoder = TokenEncoder(3, embedding=5)
    encoded = encoder({"tokens": torch.tensor([[2, 0, 2]])})
    encoded.sum().backward()
    assert torch.equal(encoded[0], encoder.table[[2, 0, 2]])
    assert torch.equal(encoder.table.grad, torch.tensor([[1.0], [0.0], [2.0]]).expand(3, 5))


def test_pixels_stand_beside_the_label_before() -> None:
    batch = steps()
    encoded = ImageStepEncoder(1, 6, 7, num_classes=4)(batch)
    torch.testing.assert_close(encoded[..., :42], batch["images"].flatten(2) / 255)
    assert encoded[0, :, 42:].tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    assert encoded[1, :, 42:].tolist() == [[0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]]


@pytest.mark.parametrize("convolutions", [[], [4], [4, 8, 8, 8]])
def test_images_become_features_whatever_their_size(convolutions: list[int]) -> None:
    batch = steps((3, 6, 7))
    encoder = ImageStepEncoder(3, 6, 7, 4, features=10, convolutions=convolutions)
    encoded = encoder(batch)
    assert encoded.shape == (2, 3, encoder.size) == (2, 3, 14)
    alone = encoder({name: values[1:, 2:] for name, values in batch.items()})
    torch.testing.assert_close(alone, encoded[1:, 2:])


@pytest.mark.parametrize("encoder", [TokenEncoder(3, 2), ImageStepEncoder(1, 6, 7, 4, 5)])
def test_an_encoder_is_rebuilt_from_its_spec(encoder: Any) -> None:
    again = build(encoder.spec)
    again.load_state_dict(encoder.state_dict())
    assert again.spec == encoder.spec


def test_images_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"images must have the shape \(1, 6, 6\), not \(1, 6, 7\)"):
        ImageStepEncoder(1, 6, 6, 4)(steps())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TokenEncoder(0), "num_tokens must be at least 1, not 0"),
        (lambda: TokenEncoder(3, 0), "embedding must be at least 1 or None, not 0"),
        (lambda: ImageStepEncoder(1, 0, 6, 4), "height must be at least 1, not 0"),
        (lambda: ImageStepEncoder(1, 6, 6, 4, 0), "features must be at least 1, not 0"),
        (lambda: ImageStepEncoder(1, 6, 6, 4, 8, [4, 0]), "convolutions must be at least 1, not 0"),
    ],
)
def test_wrong_sizes_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
