"""Checks of arguments that several data sets share."""

from graves_core.data.checks import check_at_least as check_at_least
from graves_core.data.checks import check_seed as check_seed
