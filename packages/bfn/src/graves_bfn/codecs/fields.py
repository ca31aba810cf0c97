"""Data in named fields, such as tables, with a codec for each field."""

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from graves_bfn.codecs.base import Codec, check_kind
from graves_core.data.spec import DataSpec

T = TypeVar("T", Tensor, tuple[int, ...])


class FieldsCodec(Codec):
    """Batches and data that are dicts of fields, each field with a codec of its own: for `MixedFlow`.

    Args:
        codecs: the codec of each field, at least one; none of them for fields itself.

    Raises:
        ValueError: when there is none, a name holds a dot, or a codec is for fields.

    Example:
        >>> from graves_bfn import ClassColumns, IntegerColumns
        >>> people = FieldsCodec({"age": IntegerColumns(low=0, high=119), "sex": ClassColumns(num_classes=2)})
        >>> x = people.encode({"age": torch.tensor([[30]]), "sex": torch.tensor([[1]])})
        >>> x["age"].dtype, people.decode(x)
        (torch.float32, {'age': tensor([[30]]), 'sex': tensor([[1]])})
    """

    def __init__(self, codecs: dict[str, Codec]) -> None:
        if not codecs:
            raise ValueError("codecs must hold at least one field, not none")
        for name, codec in codecs.items():
            if not name or "." in name:
                raise ValueError(f"codecs must have names without dots, not {name!r}")
            if isinstance(codec, FieldsCodec):
                raise ValueError(f"codecs[{name!r}] must make one tensor, not a dict as FieldsCodec does")
        self.codecs = dict(codecs)

    def encode(
        self, batch: Mapping[str, Any], *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """The data of each field."""
        data = {name: codec.encode(batch[name], generator=generator) for name, codec in self.codecs.items()}
        return _singles(data)

    def decode(self, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each field in the DataModule's own units."""
        return _singles({name: codec.decode(x[name]) for name, codec in self.codecs.items()})

    def valid(self, batch: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """The masks of the fields that have one, or None when none has."""
        masks = {name: codec.valid(batch[name]) for name, codec in self.codecs.items()}
        return _singles({name: mask for name, mask in masks.items() if mask is not None}) or None

    def data_shape(self, spec: DataSpec) -> dict[str, tuple[int, ...]]:
        """That of each field; wants a table of just these fields, each one that its codec can read."""
        check_kind(self, spec, "table")
        if self.codecs.keys() != spec.fields.keys():
            raise ValueError(
                f"FieldsCodec was given codecs for {sorted(self.codecs)}, but the DataModule's fields are "
                f"{sorted(spec.fields)}"
            )
        tables = {name: DataSpec("table", fields={name: field}) for name, field in spec.fields.items()}
        return _singles({name: codec.data_shape(tables[name]) for name, codec in self.codecs.items()})


def _singles(fields: Mapping[str, T | dict[str, T]]) -> dict[str, T]:
    """What codecs made of their fields, when none of them made a dict.

    Raises:
        TypeError: naming the field, when one did.
    """
    singles = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            raise TypeError(f"codecs[{name!r}] must make one tensor, but made fields {list(value)}")
        singles[name] = value
    return singles
