"""What several samplers achieve in several numbers of steps, as a table and as a chart."""

from dataclasses import dataclass

from jaxtyping import UInt8
from torch import Tensor

from graves_bfn.callbacks.charts import is_wide
from graves_bfn.flows.arrays import Data
from graves_core.plots import Curve, line_chart


@dataclass(frozen=True)
class Sweep:
    """Distances of samples from real data, by sampler and number of steps.

    Args:
        measure: what the distance is called.
        count: how many samples each value is of.
        floor: what real data score in the place of samples.
        values: the distances, by the sampler's name and the number of steps.
        shown: some of the samples.
    """

    measure: str
    count: int
    floor: float
    values: dict[tuple[str, int], float]
    shown: dict[tuple[str, int], Data]

    @property
    def samplers(self) -> list[str]:
        """The names of the samplers."""
        return list(dict.fromkeys(name for name, _ in self.values))

    @property
    def steps(self) -> list[int]:
        """The numbers of steps."""
        return sorted({n for _, n in self.values})

    def table(self) -> list[str]:
        """Lines of Markdown: a row per sampler, a column per number of steps."""
        rows = [
            ["steps", *map(str, self.steps)],
            ["---", *["---:"] * len(self.steps)],
            ["network calls", *(str(n + 1) for n in self.steps)],
            *([name, *(f"{self.values[name, n]:.4g}" for n in self.steps)] for name in self.samplers),
        ]
        lines = [f"| {' | '.join(row)} |" for row in rows]
        about = f"{self.title} of {self.count} samples; real data in their place: {self.floor:.4g}"
        return [about, "", *lines]

    def chart(self) -> UInt8[Tensor, "3 height width"]:
        """A curve per sampler over the number of network calls, and the floor."""
        calls = [n + 1 for n in self.steps]
        curves = {name: Curve(calls, [self.values[name, n] for n in self.steps]) for name in self.samplers}
        return line_chart(
            curves,
            "network calls",
            self.title,
            log_x=True,
            log_y=is_wide([self.floor, *self.values.values()]),
            levels={"real data": self.floor},
        )

    @property
    def title(self) -> str:
        """The name of the distance, as words."""
        return self.measure.replace("_", " ")
