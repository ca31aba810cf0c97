"""The entries of temporal links, kept in flat tables that are changed in place and cleared row by row."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from graves_memory.equations.links import SMALLEST_DECAY

Places = Int64[Tensor, "chains some"]
Links = Int64[Tensor, "chains some links"]
Weights = Float[Tensor, "chains some links"]


class LinkTable:
    """For every place a few links to places that were written before it, and a few to those written after.

    A chain is a set of links with `rows + 1` places next to each other, the last of which stands for no row.
    On the CPU memory is taken only where places are used.

    A write fades all links to the row that is written, wherever they are kept. They are not looked for: every
    place has a number, the sum of the logarithms of what its writes have left, and an entry has a mark, which
    is what that number was when the entry was made.

    Args:
        rows: of the memory.
        chains: sets of links.
        links: entries of a place, in each direction.
        like: a tensor of the dtype and device to use.

    Example:
        >>> table = LinkTable(rows=5, chains=1, links=2, like=torch.zeros(()))
        >>> table.store_after(torch.tensor([[0]]), torch.tensor([[[3, 4]]]), torch.tensor([[[0.5, 0.25]]]))
        >>> table.fade(torch.tensor([[3]]), torch.tensor([[0.5]]))  # row 3 is written
        >>> table.after(torch.tensor([[0]]))
        (tensor([[[3, 4]]]), tensor([[[0.2500, 0.2500]]]))
    """

    def __init__(self, rows: int, chains: int, links: int, like: Float[Tensor, "*any"]) -> None:
        self.rows, self.chains, self.links = rows, chains, links
        self.places = chains * (rows + 1)
        self.dtype, self.device = like.dtype, like.device
        self._before = self.zeros(links, dtype=torch.int64)
        self._before_weights = self.zeros(links)
        self._after = self.zeros(links, dtype=torch.int64)
        self._after_weights = self.zeros(links)
        self._marks = self.zeros(links)
        self._fades = self.zeros()
        self._touched: list[Tensor] = []
        self._logged = 0

    def zeros(self, *entries: int, dtype: torch.dtype | None = None) -> Tensor:
        """A table of zeros with a row for each place, which takes memory only where something is written.

        Args:
            *entries: the shape of a row.
            dtype: if not that of the weights, an integer type.
        """
        shape, kind = (self.places, *entries), dtype or self.dtype
        with torch.inference_mode(False):
            if self.device.type != "cpu":
                return torch.zeros(shape, dtype=kind, device=self.device)
            return torch.from_numpy(np.zeros(shape, dtype=str(kind).removeprefix("torch.")))

    def serves(self, chains: int, like: Float[Tensor, "*any"]) -> bool:
        """Whether the table is large enough, of the right dtype and on the right device.

        Args:
            chains: that are needed.
            like: a tensor of the dtype and device to use.
        """
        return chains <= self.chains and (self.dtype, self.device) == (like.dtype, like.device)

    def before(self, at: Places) -> tuple[Links, Weights]:
        """The links of some places to those written before them, and their weights.

        Args:
            at: the places.
        """
        flat, shape = at.view(-1), (*at.shape, self.links)
        weights = self._before_weights.index_select(0, flat).view(shape)
        return self._before.index_select(0, flat).view(shape), weights

    def after(self, at: Places) -> tuple[Links, Weights]:
        """The links of some places to those written after them, and their weights as they are now.

        Args:
            at: the places.
        """
        flat, shape = at.view(-1), (*at.shape, self.links)
        to = self._after.index_select(0, flat)
        left = self._fades.take(to).sub_(self._marks.index_select(0, flat)).exp_()
        return to.view(shape), left.mul_(self._after_weights.index_select(0, flat)).view(shape)

    def store_before(self, at: Places, to: Links, weights: Weights) -> None:
        """Replaces links to places written before.

        Args:
            at: whose; if a place is named several times, so are its links.
            to: which places they lead to.
            weights: of the links.
        """
        flat = at.view(-1)
        self._before.index_copy_(0, flat, to.reshape(-1, self.links))
        self._before_weights.index_copy_(0, flat, weights.reshape(-1, self.links))
        self._log(flat)

    def store_after(self, at: Places, to: Links, weights: Weights) -> None:
        """Replaces links to places written after; arguments as in `store_before`."""
        flat, to = at.view(-1), to.reshape(-1, self.links)
        self._after.index_copy_(0, flat, to)
        self._after_weights.index_copy_(0, flat, weights.reshape(-1, self.links))
        self._marks.index_copy_(0, flat, self._fades.take(to))
        self._log(flat)

    def fade(self, at: Places, written: Float[Tensor, "chains some"]) -> None:
        """Takes a share from all links to places that were written after others.

        Args:
            at: the places, different where the share is positive.
            written: the share.
        """
        left = (1 - written).clamp_min_(SMALLEST_DECAY)
        self._fades.index_add_(0, at.view(-1), left.log_().view(-1))

    def clear(self) -> None:
        """Forgets all links, at a cost that grows with the rows that have some."""
        for weights in (self._before_weights, self._after_weights):
            if self._logged > self.places:
                weights.zero_()
            elif self._touched:
                weights.index_fill_(0, torch.cat(self._touched), 0)
        self._touched, self._logged = [], 0

    def forget(self, starts: Int64[Tensor, " sets"], done: Bool[Tensor, " sets"]) -> None:
        """Forgets the links of some chains.

        Args:
            starts: the first places of chains.
            done: which of them forget.
        """
        chosen = torch.zeros(self.chains, dtype=torch.bool, device=self.device)
        chosen[starts // (self.rows + 1)] = done
        for weights in (self._before_weights, self._after_weights):
            if self._logged > self.places:
                weights.view(self.chains, -1).masked_fill_(chosen[:, None], 0)
            elif self._touched:
                at = torch.cat(self._touched)
                kept = weights.index_select(0, at).masked_fill(chosen[at // (self.rows + 1), None], 0)
                weights.index_copy_(0, at, kept)

    def parts(self, starts: Int64[Tensor, " sets"], used: int) -> dict[str, Tensor]:
        """Everything about some chains, as tensors with a chain and a row as the first axes.

        Args:
            starts: the first places of chains.
            used: rows from this one on have no links.
        """
        chains = starts // (self.rows + 1)
        found = {name: table[chains, :used] for name, table in self._tables().items()}
        return found | {name: found[name] % (self.rows + 1) for name in ("before", "after")}

    def put(self, starts: Int64[Tensor, " sets"], parts: Mapping[str, Tensor]) -> None:
        """Replaces everything about some chains that have no links.

        Args:
            starts: the first places of chains.
            parts: what `parts` returned.
        """
        chains, used = starts // (self.rows + 1), parts["before"].shape[1]
        for name, table in self._tables().items():
            given = parts[name].to(table)
            table[chains, :used] = given + starts[:, None, None] if name in ("before", "after") else given
        self._log((starts[:, None] + torch.arange(used, device=self.device)).view(-1))

    def _tables(self) -> dict[str, Tensor]:
        tables = {
            "before": self._before,
            "before_weights": self._before_weights,
            "after": self._after,
            "after_weights": self._after_weights,
            "marks": self._marks,
            "fades": self._fades,
        }
        shape = self.chains, self.rows + 1
        return {name: table.view(*shape, *table.shape[1:]) for name, table in tables.items()}

    def _log(self, at: Tensor) -> None:
        """Notes places that have links, unless there are so many that clearing all is as cheap."""
        self._logged += len(at)
        if self._logged <= self.places:
            self._touched.append(at)
        else:
            self._touched = []
