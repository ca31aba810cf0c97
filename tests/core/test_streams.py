"""States of streams, gathered for a checkpoint and taken back out of it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from graves_core.streams import fitting_state, gathered_states, own_state, shapes

CPU = torch.device("cpu")


def state(rank: int = 0) -> dict[str, Any]:
    """A state whose sizes depend on the rank."""
    return {"hidden": torch.full((2, 3), float(rank)), "rows": [torch.arange(2 + rank), torch.tensor(rank)]}


def test_one_process_gets_back_what_it_gave() -> None:
    torch.testing.assert_close(own_state(gathered_states(state()), CPU), state(), rtol=0, atol=0)


def test_what_is_saved_does_not_change_with_the_state() -> None:
    given = state()
    saved = gathered_states(given)
    given["hidden"].add_(1)
    torch.testing.assert_close(saved, [state()], rtol=0, atol=0)


def test_no_state_is_saved_as_nothing() -> None:
    assert own_state(gathered_states(None), CPU) is None


def on_rank(rank: int, folder: str) -> None:
    """Gathers over two processes and keeps what rank 0 saves and what each takes back."""
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    saved = gathered_states(state(rank))
    torch.save(saved, Path(folder) / f"saved_{rank}.pt")
    torch.distributed.barrier()
    torch.save(own_state(torch.load(Path(folder) / "saved_0.pt"), CPU), Path(folder) / f"own_{rank}.pt")
    torch.distributed.destroy_process_group()


def test_every_rank_gets_back_its_own_whatever_the_sizes(tmp_path: Path) -> None:
    context = torch.multiprocessing.start_processes(
        on_rank, (str(tmp_path),), nprocs=2, start_method="fork", join=False
    )
    while not context.join():
        pass
    assert torch.load(tmp_path / "saved_1.pt") == []
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / f"own_{rank}.pt"), state(rank), rtol=0, atol=0)


def test_another_number_of_ranks_is_refused() -> None:
    with pytest.raises(ValueError, match="streams of 2 devices and cannot be resumed on 1"):
        own_state(gathered_states(state()) * 2, CPU)


def test_a_state_moves_to_where_the_model_is() -> None:
    like = {"hidden": torch.zeros(2, 3, dtype=torch.float64), "rows": [torch.zeros(2), torch.tensor(0)]}
    fitting = fitting_state(state(1) | {"rows": state(0)["rows"]}, like)
    torch.testing.assert_close(fitting["hidden"], torch.ones(2, 3, dtype=torch.float64))


@pytest.mark.parametrize(
    "like", [state(1), {"hidden": torch.zeros(2, 3)}, {"hidden": torch.zeros(2, 3), "rows": []}]
)
def test_a_state_of_another_model_is_refused(like: Any) -> None:
    with pytest.raises(ValueError, match=r"shapes \[\(2, 3\), \(2,\), \(\)\], but this model and batch need"):
        fitting_state(state(), like)


def test_shapes_are_listed_in_order() -> None:
    assert shapes(state()) == [(2, 3), (2,), ()]
