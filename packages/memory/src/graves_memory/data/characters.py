"""Episodes of one-shot learning: characters with labels that mean something in one episode only."""

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from graves_memory.data.padding import Batch
from graves_memory.data.warping import affine_maps, warped


class CharacterEpisodes:
    """Makes episodes out of drawings of characters, many at once.

    An episode takes characters at random, gives each a label at random, no two the same, and shows each
    `shows` times in random order, each time another drawing as long as there are some. All drawings of a
    character are turned and stretched alike in an episode.

    An episode is drawn first (`plan`), then its pictures are made (`show`), so that only the pictures of a
    rank's own episodes need be made.

    Args:
        images: all drawings.
        labels: the character of each.
        shows: how often a character is shown.
        classes: labels are the whole numbers from 0 to `classes - 1`.
        turns: whether a character turned by one, two or three quarter turns is a character of its own.
        rotation: characters are turned by at most so many degrees to either side.
        stretch: characters become wider or higher, or less so, by at most this share.

    Example:
        >>> squares, labels = torch.zeros(9, 1, 4, 4, dtype=torch.uint8), torch.arange(9) // 3
        >>> maker = CharacterEpisodes(squares, labels, 2, 5, turns=True, rotation=5, stretch=0.1)
        >>> len(maker)
        12
        >>> episodes = maker.show(maker.plan(3, batch=2, draw=torch.Generator().manual_seed(0)))
        >>> episodes["images"].shape, episodes["sight"][0].sum()
        (torch.Size([2, 6, 1, 4, 4]), tensor(3))
    """

    def __init__(
        self,
        images: UInt8[Tensor, "drawings channels height width"],
        labels: Int64[Tensor, "drawings"],
        shows: int,
        classes: int,
        turns: bool,
        rotation: float,
        stretch: float,
    ) -> None:
        self.images = images
        self.shows = shows
        self.classes = classes
        self.turns = 4 if turns else 1
        self.rotation = rotation
        self.stretch = stretch
        self.members = labels.argsort(stable=True)
        self.counts = torch.unique(labels, return_counts=True)[1]
        self.starts = self.counts.cumsum(0) - self.counts
        self.paper = int(images[:, :, 0].flatten().bincount().argmax())

    def __len__(self) -> int:
        """Number of characters."""
        return self.turns * len(self.counts)

    def plan(self, characters: int, batch: int, draw: torch.Generator) -> Batch:
        """Draws episodes.

        Args:
            characters: how many an episode has.
            batch: how many episodes there are.
            draw: where random numbers come from.

        Returns:
            For each episode its `drawings (batch, characters, shows)`, the `maps (batch, characters, 2, 3)`
            that turn and stretch them, the `labels (batch, characters)`, and the `order (batch, time)` in
            which the drawings are shown.
        """
        chosen = torch.rand(batch, len(self), generator=draw).argsort(1)[:, :characters]
        turns = chosen // len(self.counts)
        degrees = self.rotation * (2 * torch.rand(batch, characters, generator=draw) - 1)
        powers = 2 * torch.rand(batch, characters, 2, generator=draw) - 1
        return {
            "drawings": self._drawings(chosen % len(self.counts), draw),
            "maps": affine_maps(turns, degrees, (1 + self.stretch) ** powers),
            "labels": torch.rand(batch, self.classes, generator=draw).argsort(1)[:, :characters],
            "order": torch.rand(batch, characters * self.shows, generator=draw).argsort(1),
        }

    def show(self, plan: Batch) -> Batch:
        """Makes the pictures of episodes, and says what each step is.

        Args:
            plan: what `plan` returns, or some rows of it.

        Returns:
            `images`: `uint8 (batch, time, channels, height, width)`; `targets`: their labels, `int64 (batch,
            time)`; `labels_before`: those of the images before, -1 at the first step; `sight`: how often the
            character was shown before; `level`: `int64 (batch,)`, the number of characters.
        """
        order, labels = plan["order"], plan["labels"]
        row = torch.arange(len(order))[:, None]
        who = order // self.shows
        targets = labels.gather(1, who)
        return {
            "images": self._pictures(plan["drawings"], plan["maps"])[row, order],
            "labels_before": torch.nn.functional.pad(targets[:, :-1], (1, 0), value=-1),
            "targets": targets,
            "sight": self._sight(who),
            "level": torch.full((len(order),), labels.shape[1]),
        }

    def _drawings(
        self, characters: Int64[Tensor, "batch characters"], draw: torch.Generator
    ) -> Int64[Tensor, "batch characters shows"]:
        """Drawings of characters, in turn if there are fewer than `shows`."""
        most = int(self.counts.max())
        counts = self.counts[characters][..., None]
        ranks = torch.rand(*characters.shape, most, generator=draw)
        ranks = ranks.masked_fill_(torch.arange(most) >= counts, 2).argsort(-1)
        places = ranks.gather(-1, torch.arange(self.shows) % counts)
        return self.members[self.starts[characters][..., None] + places]

    def _pictures(
        self, drawings: Int64[Tensor, "batch characters shows"], maps: Float[Tensor, "batch characters 2 3"]
    ) -> UInt8[Tensor, "batch time channels height width"]:
        pictures = self.images[drawings]
        if self.turns > 1 or self.rotation > 0 or self.stretch > 0:
            # the drawings of a character as channels, because they share a map
            together = pictures.flatten(0, 1).flatten(1, 2)
            pictures = warped(together, maps.flatten(0, 1), self.paper).view(pictures.shape)
        return pictures.flatten(1, 2)

    def _sight(self, who: Int64[Tensor, "batch time"]) -> Int64[Tensor, "batch time"]:
        times = torch.arange(who.shape[1]).expand(who.shape)
        return torch.empty_like(who).scatter_(1, who.argsort(dim=1, stable=True), times % self.shows)
