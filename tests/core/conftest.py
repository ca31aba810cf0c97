"""What several tests of the core share."""

import pytest
import torch
from pretend_plugin import lightning, pretend_site

__all__ = ["lightning", "pretend_site"]


@pytest.fixture
def two_ranks():
    """Arguments of a Trainer with two processes on this machine's CPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield {"accelerator": "cpu", "devices": 2, "strategy": "ddp_fork"}
    torch.set_num_threads(threads)
