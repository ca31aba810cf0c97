"""`python -m graves_core` is the `lightning` command, whoever owns the script of that name."""

import sys

from graves_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
