"""The exact counterpart of any learner."""

from graves_rnn_training.layers.learners.base import Learner
from graves_rnn_training.layers.learners.bptt import BPTT
from graves_rnn_training.layers.learners.stack import LearnerStack


def exact_learner(learner: Learner) -> Learner:
    """Backpropagation through time over the cells of a learner, with the same parameters.

    Args:
        learner: any; a `LearnerStack` becomes a stack.

    Returns:
        A learner without influence, whose gradient is what the other one estimates.
    """
    if isinstance(learner, LearnerStack):
        return LearnerStack([exact_learner(layer) for layer in learner.layers if isinstance(layer, Learner)])
    return BPTT(learner.cell)
