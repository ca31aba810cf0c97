"""The trained parts of a Kanerva memory: its prior, its noise, and the network that makes addresses."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from graves_core.spec import Spec
from graves_memory.kanerva.addressing import project_address
from graves_memory.kanerva.matrix_normal import MatrixNormal
from graves_memory.kanerva.update import kl_write, predict, update_batch

Covariance = Literal["scalar", "diagonal", "full"]


class KanervaMemory(Spec, nn.Module):
    """The distribution that a memory has before an episode, and what is known of it after a write.

    The prior MN(R0, U0) and the variance of the noise are trained over all episodes; a memory itself is a
    value that belongs to an episode and is stored nowhere, so that nothing of one episode gets into the next.

    Args:
        rows: K.
        code_size: C, the size of a code.
        covariance: U0 as one trained variance ("scalar"), one of each row ("diagonal"), or with all
            correlations between rows ("full").
        noise: sigma^2, the variance of codes around what is read, at the start.
        train_noise: whether it is trained; False keeps it as it is.
        mean_scale: standard deviation of the numbers in R0 at the start.

    Raises:
        ValueError: when a number is out of its range or `covariance` is unknown.

    Source: Wu et al. 2018, "The Kanerva Machine".

    Example:
        >>> memory = KanervaMemory(rows=8, code_size=3)
        >>> written = memory.write(torch.randn(5, 4, 8), torch.randn(5, 4, 3))
        >>> memory.read(written, torch.randn(5, 2, 8))[0].shape
        torch.Size([5, 2, 3])
    """

    def __init__(
        self,
        rows: int = 32,
        code_size: int = 100,
        covariance: Covariance = "diagonal",
        noise: float = 1.0,
        train_noise: bool = True,
        mean_scale: float = 1.0,
    ) -> None:
        super().__init__()
        for name, value in {"rows": rows, "code_size": code_size}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if covariance not in ("scalar", "diagonal", "full"):
            raise ValueError(f"covariance must be 'scalar', 'diagonal' or 'full', not {covariance!r}")
        if not noise > 0:
            raise ValueError(f"noise must be above 0, not {noise}")
        if mean_scale < 0:
            raise ValueError(f"mean_scale must be at least 0, not {mean_scale}")
        self.rows = rows
        self.code_size = code_size
        self.mean = nn.Parameter(mean_scale * torch.randn(rows, code_size))
        self.log_variance = nn.Parameter(torch.zeros(1 if covariance == "scalar" else rows))
        self.mixing = nn.Parameter(torch.zeros(rows, rows)) if covariance == "full" else None
        log_noise = torch.tensor(math.log(noise))
        if train_noise:
            self.log_noise: Tensor = nn.Parameter(log_noise)
        else:
            self.register_buffer("log_noise", log_noise)

    @property
    def noise(self) -> Float[Tensor, ""]:
        """sigma^2."""
        return self.log_noise.exp()

    @property
    def prior(self) -> MatrixNormal:
        """The memory that every episode begins with; U0 = D (I + N)(I + N)^T D with N strictly lower."""
        deviation = (self.log_variance / 2).exp().expand(self.rows)
        if self.mixing is None:
            return MatrixNormal(self.mean, deviation.square().diag())
        unit = torch.eye(self.rows, dtype=self.mixing.dtype, device=self.mixing.device)
        factor = deviation.unsqueeze(-1) * (self.mixing.tril(-1) + unit)
        return MatrixNormal(self.mean, factor @ factor.mT)

    def write(
        self,
        addresses: Float[Tensor, "*batch items rows"],
        codes: Float[Tensor, "*batch items code"],
        memory: MatrixNormal | None = None,
    ) -> MatrixNormal:
        """The posterior after some items, exact and in one go.

        Args:
            addresses: a weight of every row for each item.
            codes: what is written there.
            memory: what was known before; the prior by default.
        """
        return update_batch(self.prior if memory is None else memory, addresses, codes, self.noise)

    def read(
        self, memory: MatrixNormal, addresses: Float[Tensor, "*batch items rows"]
    ) -> tuple[Float[Tensor, "*batch items code"], Float[Tensor, "*batch items 1"]]:
        """The mean of what is read, and its variance, that of the memory included.

        Args:
            memory: from `write`.
            addresses: a weight of every row for each item.
        """
        return predict(memory, addresses, self.noise)

    def kl_write(
        self, addresses: Float[Tensor, "*batch items rows"], codes: Float[Tensor, "*batch items code"]
    ) -> Float[Tensor, "*batch"]:
        """How much a write has told about the memory: KL(posterior || prior) in nats.

        Args:
            addresses: a weight of every row for each item.
            codes: what is written there.
        """
        return kl_write(self.prior, addresses, codes, self.noise)


class AddressNetwork(Spec, nn.Module):
    """From y, normal with mean zero and variance one, to weights over rows: w = A f(y).

    f is a perceptron with one hidden layer, and the rows of A, the hard locations, count with length one.

    Args:
        rows: K, how many rows the memory has.
        size: numbers in y.
        key_size: S, numbers in f(y) and in a row of A; `size` by default.
        hidden_size: hidden units of f.

    Raises:
        ValueError: when a number is less than 1.

    Source: Wu et al. 2018, "The Kanerva Machine".

    Example:
        >>> AddressNetwork(rows=8, size=4)(torch.randn(5, 2, 4)).shape
        torch.Size([5, 2, 8])
    """

    def __init__(
        self, rows: int = 32, size: int = 50, key_size: int | None = None, hidden_size: int = 128
    ) -> None:
        super().__init__()
        key_size = size if key_size is None else key_size
        sizes = {"rows": rows, "size": size, "key_size": key_size, "hidden_size": hidden_size}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        self.rows = rows
        self.size = size
        self.hidden = nn.Linear(size, hidden_size)
        self.key = nn.Linear(hidden_size, key_size)
        self.locations = nn.Parameter(torch.randn(rows, key_size))

    def forward(self, y: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch rows"]:
        """Weights over the rows.

        Args:
            y: addresses as the encoder knows them.
        """
        return project_address(
            self.key(functional.relu(self.hidden(y.to(self.locations.dtype)))), self.locations
        )
