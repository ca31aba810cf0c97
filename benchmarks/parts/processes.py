"""Sides of a benchmark that have processes of their own, and take turns."""

import subprocess
from collections.abc import Sequence


class Side:
    """A process that prints a line when it is ready, and another one after each turn.

    Args:
        command: that starts it. What it prints are numbers; for each line that it is given it takes a turn.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ready = self.answer()
        self.turns: list[float] = []

    def answer(self) -> list[float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(map(str, self.process.args))} ended with {self.process.wait()}")
        return [float(number) for number in line.split()]

    def turn(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.turns += self.answer()

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
