"""The diabetes table that scikit-learn carries: mixed columns without a download."""

import torch

from graves_core.data.base import Part
from graves_core.data.fields import FieldSpec
from graves_core.data.spec import DataSpec
from graves_core.data.tables import Fields, TableDataModule

TEST = 88
FIELDS = {
    "measurements": FieldSpec(
        "real",
        ("bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"),
        low=(18.0, 62.0, 97.0, 41.6, 22.0, 2.0, 3.2581, 58.0),
        high=(42.2, 133.0, 301.0, 242.4, 99.0, 9.09, 6.107, 124.0),
    ),
    "age": FieldSpec("integer", ("age",), low=19, high=79),
    "sex": FieldSpec("class", ("sex",), classes=2),
    "progression": FieldSpec("integer", ("progression",), low=25, high=346),
}
"""Ranges are the smallest and largest values of the published table, all 442 patients."""


class DiabetesDataModule(TableDataModule):
    """442 patients with diabetes, eleven columns each: reals, whole numbers and a class.

    Batches are `{"measurements": float32 (B, 8), "age": int64 (B, 1), "sex": int64 (B, 1), "progression":
    int64 (B, 1)}` in the units of the published table: body mass index, average blood pressure and six blood
    values (s1 to s6: total cholesterol, LDL, HDL, their ratio, a logarithm of triglycerides, sugar); years;
    the table's sexes 1 and 2 as 0 and 1; and how far the disease had come one year later. The test part is
    the last 88 patients of a random order that does not depend on the seed. Needs
    `pip install "graves-core[digits]"`.

    Source: Efron, Hastie, Johnstone and Tibshirani 2004, "Least Angle Regression".

    Args:
        batch_size: patients per batch and device.
        num_workers: processes that load batches; 0 loads them in the training process.
        pin_memory: put batches into page-locked memory, from where they travel faster to a GPU.
        seed: of the split and of the order of training.
        val_fraction: share of the other 354 that is held back for validation, in [0, 1); 0 for none.

    Raises:
        ValueError: when an argument is out of its range.

    Example:
        >>> diabetes = DiabetesDataModule(batch_size=32)
        >>> diabetes.setup()
        >>> batch = next(iter(diabetes.test_dataloader()))
        >>> {name: tuple(values.shape) for name, values in batch.items()}
        {'measurements': (32, 8), 'age': (32, 1), 'sex': (32, 1), 'progression': (32, 1)}
    """

    def __init__(
        self,
        batch_size: int = 128,
        num_workers: int = 0,
        pin_memory: bool = False,
        seed: int = 0,
        val_fraction: float = 0.1,
    ) -> None:
        super().__init__(batch_size, num_workers, pin_memory, seed, val_fraction)

    @property
    def spec(self) -> DataSpec:
        """What one patient is: four fields, with the ranges of the published table."""
        return DataSpec("table", fields=FIELDS)

    def read(self, part: Part) -> Fields:
        """Takes the table from scikit-learn.

        Raises:
            ImportError: when scikit-learn is not installed.
        """
        try:
            from sklearn.datasets import load_diabetes
        except ImportError as error:
            raise ImportError('DiabetesDataModule needs: pip install "graves-core[digits]"') from error
        patients, progression = load_diabetes(return_X_y=True, scaled=False)
        order = torch.randperm(len(patients), generator=torch.Generator().manual_seed(0))
        rows = order[:-TEST] if part == "train" else order[-TEST:]
        values = torch.from_numpy(patients)[rows]
        return {
            "measurements": values[:, 2:].float(),
            "age": values[:, :1].long(),
            "sex": values[:, 1:2].long() - 1,
            "progression": torch.from_numpy(progression)[rows, None].long(),
        }
