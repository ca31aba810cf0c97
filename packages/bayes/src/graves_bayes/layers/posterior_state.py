"""Posteriors in checkpoints."""

from collections.abc import Mapping, Sequence
from typing import Any

from graves_bayes.layers.posterior import WeightPosterior


def posterior_state(posterior: WeightPosterior) -> dict[str, Any]:
    """Scales, prior and mask of a posterior, for a checkpoint; its means are the network's.

    Args:
        posterior: the posterior.
    """
    mask = [] if posterior.mask is None else [part.bool().clone() for part in posterior.mask]
    return {"values": {key: value.clone() for key, value in posterior.state_dict().items()}, "mask": mask}


def load_posterior_state(posterior: WeightPosterior, names: Sequence[str], state: Mapping[str, Any]) -> None:
    """Takes over scales, prior and mask.

    Args:
        posterior: the posterior.
        names: of the parameters that the state is of.
        state: of `posterior_state`.

    Raises:
        ValueError: when the posterior is over other parameters.
    """
    if list(names) != posterior.names:
        raise ValueError(f"the checkpoint's posterior is over {list(names)}, this one over {posterior.names}")
    posterior.load_state_dict(state["values"])
    posterior.set_mask(dict(zip(names, state["mask"], strict=True)) if state["mask"] else None)
