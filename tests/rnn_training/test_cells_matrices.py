"""The whole matrices of sparse cells follow their weights, whatever changes these."""

import pytest
import torch

from graves_rnn_training.layers.cells.gru import GRUCell


@pytest.mark.parametrize("how", ["fused", "foreach", "neither"])
def test_matrix_follows_every_kind_of_optimizer(how: str) -> None:
    """Fused optimizers on the CPU do not raise the version of what they change."""
    cell = GRUCell(3, 6, sparsity=0.5)
    kind = {"fused": how == "fused", "foreach": how == "foreach"}
    optimizer = torch.optim.Adam(cell.parameters(), lr=0.1, **kind)
    before = cell.matrix("weight_hh").detach().clone()
    cell(torch.randn(2, 3), torch.randn(2, 6)).sum().backward()
    optimizer.step()
    after = cell.matrix("weight_hh")
    assert not torch.equal(before, after)
    assert torch.equal(after[cell.weight_hh_mask], cell.weight_hh)


def test_matrix_follows_an_assignment_of_data() -> None:
    """As when averaged weights are put in the place of the trained ones."""
    cell = GRUCell(3, 6, sparsity=0.5)
    cell.matrix("weight_hh")
    cell.weight_hh.data = torch.ones_like(cell.weight_hh)
    assert torch.equal(cell.matrix("weight_hh"), cell.weight_hh_mask.float())


def test_graphs_that_share_a_matrix_go_backward_one_by_one() -> None:
    cell = GRUCell(2, 4, sparsity=0.5)
    x, state = torch.randn(3, 2), torch.randn(3, 4)
    one, two = cell(x, state).sum(), cell(x, state).sum()
    one.backward()
    first = cell.weight_hh.grad.clone()
    two.backward()
    torch.testing.assert_close(cell.weight_hh.grad, 2 * first)


def test_transforms_of_torch_func_leave_no_matrix_behind() -> None:
    cell = GRUCell(2, 4, sparsity=0.5)
    x, state = torch.randn(2), torch.randn(4)
    by_state = torch.func.jacrev(lambda s: cell(x[None], s[None])[0])(state)
    assert by_state.shape == (4, 4)
    cell(x[None], state[None]).sum().backward()
    assert cell.weight_hh.grad.abs().sum() > 0


def test_a_graph_from_before_an_update_is_refused_as_torch_refuses_it() -> None:
    cell = GRUCell(2, 4, sparsity=0.5)
    state = cell(torch.randn(3, 2), torch.randn(3, 4, requires_grad=True))
    with torch.no_grad():
        cell.weight_hh.mul_(2)
    cell(torch.randn(3, 2), torch.randn(3, 4))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        state.sum().backward()
