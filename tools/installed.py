"""Checks that the named plugins, and no others, are installed and imported from site-packages."""

import importlib.metadata
import importlib.util
import sys
import sysconfig
from pathlib import Path


def main(folders: list[str]) -> None:
    """Exits with a message where the environment is not the one that was asked for."""
    wanted = {f"graves-{folder.replace('_', '-')}" for folder in folders}
    found = {
        entry.dist.name for entry in importlib.metadata.entry_points(group="graves.plugins") if entry.dist
    }
    if wanted != found:
        sys.exit(f"expected {sorted(wanted)} to be installed, found {sorted(found)}")
    site_packages = Path(sysconfig.get_path("purelib")).resolve()
    for folder in folders:
        spec = importlib.util.find_spec(f"graves_{folder}")
        if spec is None or spec.origin is None or site_packages not in Path(spec.origin).resolve().parents:
            sys.exit(f"graves_{folder} is not imported from {site_packages} but from {spec and spec.origin}")


if __name__ == "__main__":
    main(sys.argv[1:])
