"""Build hook: inside a clone, pip takes sibling packages from the clone instead of the package index."""

import os
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class SiblingsHook(MetadataHookInterface):
    """Adds the project's dependencies, siblings as file references when pip installs from a clone.

    `hatch build` and `uv` see plain version ranges: only pip sets `PIP_BUILD_TRACKER`, and wheels that are
    published must never name a path.
    """

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Resolves the table `[tool.hatch.metadata.hooks.custom]` into `project.dependencies`."""
        packages = Path(self.root).parent
        from_clone = "PIP_BUILD_TRACKER" in os.environ
        siblings = []
        for requirement, folder in self.config["siblings"].items():
            source = packages / folder
            if from_clone and source.is_dir():
                siblings.append(f"{requirement} @ {source.as_uri()}")
            else:
                siblings.append(f"{requirement}{self.config['siblings-range']}")
        metadata["dependencies"] = siblings + self.config["dependencies"]
