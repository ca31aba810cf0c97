"""The original text files of bAbI: stories with questions in between."""

import re
from dataclasses import dataclass
from pathlib import Path
from sys import intern

ANSWER = "-"
"""The word that a network reads where a word of an answer is due."""
_NUMBERED = re.compile(r"([1-9]\d*) (.*\S)")
_WORDS = re.compile(r"[^\s.,?!]+|[.,?!]")


@dataclass(frozen=True)
class Story:
    """One story as a network reads it.

    Args:
        task: number of the task.
        words: all sentences and questions, lower case, with punctuation marks as words of their own;
            after a question stands one `"-"` for each word of its answer.
        answers: the places of those and the words that are due there, in order.
        place: where the story begins: file and line.
    """

    task: int
    words: tuple[str, ...]
    answers: tuple[tuple[int, str], ...]
    place: str


def read_stories(path: Path, task: int) -> list[Story]:
    r"""Reads the stories of a file.

    A line is a number, which is 1 at the beginning of a story and then counts, and a sentence; or a question,
    the words of its answer with commas between them, and the numbers of the lines that tell it, with tabs
    between these three.

    Args:
        path: the file, in UTF-8.
        task: number of its task.

    Returns:
        The stories in order.

    Raises:
        FileNotFoundError: when it isn't there.
        ValueError: naming the file, the line and the reason, when something isn't as it should be.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "qa1_single-supporting-fact_train.txt"
        >>> _ = path.write_text("1 Mary went home.\n2 Where is Mary? \thome\t1\n")
        >>> [story] = read_stories(path, task=1)
        >>> " ".join(story.words), story.answers
        ('mary went home . where is mary ? -', ((8, 'home'),))
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text in UTF-8") from error
    stories: list[Story] = []
    reader = _Reader(path, task)
    for row, line in enumerate(lines, start=1):
        try:
            stories += reader.read(line, row)
        except ValueError as error:
            raise ValueError(f"{path}, line {row}: {error}; the line is {line!r}") from None
    stories += reader.finished()
    if not stories:
        raise ValueError(f"{path}: there is no story with a question in it")
    return stories


class _Reader:
    """Puts a story together, line by line."""

    def __init__(self, path: Path, task: int) -> None:
        self.path = path
        self.task = task
        self.begin(0)

    def begin(self, row: int) -> None:
        self.row = row
        self.lines = 0
        self.words: list[str] = []
        self.answers: list[tuple[int, str]] = []

    def finished(self) -> list[Story]:
        """The story so far, if it asks something."""
        if not self.answers:
            return []
        place = f"{self.path}, line {self.row}"
        return [Story(self.task, tuple(self.words), tuple(self.answers), place)]

    def read(self, line: str, row: int) -> list[Story]:
        """Adds a line; returns the story before if this one begins another."""
        match = _NUMBERED.fullmatch(line.rstrip())
        if match is None:
            raise ValueError("it must be a number, a space and a sentence")
        number, text = int(match[1]), match[2]
        before: list[Story] = []
        if number == 1:
            before = self.finished()
            self.begin(row)
        if number != self.lines + 1:
            raise ValueError(f"its number must be {f'{self.lines + 1} or ' if self.lines else ''}1")
        self.lines = number
        parts = text.split("\t")
        self.words += _words(parts[0])
        if len(parts) > 1:
            self.ask(parts)
        return before

    def ask(self, parts: list[str]) -> None:
        if len(parts) != 3:
            raise ValueError(
                f"a question has 2 tabs: question, answer, supporting lines; it has {len(parts) - 1}"
            )
        answer = [word.strip().lower() for word in parts[1].split(",")]
        if not all(answer) or any(len(word.split()) > 1 for word in answer):
            raise ValueError(f"an answer is words with commas between them, not {parts[1]!r}")
        facts = parts[2].split()
        if not facts or not all(fact.isdecimal() and 1 <= int(fact) < self.lines for fact in facts):
            raise ValueError(f"supporting lines are numbers of lines before, not {parts[2]!r}")
        self.answers += enumerate(answer, start=len(self.words))
        self.words += [ANSWER] * len(answer)


def _words(text: str) -> list[str]:
    words = _WORDS.findall(text.lower())
    if not words:
        raise ValueError("there are no words in it")
    if ANSWER in words:
        raise ValueError(f"{ANSWER!r} stands for an answer and cannot be a word")
    return [intern(word) for word in words]
