"""Tables of mixed columns, and the one that scikit-learn carries."""

import sys

import numpy as np
import pytest
import torch

from graves_core import DataSpec, DiabetesDataModule, FieldSpec
from graves_core.data import TableDataModule, TableSet

datasets = pytest.importorskip("sklearn.datasets")
NAMES = ["measurements", "age", "sex", "progression"]


def published():
    """Rows of the table in the order of our fields: eight measurements, age, sex, progression."""
    patients, progression = datasets.load_diabetes(return_X_y=True, scaled=False)
    return np.column_stack([patients[:, 2:], patients[:, :2], progression])


def rows(*sets):
    parts = [torch.cat([part.fields[name][part.members].double() for name in NAMES], 1) for part in sets]
    return torch.cat(parts).numpy()


def diabetes(**arguments):
    data = DiabetesDataModule(**arguments)
    data.setup()
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    return [loader.dataset for loader in loaders if loader]


def by_row(table):
    return table[np.lexsort(table.T)]


def test_parts_together_are_the_published_table_in_its_units():
    expected = published()
    expected[:, 9] -= 1
    assert np.allclose(by_row(rows(*diabetes())), by_row(expected), rtol=1e-7, atol=0)


def test_columns_of_a_field_are_named_as_in_the_published_table():
    names = datasets.load_diabetes(scaled=False).feature_names
    fields = DiabetesDataModule().spec.fields
    assert list(fields["measurements"].names) == names[2:]
    assert [fields["age"].names, fields["sex"].names] == [("age",), ("sex",)]


def test_ranges_are_those_of_all_patients():
    low, high = published().min(0), published().max(0)
    low[9], high[9] = 0, 1
    ranges = [pair for field in DiabetesDataModule().spec.fields.values() for pair in field.ranges]
    assert ranges == list(zip(low.tolist(), high.tolist(), strict=True))


def test_a_fifth_is_for_testing_and_a_tenth_of_the_rest_for_validation():
    assert [len(part) for part in diabetes()] == [319, 35, 88]


def test_test_part_does_not_depend_on_the_seed_and_validation_does():
    (_, val, test), (_, other_val, other_test) = diabetes(seed=1), diabetes(seed=2)
    assert np.array_equal(rows(test), rows(other_test))
    assert not np.array_equal(rows(val), rows(other_val))


def test_test_part_is_a_random_sample_of_the_table():
    """Means differ by less than 4 standard errors of drawing without putting back."""
    table, part = by_row(published()), rows(diabetes()[2])
    part[:, 9] += 1
    error = table.std(0) * np.sqrt((1 / 88) * (1 - 88 / 442))
    assert (np.abs(part.mean(0) - table.mean(0)) < 4 * error).all()


def test_missing_scikit_learn_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"graves-core\[digits\]"):
        DiabetesDataModule().setup()


def test_set_hands_out_the_rows_of_its_members_in_the_order_asked_for():
    table = {"a": torch.arange(5)[:, None], "b": torch.arange(10.0).view(5, 2)}
    part = TableSet(table, members=torch.tensor([4, 1, 0]))
    assert len(part) == 3
    assert {name: values.tolist() for name, values in part[1].items()} == {"a": [1], "b": [2.0, 3.0]}
    batch = part.__getitems__([2, 0])
    assert {name: values.tolist() for name, values in batch.items()} == {
        "a": [[0], [4]],
        "b": [[0.0, 1.0], [8.0, 9.0]],
    }


@pytest.mark.parametrize("fields", [{}, {"a": torch.zeros(3, 1), "b": torch.zeros(4, 1)}])
def test_set_of_unequal_fields_is_refused(fields):
    with pytest.raises(ValueError, match="fields must be at least one and have equally many rows"):
        TableSet(fields)


def test_own_table_is_split_and_served():
    class Squares(TableDataModule):
        spec = DataSpec("table", fields={"root": FieldSpec("integer", ("root",), 0, 99)})

        def read(self, part):
            return {"root": torch.arange(100)[:, None]}

    data = Squares(batch_size=10, num_workers=0, pin_memory=False, seed=0, val_fraction=0.2)
    data.setup()
    seen = [batch["root"] for loader in (data.train_dataloader(), data.val_dataloader()) for batch in loader]
    assert [len(batch) for batch in seen] == [10] * 10
    assert torch.cat(seen).flatten().sort().values.tolist() == list(range(100))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("text", ("a",)), "kind must be 'real', 'integer' or 'class', got 'text'"),
        (("class", (), None, None, 2), "names must be at least one, all different, got"),
        (("class", ("a", "a"), None, None, 2), "names must be at least one, all different, got"),
        (("class", ("a",)), "classes of kind 'class' must be a whole number >= 2, got None"),
        (("class", ("a",), None, None, 1), "classes of kind 'class' must be a whole number >= 2, got 1"),
        (("class", ("a",), 0, None, 2), "low of kind 'class' must be None, got 0"),
        (("real", ("a",), 0, 1), "low of kind 'real' must be a tuple of 1 numbers, got 0"),
        (("real", ("a",), (0.0,), (1.0, 2.0)), "high of kind 'real' must be a tuple of 1 numbers, got"),
        (("real", ("a", "b"), (0.0, 2.0), (1.0, 2.0)), "low must be less than high, got 2.0 and 2.0 for 'b'"),
        (("integer", ("a",), (0,), 1), "low of kind 'integer' must be a whole number, got"),
        (("integer", ("a",), 3, 1), "low must be less than high, got 3 and 1 for 'a'"),
    ],
)
def test_field_that_contradicts_itself_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        FieldSpec(*arguments)


def test_specs_of_tables_are_equal_only_with_equal_fields():
    one, other = (DataSpec("table", fields={"a": FieldSpec("class", ("a",), classes=n)}) for n in (2, 3))
    assert one == DataSpec("table", fields=dict(one.fields))
    assert one != other
    assert len({one, other}) == 2
