"""What the callbacks that draw have in common."""


def check_plots(user: str) -> None:
    """Refuses to go on where nothing can be drawn.

    Args:
        user: who wants to draw.

    Raises:
        ImportError: naming the extra that is missing.
    """
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise ImportError(f'{user} needs: pip install "graves-rnn-training[plots]"')
