"""The JSON schema of experiment files, from the types and docstrings of the constructors.

Put `# yaml-language-server: $schema=graves.schema.json` into the first line of a YAML file, and editors
complete and check it.
"""

import collections.abc
import enum
import inspect
import json
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any, Literal, Union, get_args, get_origin

from graves_core.cli.classes import NOTHING, known_subclasses, parameters
from graves_core.cli.messages import UsageError

NUMBER = "^[-+]?[0-9][0-9.]*[eE][-+]?[0-9]+$"  # YAML 1.1 takes 1e-3 for a text
PLAIN: dict[Any, dict[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"anyOf": [{"type": "number"}, {"type": "string", "pattern": NUMBER}]},
    str: {"type": "string"},
    type(None): {"type": "null"},
    dict: {"type": "object"},
}
GIVEN_LATER = ("params", "optimizer")
LISTS = (list, set, collections.abc.Iterable, collections.abc.Sequence)
MAX_DESCRIPTION = 160


class SchemaWriter:
    """Writes the schema of the constructors that a config can reach, each class once.

    Args:
        described: the top packages whose classes are described; of others only the name is checked.
    """

    def __init__(self, described: Iterable[str]) -> None:
        self.described = tuple(f"{package}." for package in described)
        self.definitions: dict[str, Any] = {}

    def value(self, hint: Any) -> dict[str, Any]:
        """The schema of a value of one type."""
        origin, arguments = get_origin(hint), get_args(hint)
        if hint in PLAIN:
            return PLAIN[hint]
        if origin in (Union, types.UnionType):
            return any_of(self.value(member) for member in arguments)
        if origin is Literal:
            return {"enum": list(arguments)}
        if origin is tuple and Ellipsis not in arguments:
            items = [self.value(member) for member in arguments]
            return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
        if origin in LISTS or origin is tuple:
            return {"type": "array", "items": self.value(arguments[0]) if arguments else {}}
        if origin in (dict, collections.abc.Mapping):
            return {"type": "object", "additionalProperties": self.value(arguments[1])}
        if origin is collections.abc.Callable:
            made = self.value(arguments[-1]) if arguments else {}
            return any_of([made, {"type": "string"}])
        if isinstance(hint, type) and issubclass(hint, enum.Enum):
            return {"enum": [member.name for member in hint]}
        if isinstance(hint, type) and hint.__module__.split(".")[0] not in sys.stdlib_module_names:
            return self.instance(hint)
        return {}

    def instance(self, base: type) -> dict[str, Any]:
        """The schema of an object of a class or a subclass of it."""
        name = f"any {base.__name__}"
        if name not in self.definitions:
            self.definitions[name] = {}
            known = {n: cls for n, cls in known_subclasses(base).items() if self.is_described(cls)}
            names = [path for cls in known.values() for path in paths(cls)]
            others = "|".join(package.replace(".", "[.]") for package in self.described)
            other = {"type": "string", "pattern": rf"^(?!{others})\w+([.]\w+)+$"}
            objects = [self.class_of(cls) for cls in known.values()]
            objects.append(
                one_object({"class_path": other, "init_args": PLAIN[dict], "dict_kwargs": PLAIN[dict]})
            )
            self.definitions[name] = any_of([{"enum": names}, other, *objects])
        return {"$ref": f"#/$defs/{name}"}

    def is_described(self, cls: type) -> bool:
        """Whether configs may name a class and its arguments are known here."""
        return f"{cls.__module__}.".startswith(self.described) and not inspect.isabstract(cls)

    def class_of(self, cls: type) -> dict[str, Any]:
        """The schema of an object of exactly this class."""
        if cls.__name__ not in self.definitions:
            self.definitions[cls.__name__] = {}
            init_args = self.arguments(cls)
            properties = {
                "class_path": {"enum": paths(cls)},
                "init_args": init_args,
                "dict_kwargs": PLAIN[dict],
            }
            required = ["class_path", *(["init_args"] if init_args.get("required") else [])]
            described = {"description": first_line(cls.__doc__)} if cls.__doc__ else {}
            self.definitions[cls.__name__] = {**described, **one_object(properties, required)}
        return {"$ref": f"#/$defs/{cls.__name__}"}

    def arguments(
        self, target: Callable[..., Any], leave_out: Iterable[str] = ("params", "optimizer")
    ) -> dict[str, Any]:
        """The schema of the arguments of a class or function.

        Args:
            target: the class or function.
            leave_out: arguments that come from elsewhere, when they are not annotated as something to build.
        """
        named, hints, takes_more = parameters(target)
        texts = descriptions(target)
        properties, required = {}, []
        for name, parameter in named.items():
            if name in GIVEN_LATER and parameter.default is NOTHING and not is_built(hints.get(name)):
                continue
            if parameter.default is NOTHING:
                required.append(name)
            schema = self.value(hints.get(name, Any))
            if accepts_list(schema):
                properties[f"{name}+"] = schema
            default = (
                {"default": parameter.default} if isinstance(parameter.default, (str, int, float)) else {}
            )
            text = {"description": texts[name]} if name in texts else {}
            properties[name] = {**schema, **default, **text}
        schema = one_object(properties, required)
        return {**schema, "additionalProperties": True} if takes_more else schema


def is_built(hint: Any) -> bool:
    """Whether an argument called `optimizer` is a factory that configs give, not an optimizer at work."""
    return hint is not None and any(
        get_origin(h) is collections.abc.Callable for h in (hint, *get_args(hint))
    )


def accepts_list(schema: dict[str, Any]) -> bool:
    """Whether a list is among what a schema accepts, so that `key+` can add to it."""
    return any(member.get("type") == "array" for member in [schema, *schema.get("anyOf", [])])


def one_object(properties: dict[str, Any], required: Iterable[str] = ("class_path",)) -> dict[str, Any]:
    """The schema of an object with these keys alone."""
    needed = [name for name in required if name in properties]
    schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return {**schema, "required": needed} if needed else schema


def any_of(schemas: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The schema of what fits at least one of several."""
    unique: list[dict[str, Any]] = []
    for schema in schemas:
        unique += [member for member in schema.get("anyOf", [schema]) if member not in unique]
    if {} in unique:
        return {}
    return unique[0] if len(unique) == 1 else {"anyOf": unique}


def paths(cls: type) -> list[str]:
    """The names under which configs may name a class: the public one, the full one and the short one."""
    from graves_core.spec import class_path

    return list(dict.fromkeys([class_path(cls), f"{cls.__module__}.{cls.__name__}", cls.__name__]))


def first_line(text: str | None) -> str:
    """The first line of a docstring, cut to a length that editors show."""
    lines = inspect.cleandoc(text or "").splitlines()
    return lines[0][:MAX_DESCRIPTION] if lines else ""


def descriptions(target: Callable[..., Any]) -> dict[str, str]:
    """What docstrings say about the arguments of a class or function."""
    import docstring_parser

    found = {}
    for documented in (getattr(target, "__init__", None), target):
        for parameter in docstring_parser.parse(getattr(documented, "__doc__", None) or "").params:
            found[parameter.arg_name] = " ".join((parameter.description or "").split())[:MAX_DESCRIPTION]
    return found


def config_schema() -> dict[str, Any]:
    """The schema of the config files of this environment, with the classes of all its plugins."""
    from lightning.pytorch import Trainer

    from graves_core.cli.plugins import installed_plugins, load_plugins
    from graves_core.cli.slots import SLOTS, run_arguments

    load_plugins()
    plugins = [plugin.module for plugin in installed_plugins()]
    writer = SchemaWriter(
        [*plugins, "torch.optim", "lightning.pytorch.callbacks", "lightning.pytorch.loggers"]
    )
    properties: dict[str, Any] = {
        "$schema": PLAIN[str],
        "seed_everything": {"type": ["boolean", "integer"], "description": "the seed of the run"},
        "trainer": writer.arguments(Trainer),
        **{key: writer.instance(base) for key, base in SLOTS.items()},
        **{name: writer.value(hint) for name, hint in run_arguments().items()},
    }
    schema = one_object(properties, required=[])
    title = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "an experiment of graves"}
    return {**title, **schema, "$defs": dict(sorted(writer.definitions.items()))}


def command(words: list[str]) -> int:
    """`lightning schema`: prints the schema."""
    if words:
        raise UsageError(f"schema takes no further words, got {' '.join(words)!r}")
    print(json.dumps(config_schema(), separators=(",", ":")))
    return 0
