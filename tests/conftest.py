"""What all tests share: one thread, deterministic examples, shapes checked at run time, real data sets."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

install_import_hook(
    ["graves_core", "graves_bfn", "graves_rnn_training", "graves_memory", "graves_bayes"],
    "shape_checks.check",
)

settings.register_profile(
    "deterministic",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("deterministic")

DATA = Path(os.environ.get("GRAVES_DATA") or Path(__file__).parents[2] / "shared" / "data")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the original data sets, one folder per set."""
    if not DATA.is_dir():
        pytest.skip("the original data sets are not at hand: set GRAVES_DATA to their folder")
    return DATA
