"""Codecs for tables: units there and back, which specs they read, and what they refuse by name."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graves_bfn import ClassColumns, Codec, FieldsCodec, IntegerColumns, RealColumns, Tokens
from graves_core import DataSpec, DiabetesDataModule, FieldSpec, build

LOW, HIGH = [18.0, -3.0, 1e4], [42.2, -1.0, 3e4]
REALS = FieldSpec("real", ("bmi", "depth", "steps"), tuple(LOW), tuple(HIGH))
AGE = FieldSpec("integer", ("age",), 19, 79)
SEX = FieldSpec("class", ("sex",), classes=2)
PEOPLE = DataSpec("table", fields={"body": REALS, "age": AGE, "sex": SEX})
IMAGES = DataSpec("image", (1, 2, 2), levels=2)


def people() -> FieldsCodec:
    return FieldsCodec(
        {"body": RealColumns(LOW, HIGH), "age": IntegerColumns(19, 79), "sex": ClassColumns(2)}
    )


def only(name: str, field: FieldSpec) -> DataSpec:
    return DataSpec("table", fields={name: field})


def test_real_columns_are_mapped_linearly_each_from_its_own_range() -> None:
    shares = np.random.default_rng(0).uniform(-0.5, 1.5, (100, 3))
    values = np.array(LOW) + shares * (np.array(HIGH) - np.array(LOW))
    x = RealColumns(LOW, HIGH).encode(torch.from_numpy(values).float())
    assert np.allclose(x.numpy(), 2 * shares - 1, atol=1e-5)


def test_ends_of_the_ranges_become_the_ends_of_the_interval() -> None:
    x = RealColumns(LOW, HIGH).encode(torch.tensor([LOW, HIGH]))
    assert torch.allclose(x, torch.tensor([[-1.0], [1.0]]).expand(2, 3), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_real_columns_come_back_in_their_units_and_precision(dtype: torch.dtype) -> None:
    codec = RealColumns(LOW, HIGH)
    values = torch.tensor(LOW, dtype=dtype) + torch.rand(50, 3, dtype=dtype) * 20
    back = codec.decode(codec.encode(values))
    assert back.dtype == dtype
    assert torch.allclose(back, values, rtol=4 * torch.finfo(dtype).eps, atol=0)


def test_whole_numbers_become_the_centres_of_equal_bins() -> None:
    x = IntegerColumns(-2, 2).encode(torch.tensor([[-2, -1, 0, 1, 2]]))
    assert torch.allclose(x, torch.tensor([[-0.8, -0.4, 0.0, 0.4, 0.8]]), atol=1e-7)


@given(st.integers(-(10**12), 10**12), st.integers(2, 500))
def test_every_whole_number_of_the_range_comes_back(low: int, count: int) -> None:
    codec = IntegerColumns(low, low + count - 1)
    values = torch.arange(low, low + count)[:, None]
    assert codec.num_bins == count
    assert codec.decode(codec.encode(values)).equal(values)


def test_every_whole_number_of_the_widest_range_comes_back_from_anywhere_near_its_centre() -> None:
    codec = IntegerColumns(0, 2**20 - 1)
    values = torch.arange(2**20)[:, None]
    x = codec.encode(values)
    for shift in (-0.25, 0.0, 0.25):
        assert codec.decode(x + shift * 2**-19).equal(values)


def test_whole_numbers_out_of_the_range_become_its_ends() -> None:
    codec = IntegerColumns(20, 59)
    beyond, ends = torch.tensor([[-5, 19, 60, 10**9]]), torch.tensor([[20, 20, 59, 59]])
    assert codec.encode(beyond).equal(codec.encode(ends))


def test_values_beyond_the_interval_are_the_ends_of_the_range() -> None:
    assert IntegerColumns(20, 59).decode(torch.tensor([[-1.7, 1.0, 2.0]])).tolist() == [[20, 59, 59]]


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8])
def test_classes_stay_what_they_are(dtype: torch.dtype) -> None:
    x = ClassColumns(3).encode(torch.tensor([[2, 0, 1]], dtype=dtype))
    assert x.dtype == torch.int64
    assert ClassColumns(3).decode(x).tolist() == [[2, 0, 1]]


def test_patients_come_back_in_the_units_of_the_table() -> None:
    pytest.importorskip("sklearn")
    data = DiabetesDataModule(batch_size=88)
    data.setup("test")
    fields = data.spec.fields
    low, high = map(list, zip(*fields["measurements"].ranges, strict=True))
    codec = FieldsCodec(
        {
            "measurements": RealColumns(low, high),
            "age": IntegerColumns(19, 79),
            "sex": ClassColumns(2),
            "progression": IntegerColumns(25, 346),
        }
    )
    batch = next(iter(data.test_dataloader()))
    x = codec.encode(batch)
    assert {name: tuple(values.shape[1:]) for name, values in x.items()} == codec.data_shape(data.spec)
    for name in ("measurements", "age", "progression"):
        assert x[name].dtype == torch.float32
        assert x[name].abs().max() <= 1 + 1e-6
    back = codec.decode(x)
    assert back.keys() == batch.keys()
    for name, values in batch.items():
        assert back[name].dtype == values.dtype
        assert torch.allclose(back[name], values, rtol=1e-6)


def test_fields_have_the_shapes_of_their_columns() -> None:
    assert people().data_shape(PEOPLE) == {"body": (3,), "age": (1,), "sex": (1,)}


def test_wider_ranges_fit_too() -> None:
    codec = RealColumns([0.0, -9.0, 0.0], [99.0, 0.0, 1e5])
    assert codec.data_shape(only("body", REALS)) == (3,)
    assert IntegerColumns(0, 120).data_shape(only("age", AGE)) == (1,)


def test_draws_of_all_fields_come_from_the_generator() -> None:
    class Noisy(Codec):
        def __init__(self) -> None:
            pass

        def encode(self, batch: torch.Tensor, *, generator: torch.Generator | None = None) -> torch.Tensor:
            return batch + torch.rand(batch.shape, generator=generator)

        def data_shape(self, spec: DataSpec) -> tuple[int, ...]:
            return (1,)

    codec, batch = FieldsCodec({"a": Noisy(), "b": Noisy()}), {"a": torch.zeros(2, 1), "b": torch.zeros(2, 1)}
    one, other = (codec.encode(batch, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert one["a"].equal(other["a"])
    assert one["b"].equal(other["b"])


def test_masks_are_those_of_the_fields_that_have_one() -> None:
    codec = FieldsCodec({"name": Tokens("_ab", padding="_"), "sex": ClassColumns(2)})
    valid = codec.valid({"name": torch.tensor([[1, 0]]), "sex": torch.tensor([[1]])})
    assert valid is not None
    assert {name: mask.tolist() for name, mask in valid.items()} == {"name": [[True, False]]}


def test_without_masks_everything_is_valid() -> None:
    batch = {"body": torch.tensor([LOW]), "age": torch.tensor([[20]]), "sex": torch.tensor([[0]])}
    assert people().valid(batch) is None


def test_codec_is_rebuilt_from_its_spec() -> None:
    again = build(people().spec)
    assert again.spec == people().spec
    assert again.data_shape(PEOPLE) == people().data_shape(PEOPLE)


def test_codec_can_be_given_in_a_config_file() -> None:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--codec", type=Codec)
    parsed = parser.parse_object({"codec": people().spec}).codec
    assert build(parsed.as_dict()).spec == people().spec


def test_codec_that_makes_fields_inside_of_fields_is_refused() -> None:
    class Pair(Codec):
        def __init__(self) -> None:
            pass

        def encode(
            self, batch: torch.Tensor, *, generator: torch.Generator | None = None
        ) -> dict[str, torch.Tensor]:
            return {"left": batch, "right": batch}

        def data_shape(self, spec: DataSpec) -> dict[str, tuple[int, ...]]:
            return {"left": (1,), "right": (1,)}

    codec = FieldsCodec({"pair": Pair()})
    with pytest.raises(
        TypeError, match=r"codecs.'pair'. must make one tensor, but made fields .'left', 'right'"
    ):
        codec.encode({"pair": torch.zeros(1, 1)})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RealColumns([], []), r"low and high must have one number per column, not \[\] and \[\]"),
        (lambda: RealColumns([0.0], [1.0, 2.0]), "must have one number per column"),
        (lambda: RealColumns([0.0, 2.0], [1.0, 2.0]), "low must be less than high in every column"),
        (lambda: IntegerColumns(3, 3), "high must lie in low . 1..low . 1048575, not 3 for low=3"),
        (lambda: IntegerColumns(0, 2**20), "not 1048576 for low=0"),
        (lambda: ClassColumns(1), "num_classes must be at least 2, not 1"),
        (lambda: FieldsCodec({}), "codecs must hold at least one field, not none"),
        (lambda: FieldsCodec({"a.b": ClassColumns(2)}), "names without dots, not 'a.b'"),
        (lambda: FieldsCodec({"a": people()}), "codecs.'a'. must make one tensor"),
    ],
)
def test_wrong_arguments_are_refused_by_name(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("codec", "spec", "message"),
    [
        (people(), IMAGES, "FieldsCodec is made for table data, but the DataModule yields image"),
        (ClassColumns(2), IMAGES, "ClassColumns is made for table data, but the DataModule yields image"),
        (ClassColumns(2), PEOPLE, r"ClassColumns reads one field, not the table of \['body', 'age', 'sex'\]"),
        (
            people(),
            only("age", AGE),
            r"codecs for \['age', 'body', 'sex'\], but the DataModule's fields are \['age'\]",
        ),
        (FieldsCodec({"age": IntegerColumns(19, 79)}), PEOPLE, r"codecs for \['age'\], but the DataModule's"),
        (
            FieldsCodec({"age": ClassColumns(61)}),
            only("age", AGE),
            "class columns, but field 'age' is of kind int",
        ),
        (
            IntegerColumns(0, 1),
            only("sex", SEX),
            "made for integer columns, but field 'sex' is of kind class",
        ),
        (
            RealColumns(LOW, HIGH),
            only("age", AGE),
            "made for real columns, but field 'age' is of kind integer",
        ),
        (RealColumns([0.0], [1.0]), only("body", REALS), "ranges of 1 columns, but field 'body' has 3"),
        (
            RealColumns(LOW, [42.2, -2.0, 3e4]),
            only("body", REALS),
            "low=-3.0 and high=-2.0 for column 'depth', which goes from -3.0 to -1.0",
        ),
        (IntegerColumns(20, 79), only("age", AGE), "low=20 and high=79 for column 'age', which goes from 19"),
        (ClassColumns(3), only("sex", SEX), "num_classes=3, but field 'sex' has 2 classes"),
        (Tokens("ab"), PEOPLE, "Tokens is made for text data, but the DataModule yields table"),
    ],
)
def test_spec_that_does_not_fit_is_refused(codec: Codec, spec: DataSpec, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        codec.data_shape(spec)
