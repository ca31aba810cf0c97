"""The experiment files that come with the plugins: inside their wheels, or in a clone beside the packages."""

import sys
from pathlib import Path

from graves_core.cli.messages import UsageError, nearest


def recipes_of(plugin: str, folder: Path) -> dict[str, Path]:
    """The recipes of one plugin.

    Args:
        plugin: its name, the first half of its recipes' names.
        folder: the folder of its top module.

    Returns:
        `{"plugin/experiment": file}`.
    """
    source = folder / "recipes"
    package = folder.resolve().parent.parent
    if not source.is_dir() and package.parent.name == "packages":
        source = package.parent.parent / "lightning_configs" / package.name
    return {f"{plugin}/{file.stem}": file for file in sorted(source.glob("*.yaml"))}


def all_recipes() -> dict[str, Path]:
    """The recipes of all installed plugins."""
    from graves_core.cli.plugins import installed_plugins

    found: dict[str, Path] = {}
    for plugin in installed_plugins():
        try:
            found.update(recipes_of(plugin.name, plugin.folder))
        except ModuleNotFoundError:
            continue  # `lightning plugins` and `lightning doctor` name it
    return found


def command(words: list[str]) -> int:
    """`lightning recipe`: lists the recipes with their first comment line, or prints one."""
    recipes = all_recipes()
    if len(words) > 1:
        raise UsageError(f"recipe takes one name, got {' '.join(words)!r}")
    if words:
        name = words[0].removesuffix(".yaml")
        if name not in recipes:
            known = ", ".join(recipes) or "none"
            raise UsageError(f"no recipe {name!r}{nearest(name, recipes)}\nthe recipes are: {known}")
        sys.stdout.write(recipes[name].read_text(encoding="utf-8"))
        return 0
    width = max(map(len, recipes), default=0)
    for name, file in recipes.items():
        first = file.read_text(encoding="utf-8").partition("\n")[0]
        print(f"{name:<{width}}  {first.lstrip('# ') if first.startswith('#') else ''}".rstrip())
    return 0
