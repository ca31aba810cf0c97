"""bAbI: questions about stories, twenty tasks at once."""

from collections.abc import Container, Sequence
from pathlib import Path

import torch

from graves_core.data import BaseDataModule, DataSpec
from graves_core.data.checks import check_at_least
from graves_core.data.datasets import BatchedDataset
from graves_core.data.files import data_root
from graves_core.data.splits import holdout
from graves_memory.data.padding import Batch
from graves_memory.data.stories import ANSWER, Story, read_stories

TASKS = tuple(range(1, 21))
FOLDERS = ("", "en-10k", "tasks_1-20_v1-2/en-10k")
PADDING = "<padding>"
NO_TARGET = -100


class StorySet(BatchedDataset):
    """Stories as numbers of words, filled up to the longest of a batch.

    Args:
        stories: the stories.
        vocabulary: all words; the first one is what fills up.

    Raises:
        ValueError: naming the word and the story, when a word is not in the vocabulary.

    Example:
        >>> story = Story(task=7, words=("what", "?", "-"), answers=((2, "that"),), place="here")
        >>> batch = StorySet([story], ["<padding>", "-", "?", "that", "what"])[0]
        >>> batch["tokens"].tolist(), batch["targets"].tolist(), int(batch["task"])
        ([4, 2, 1], [-100, -100, 3], 7)
    """

    def __init__(self, stories: Sequence[Story], vocabulary: Sequence[str]) -> None:
        number = {word: place for place, word in enumerate(vocabulary)}
        for story in stories:
            _check_words(story, number)
        lengths = [len(story.words) for story in stories]
        self.lengths = torch.tensor(lengths)
        self.starts = self.lengths.cumsum(0) - self.lengths
        self.tasks = torch.tensor([story.task for story in stories])
        # all stories in a row, because a set has some ten thousand
        self.tokens = torch.tensor([number[word] for story in stories for word in story.words])
        self.targets = torch.full_like(self.tokens, NO_TARGET)
        for start, story in zip(self.starts.tolist(), stories, strict=True):
            for place, word in story.answers:
                self.targets[start + place] = number[word]

    def __len__(self) -> int:
        """Number of stories."""
        return len(self.lengths)

    def __getitem__(self, index: int) -> Batch:
        """One story."""
        return {name: rows[0] for name, rows in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Several stories; shorter ones are filled up at the end."""
        stories = torch.as_tensor(indices)
        lengths = self.lengths[stories]
        steps = torch.arange(int(lengths.max()))
        beyond = steps >= lengths[:, None]
        places = (self.starts[stories, None] + steps).masked_fill_(beyond, 0)
        targets = self.targets[places].masked_fill_(beyond, NO_TARGET)
        return {
            "tokens": self.tokens[places].masked_fill_(beyond, 0),
            "targets": targets,
            "mask": targets != NO_TARGET,
            "lengths": lengths,
            "task": self.tasks[stories],
        }


class BAbIDataModule(BaseDataModule):
    """The stories of bAbI, all tasks in one set, with every question of a story in one sequence.

    A batch is `{"tokens": int64 (B, T), "targets": int64 (B, T), "mask": bool (B, T), "lengths": int64 (B,),
    "task": int64 (B,)}`: numbers of words, 0 after the end of a story; the words of answers at the places
    where `"-"` stands after a question, -100 elsewhere; where these places are; the lengths of the stories;
    and the numbers of their tasks. `vocabulary[i]` is word `i`, for tokens and targets alike.

    The files are those of the original `tasks_1-20_v1-2.tar.gz`, such as
    `qa1_single-supporting-fact_train.txt` and `qa1_single-supporting-fact_test.txt`; nothing is downloaded.
    Words are those of the training files, validation included. Punctuation marks are words; capital letters
    are made small.

    Args:
        path: folder of the files, or of the archive's content: a path, or its name in the folder of data sets
            (the environment variable GRAVES_DATA, else the user's cache).
        tasks: the numbers of the tasks.
        max_words: training stories that are longer are left out; None for none.
        batch_size: stories per batch and device.
        num_workers: processes that load batches; 0 loads them in the training process.
        pin_memory: put batches into page-locked memory, from where they travel faster to a GPU.
        seed: of the split and of the order of training.
        val_fraction: share of the training stories that is held back for validation, in [0, 1); 0 for none.

    Raises:
        TypeError: when a number has the wrong type.
        ValueError: when an argument is out of its range.

    Source: the form of the sequences is that of Graves et al. 2016.

    Example:
        >>> data = BAbIDataModule("stories", tasks=[1, 2], batch_size=2)
        >>> data.tasks
        [1, 2]
    """

    def __init__(
        self,
        path: str,
        tasks: Sequence[int] = TASKS,
        max_words: int | None = None,
        batch_size: int = 16,
        num_workers: int = 0,
        pin_memory: bool = False,
        seed: int = 0,
        val_fraction: float = 0.1,
    ) -> None:
        super().__init__(batch_size, num_workers, pin_memory, seed, val_fraction)
        self.path = Path(path).expanduser()
        self.tasks = sorted({check_at_least("tasks", task) for task in tasks})
        if not self.tasks or self.tasks[-1] > TASKS[-1]:
            raise ValueError(f"tasks must be numbers from 1 to {TASKS[-1]}, at least one, got {list(tasks)}")
        self.max_words = max_words if max_words is None else check_at_least("max_words", max_words)
        self._vocabulary: list[str] | None = None

    @property
    def vocabulary(self) -> list[str]:
        """The words, by number.

        Raises:
            RuntimeError: before `setup`.
        """
        if self._vocabulary is None:
            raise RuntimeError("call setup() before asking for the vocabulary: it is made of the files")
        return self._vocabulary

    @property
    def spec(self) -> DataSpec:
        """What the longest training story is; `levels` and `classes` count the words.

        Raises:
            RuntimeError: before `setup`.
        """
        words = len(self.vocabulary)
        return DataSpec("text", (self._longest,), levels=words, classes=words, padding=0)

    def read_train(self) -> tuple[StorySet, StorySet | None]:
        """Reads the training files, makes the vocabulary and splits by story.

        Raises:
            FileNotFoundError: when the files aren't there.
            ValueError: naming the file, the line and the reason, when a line isn't as it should be.
        """
        stories = self._training_stories()
        kept, held = holdout(len(stories), self.val_fraction, self.seed)
        train, val = ([stories[place] for place in places.tolist()] for places in (kept, held))
        return StorySet(train, self.vocabulary), StorySet(val, self.vocabulary) if val else None

    def read_test(self) -> StorySet:
        """Reads the test files.

        Raises:
            FileNotFoundError: when the files aren't there.
            ValueError: naming the file, the line and the reason, when a line isn't as it should be, or has
                words that the training files don't have.
        """
        if self._vocabulary is None:
            self._training_stories()
        return StorySet(self._stories("test"), self.vocabulary)

    def _training_stories(self) -> list[Story]:
        stories = self._stories("train")
        spoken = {word for story in stories for word in (*story.words, *(word for _, word in story.answers))}
        self._vocabulary = [PADDING, ANSWER, *sorted(spoken - {ANSWER})]
        most = self.max_words
        kept = [story for story in stories if most is None or len(story.words) <= most]
        if not kept:
            raise ValueError(f"max_words={most} leaves no story to train on")
        self._longest = max(len(story.words) for story in kept)
        return kept

    def _stories(self, part: str) -> list[Story]:
        return [story for task in self.tasks for story in read_stories(self._file(task, part), task)]

    def _file(self, task: int, part: str) -> Path:
        places = (root / folder for root in (self.path, data_root(None) / self.path) for folder in FOLDERS)
        file = next((file for place in places for file in place.glob(f"qa{task}_*_{part}.txt")), None)
        if file is None:
            raise FileNotFoundError(
                f"{self.path} holds no qa{task}_*_{part}.txt, nor do {' and '.join(FOLDERS[1:])} in it: path "
                "must be the folder into which tasks_1-20_v1-2.tar.gz was unpacked"
            )
        return file


def _check_words(story: Story, known: Container[str]) -> None:
    for word in (*story.words, *(word for _, word in story.answers)):
        if word not in known:
            raise ValueError(f"{story.place}: {word!r} is not a word of the training files")
