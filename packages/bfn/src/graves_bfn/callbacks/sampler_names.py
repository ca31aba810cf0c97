"""Short names that tell samplers apart."""

from typing import Any

from graves_bfn.samplers.base import Sampler


def sampler_names(samplers: list[Sampler]) -> list[str]:
    """The class of each sampler, with those arguments in which it differs from others of its class.

    Args:
        samplers: at least one.

    Raises:
        ValueError: when there is none, or two are the same.

    Example:
        >>> from graves_bfn import MessageSampler, SDESolver
        >>> sampler_names([MessageSampler(), SDESolver(), SDESolver(temperature=0.9)])
        ['MessageSampler', 'SDESolver(temperature=1.0)', 'SDESolver(temperature=0.9)']
    """
    if not samplers:
        raise ValueError("samplers must be at least one, got none")
    names = [
        _name(sampler, [other for other in samplers if type(other) is type(sampler)]) for sampler in samplers
    ]
    if len(set(names)) < len(names):
        raise ValueError(f"samplers must all be different, got {names}")
    return names


def _name(sampler: Sampler, family: list[Sampler]) -> str:
    given = [other.spec["init_args"] for other in family]
    differs = [
        f"{name}={_short(value)}"
        for name, value in sampler.spec["init_args"].items()
        if any(other[name] != value for other in given)
    ]
    return type(sampler).__name__ + (f"({','.join(differs)})" if differs else "")


def _short(value: Any) -> str:
    """An argument, where it is an object its class with its arguments."""
    if isinstance(value, dict) and "class_path" in value:
        inner = ",".join(map(str, value["init_args"].values()))
        return f"{value['class_path'].rpartition('.')[2]}({inner})"
    return str(value)
