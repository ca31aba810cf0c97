"""bAbI: files in the original format, what sequences they become, and what is refused, by file and line."""

import pytest
import torch

from graves_memory.data.babi import BAbIDataModule
from graves_memory.data.stories import read_stories

LOCATIONS = """1 Mary moved to the bathroom.
2 John went to the hallway.
3 Where is Mary? \tbathroom\t1
4 Daniel went back to the hallway.
5 Where is Daniel? \thallway\t4
1 Sandra travelled to the office.
2 Where is Sandra? \toffice\t1
"""
LISTS = """1 Mary took the milk there.
2 Mary grabbed the football.
3 What is Mary carrying? \tmilk,football\t1 2
1 John went to the office.
2 What is John carrying? \tnothing\t1
"""
TEST = """1 John moved to the office.
2 Where is John? \toffice\t1
"""


@pytest.fixture
def folder(tmp_path):
    files = tmp_path / "tasks_1-20_v1-2" / "en-10k"
    files.mkdir(parents=True)
    for name, text in (("qa1_single-supporting-fact", LOCATIONS), ("qa8_lists-sets", LISTS)):
        (files / f"{name}_train.txt").write_text(text)
        (files / f"{name}_test.txt").write_text(TEST)
    return tmp_path


def module(folder, **arguments):
    data = BAbIDataModule(str(folder), **({"tasks": [1, 8], "val_fraction": 0.0} | arguments))
    data.setup()
    return data


def spoken(data, batch):
    """A batch as text: what is read, and what is due where."""
    words = data.vocabulary
    result = []
    for tokens, targets, length in zip(
        batch["tokens"], batch["targets"], batch["lengths"].tolist(), strict=True
    ):
        read = [words[token] for token in tokens[:length].tolist()]
        assert tokens[length:].tolist() == [0] * (len(tokens) - length)
        assert targets[length:].tolist() == [-100] * (len(tokens) - length)
        result.append(
            (" ".join(read), {at: words[word] for at, word in enumerate(targets.tolist()) if word != -100})
        )
    return result


def test_sequences_are_stories_with_a_dash_for_each_word_of_an_answer(folder):
    data = module(folder)
    dataset = data.train_dataloader().dataset
    batch = dataset.__getitems__([0, 1, 2, 3])
    assert spoken(data, batch) == [
        (
            "mary moved to the bathroom . john went to the hallway . where is mary ? - "
            "daniel went back to the hallway . where is daniel ? -",
            {16: "bathroom", 28: "hallway"},
        ),
        ("sandra travelled to the office . where is sandra ? -", {10: "office"}),
        (
            "mary took the milk there . mary grabbed the football . what is mary carrying ? - -",
            {16: "milk", 17: "football"},
        ),
        ("john went to the office . what is john carrying ? -", {11: "nothing"}),
    ]
    assert torch.equal(batch["mask"], batch["targets"] >= 0)
    assert batch["task"].tolist() == [1, 1, 8, 8]
    assert {name: tensor.dtype for name, tensor in batch.items()} == {
        "tokens": torch.int64,
        "targets": torch.int64,
        "mask": torch.bool,
        "lengths": torch.int64,
        "task": torch.int64,
    }


def test_dashes_stand_where_answers_are_due_and_nowhere_else(folder):
    data = module(folder)
    for batch in data.test_dataloader():
        assert torch.equal(batch["tokens"] == data.vocabulary.index("-"), batch["mask"])


def test_vocabulary_is_all_words_of_training_sorted_after_the_padding_and_the_dash(folder):
    words = set((LOCATIONS + LISTS).lower().replace(".", " . ").replace("?", " ? ").replace(",", " ").split())
    words = {word for word in words if not word.isdigit()}
    assert module(folder).vocabulary == ["<padding>", "-", *sorted(words)]
    assert module(folder, val_fraction=0.5).vocabulary == module(folder).vocabulary


def test_files_are_found_in_their_own_folder_too(folder):
    inside = folder / "tasks_1-20_v1-2" / "en-10k"
    assert module(inside).vocabulary == module(inside.parent).vocabulary == module(folder).vocabulary


def test_files_are_found_by_the_name_of_their_folder_among_the_data_sets(folder, monkeypatch):
    monkeypatch.setenv("GRAVES_DATA", str(folder.parent))
    assert module(folder.name).vocabulary == module(folder).vocabulary


def test_validation_takes_whole_stories(folder):
    data = module(folder, val_fraction=0.5, batch_size=2)
    train, val = data.train_dataloader().dataset, data.val_dataloader().dataset
    whole = module(folder).train_dataloader().dataset
    assert (len(train), len(val)) == (2, 2)
    stories = [
        tuple(one["tokens"].tolist()) for dataset in (train, val) for one in map(dataset.__getitem__, (0, 1))
    ]
    assert sorted(stories) == sorted(tuple(whole[number]["tokens"].tolist()) for number in range(4))


def test_longer_training_stories_are_left_out_if_wanted(folder):
    data = module(folder, max_words=18)
    assert len(data.train_dataloader().dataset) == 3
    assert data.spec.shape == (18,)
    assert data.vocabulary == module(folder).vocabulary
    with pytest.raises(ValueError, match="max_words=3 leaves no story"):
        module(folder, max_words=3)


def test_spec_counts_the_words(folder):
    data = module(folder)
    words = len(data.vocabulary)
    assert (data.spec.levels, data.spec.classes, data.spec.padding, data.spec.shape) == (
        words,
        words,
        0,
        (29,),
    )
    assert len(module(folder, tasks=[1]).vocabulary) < words


def test_test_alone_has_the_vocabulary_of_training(folder):
    data = BAbIDataModule(str(folder), tasks=[1], batch_size=3)
    data.setup("test")
    [batch] = data.test_dataloader()
    assert spoken(data, batch) == [("john moved to the office . where is john ? -", {10: "office"})]


BAD = {
    "1 Mary went.\nMary ran.\n": (2, "it must be a number, a space and a sentence"),
    "1 Mary went.\n3 Mary ran.\n": (2, "its number must be 2 or 1"),
    "2 Mary went.\n": (1, "its number must be 1;"),
    "1 Mary went.\n\n2 Where?\thome\t1\n": (2, "it must be a number, a space and a sentence"),
    "1 Mary went.\n2 Where?\thome\n": (
        2,
        "a question has 2 tabs: question, answer, supporting lines; it has 1",
    ),
    "1 Mary went.\n2 Where?\thome\t1\t1\n": (2, "it has 3"),
    "1 Mary went.\n2 Where?\thome,\t1\n": (2, "an answer is words with commas between them, not 'home,'"),
    "1 Mary went.\n2 Where?\tat home\t1\n": (2, "an answer is words with commas between them, not 'at home'"),
    "1 Mary went.\n2 Where?\thome\tone\n": (2, "supporting lines are numbers of lines before, not 'one'"),
    "1 Mary went.\n2 Where?\thome\t2\n": (2, "supporting lines are numbers of lines before, not '2'"),
    "1 Mary - went.\n": (1, "'-' stands for an answer and cannot be a word"),
    "1 \thome\t1\n": (1, "there are no words in it"),
}


@pytest.mark.parametrize("text", BAD)
def test_malformed_lines_are_refused_by_file_line_and_reason(tmp_path, text):
    path = tmp_path / "qa1_single-supporting-fact_train.txt"
    path.write_text(text)
    line, reason = BAD[text]
    with pytest.raises(ValueError) as caught:
        read_stories(path, 1)
    assert f"{path}, line {line}: " in str(caught.value)
    assert reason in str(caught.value)
    assert repr(text.splitlines()[line - 1]) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"1 Mary went home.\n"])
def test_a_file_that_asks_nothing_is_refused(tmp_path, content):
    path = tmp_path / "qa1_x_train.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"qa1_x_train.txt: there is no story with a question in it"):
        read_stories(path, 1)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "qa1_x_train.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"qa1_x_train.txt: not a text in UTF-8"):
        read_stories(path, 1)


def test_windows_line_ends_make_no_difference(tmp_path):
    path = tmp_path / "qa1_x_train.txt"
    path.write_bytes(LOCATIONS.encode())
    unix = read_stories(path, 1)
    path.write_bytes(LOCATIONS.replace("\n", "\r\n").encode())
    assert read_stories(path, 1) == unix


def test_words_that_training_does_not_have_are_refused_by_story(folder):
    path = folder / "tasks_1-20_v1-2" / "en-10k" / "qa8_lists-sets_test.txt"
    path.write_text(TEST + "1 Zoe went to the office.\n2 Where is Zoe?\toffice\t1\n")
    data = BAbIDataModule(str(folder), tasks=[1, 8])
    with pytest.raises(
        ValueError, match=r"qa8_lists-sets_test.txt, line 3: 'zoe' is not a word of the training"
    ):
        data.setup("test")


def test_missing_files_are_named(folder):
    with pytest.raises(FileNotFoundError, match=r"holds no qa2_\*_train.txt"):
        module(folder, tasks=[2])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"tasks": []}, ValueError, "tasks must be numbers from 1 to 20, at least one, got"),
        ({"tasks": [21]}, ValueError, "tasks must be numbers from 1 to 20"),
        ({"tasks": [0]}, ValueError, "tasks must be at least 1, got 0"),
        ({"tasks": ["one"]}, TypeError, "tasks must be an integer, got 'one'"),
        ({"max_words": 0}, ValueError, "max_words must be at least 1, got 0"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"val_fraction": 1.0}, ValueError, r"val_fraction must lie in \[0, 1\), got 1.0"),
    ],
)
def test_arguments_are_checked_at_construction(arguments, error, message):
    with pytest.raises(error, match=message):
        BAbIDataModule("stories", **arguments)


def test_vocabulary_needs_setup():
    with pytest.raises(RuntimeError, match="call setup"):
        assert BAbIDataModule("stories").spec
