"""Tables in memory: rows of columns that are grouped in fields."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from graves_core.data.base import BaseDataModule, Part
from graves_core.data.datasets import BatchedDataset
from graves_core.data.splits import holdout

Fields = dict[str, Shaped[Tensor, "rows _"]]


class TableSet(BatchedDataset):
    """Some rows of one table; several sets share it without a copy.

    Args:
        fields: all rows of each field, one row of columns per example.
        members: which rows belong to this set; None for all.

    Raises:
        ValueError: when there is no field, or the fields have different numbers of rows.

    Example:
        >>> table = {"age": torch.tensor([[30], [40], [50]]), "size": torch.rand(3, 2)}
        >>> TableSet(table, members=torch.tensor([0, 2])).__getitems__([1, 0])["age"]
        tensor([[50],
                [30]])
    """

    def __init__(self, fields: Fields, members: Int64[Tensor, "members"] | None = None) -> None:
        rows = {name: len(values) for name, values in fields.items()}
        if len(set(rows.values())) != 1:
            raise ValueError(f"fields must be at least one and have equally many rows, got {rows}")
        self.fields = fields
        self.members = torch.arange(max(rows.values())) if members is None else members

    def __len__(self) -> int:
        """Number of members."""
        return len(self.members)

    def __getitem__(self, index: int) -> dict[str, Shaped[Tensor, "_"]]:
        """The fields of one member."""
        member = self.members[index]
        return {name: values[member] for name, values in self.fields.items()}

    def __getitems__(self, indices: Sequence[int]) -> Fields:
        """The fields of several members."""
        members = self.members[torch.as_tensor(indices)]
        return {name: values[members] for name, values in self.fields.items()}


class TableDataModule(BaseDataModule):
    """A table that fits into memory: a subclass reads it, this splits and serves it.

    Batches are `{field: (B, columns)}`, as `spec.fields` says.

    Args:
        batch_size: rows per batch and device.
        num_workers: processes that load batches; 0 loads them in the training process.
        pin_memory: put batches into page-locked memory, from where they travel faster to a GPU.
        seed: of the split and of the order of training.
        val_fraction: share of the training part that is held back for validation, in [0, 1); 0 for none.

    Raises:
        ValueError: when an argument is out of its range.

    Example:
        >>> from graves_core import DataSpec, FieldSpec
        >>> class Dice(TableDataModule):
        ...     spec = DataSpec("table", fields={"eyes": FieldSpec("integer", ("first", "second"), 1, 6)})
        ...     def read(self, part):
        ...         return {"eyes": torch.randint(1, 7, (20, 2))}
        >>> dice = Dice(batch_size=9, num_workers=0, pin_memory=False, seed=0, val_fraction=0.1)
        >>> dice.setup()
        >>> [batch["eyes"].shape for batch in dice.train_dataloader()]
        [torch.Size([9, 2]), torch.Size([9, 2])]
    """

    def __init__(
        self, batch_size: int, num_workers: int, pin_memory: bool, seed: int, val_fraction: float
    ) -> None:
        super().__init__(batch_size, num_workers, pin_memory, seed, val_fraction)

    @abstractmethod
    def read(self, part: Part) -> Fields:
        """Reads all rows of a part.

        Raises:
            FileNotFoundError: when it isn't there.
            ValueError: naming the file, when it is damaged.
        """

    def read_train(self) -> tuple[TableSet, TableSet | None]:
        """Reads the training part and splits it at random, by `seed`."""
        whole = TableSet(self.read("train"))
        train, val = holdout(len(whole), self.val_fraction, self.seed)
        return TableSet(whole.fields, train), TableSet(whole.fields, val) if len(val) else None

    def read_test(self) -> TableSet:
        """Reads the test part."""
        return TableSet(self.read("test"))
