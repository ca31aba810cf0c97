"""The installed plugins: found by their metadata, listed from their stubs, imported only when asked to."""

import importlib
import importlib.util
import traceback
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from graves_core.cli.messages import UsageError, report
from graves_core.cli.recipes import recipes_of
from graves_core.lazy import public_names

GROUP = "graves.plugins"
HEADING_OF = {"module": "models", "data": "data"} | dict.fromkeys(
    ("callbacks", "curriculum", "ema", "resume"), "callbacks"
)
HEADINGS = ("models", "data", "callbacks", "parts", "recipes")


@dataclass(frozen=True)
class Plugin:
    """One entry point of the group `graves.plugins`.

    Args:
        name: what the plugin calls itself.
        module: its top module.
        distribution: the distribution that installed it.
        version: the version of that distribution.
    """

    name: str
    module: str
    distribution: str
    version: str

    @property
    def folder(self) -> Path:
        """Where the top module lies.

        Raises:
            ModuleNotFoundError: when it is announced but not there.
        """
        found = importlib.util.find_spec(self.module.split(".")[0])
        if found is None or found.origin is None:
            raise ModuleNotFoundError(f"No module named {self.module!r}")
        return Path(found.origin).parent.joinpath(*self.module.split(".")[1:])

    def names(self) -> dict[str, list[str]]:
        """The public names and recipes under their headings, read without importing the plugin."""
        listing: dict[str, list[str]] = {heading: [] for heading in HEADINGS}
        stub = self.folder / "__init__.pyi"
        for name, room in public_names(stub).items() if stub.is_file() else ():
            listing[HEADING_OF.get(room.split(".")[0], "parts")].append(name)
        listing["recipes"] = sorted(recipes_of(self.name, self.folder))
        return listing


def installed_plugins() -> list[Plugin]:
    """The plugins that are installed, the core first."""
    plugins = {_plugin(entry) for entry in entry_points(group=GROUP)}
    return sorted(plugins, key=lambda plugin: (plugin.module != "graves_core", plugin.name))


def _plugin(entry: EntryPoint) -> Plugin:
    name = entry.dist.metadata["Name"] if entry.dist else entry.module
    return Plugin(entry.name, entry.module, name, entry.dist.version if entry.dist else "?")


def load_plugins() -> dict[str, str]:
    """Imports every plugin and every public class of it, which is what makes short class names known.

    A plugin that fails is named on stderr and skipped.

    Returns:
        `{module: why it failed}` of those that were skipped.
    """
    broken = {}
    for plugin in installed_plugins():
        problem = import_problem(plugin)
        if problem:
            broken[plugin.module] = problem
            report(f"plugin {plugin.distribution} {plugin.version} is skipped: {problem}")
    return broken


def import_problem(plugin: Plugin) -> str | None:
    """Imports a plugin with all its public names, and says in one line why that failed, if it did."""
    try:
        module = importlib.import_module(plugin.module)
        for name in getattr(module, "__all__", ()):
            getattr(module, name)
    except Exception as error:  # anything can go wrong in code that is not ours
        return traceback.format_exception_only(error)[-1].strip().splitlines()[0]
    return None


def command(words: list[str]) -> int:
    """`lightning plugins`: what is installed."""
    if words:
        raise UsageError(f"plugins takes no further words, got {' '.join(words)!r}")
    for plugin in installed_plugins():
        print(f"{plugin.distribution} {plugin.version}")
        try:
            listing = plugin.names()
        except (ImportError, OSError, SyntaxError) as error:
            print(f"  broken     {error}")
            continue
        for heading, names in listing.items():
            if names:
                print(f"  {heading:<11}{', '.join(names)}")
    return 0
