"""Objects that remember how they were made, as plain data, for checkpoints that load safely and rebuild."""

import contextvars
import copy
import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any, cast

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

INSTANTIATOR = "lightning.pytorch.cli.instantiate_module"
PLAIN = "str, int, float, bool, None, lists and dicts of those, Spec objects, classes and partials of classes"


class Spec:
    """Mixin that keeps the arguments of the constructor as plain data in `spec`.

    Defaults are included, positional arguments get their names, and an argument that is a `Spec` itself is
    nested. A subclass with an `__init__` of its own records what that one was given. A LightningModule gets
    the same data as its `hparams`, so that its checkpoints load with `weights_only=True` and
    `load_from_checkpoint` rebuilds it, whether it was made by a config file or in Python.

    Optimizers and schedulers are given as classes or `functools.partial` of classes. Those that the command
    line makes are replaced by ordinary partials, because the former hold the whole command line (parser, data
    and trainer) and stop the model from being copied or pickled.

    Raises:
        TypeError: when an argument is not plain data, naming the class and the argument.

    Example:
        >>> class Layer(Spec):
        ...     def __init__(self, width: int, scale: float = 1.0) -> None:
        ...         self.width = width
        >>> Layer(3).spec["init_args"]
        {'width': 3, 'scale': 1.0}
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Makes the constructor of the subclass, if it defines one, record its arguments."""
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _recording(cls.__init__)  # type: ignore[method-assign]

    @property
    def spec(self) -> dict[str, Any]:
        """A dict of `class_path` and `init_args`, from which `build` makes an equal object.

        Raises:
            TypeError: when the class has no `__init__` in its body (a dataclass, say).
        """
        if "_spec" not in self.__dict__:
            raise TypeError(f"{type(self).__name__} must define __init__ itself to have a spec")
        return copy.deepcopy(cast(dict[str, Any], self.__dict__["_spec"]))


def _recording(init: Callable[..., None]) -> Callable[..., None]:
    """Wraps a constructor so that its outermost call stores the spec of the object."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def recorded(self: Any, *args: Any, **kwargs: Any) -> None:
        if "_spec" in self.__dict__:
            init(self, *args, **kwargs)
            return
        try:
            bound = signature.bind(self, *args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}: {error}") from None
        bound.arguments.update({name: _without_cli(value) for name, value in bound.arguments.items()})
        given_args, given_kwargs = bound.args, bound.kwargs
        self.__dict__["_spec"] = {"class_path": class_path(type(self)), "init_args": _init_args(bound)}
        init(*given_args, **given_kwargs)
        if hasattr(self, "save_hyperparameters"):
            _set_hparams(self)

    return recorded


def _init_args(bound: inspect.BoundArguments) -> dict[str, Any]:
    """The arguments of a constructor's call, with defaults, as plain data."""
    bound.apply_defaults()
    owner, *values = bound.arguments.items()
    class_name = type(owner[1]).__name__
    init_args: dict[str, Any] = {}
    for name, value in values:
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            init_args.update({key: _plain(item, class_name, key) for key, item in value.items()})
        elif kind is not inspect.Parameter.VAR_POSITIONAL:
            init_args[name] = _plain(value, class_name, name)
        elif value:
            raise TypeError(f"{class_name}: arguments in *{name} have no names; give them by keyword")
    return init_args


def _plain(value: Any, owner: str, argument: str) -> Any:
    """Turns one argument into JSON types.

    Raises:
        TypeError: when that is impossible.
    """
    if value is None or isinstance(value, bool):
        return value
    for base in (str, int, float):
        if isinstance(value, base):
            return getattr(base, f"__{base.__name__}__")(value)  # numpy scalars and enums lose their class
    if isinstance(value, (list, tuple)):
        return [_plain(item, owner, f"{argument}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        keys = [_key(key, owner, argument) for key in value]
        return {key: _plain(value[key], owner, f"{argument}[{key!r}]") for key in keys}
    if isinstance(value, Spec):
        return value.spec
    cls, given = (value.func, value.keywords) if isinstance(value, functools.partial) else (value, {})
    if isinstance(cls, type) and not issubclass(cls, Spec) and not getattr(value, "args", ()):
        init_args = _plain({**plain_defaults(cls), **given}, owner, argument)
        return {"class_path": class_path(cls), "init_args": init_args}
    raise TypeError(f"{owner}: a checkpoint cannot hold {argument!r}, {_shown(value)}; it holds {PLAIN}")


def plain_defaults(cls: type) -> dict[str, Any]:
    """The defaults of a class that are plain values.

    Specs write them down, because jsonargparse would fill the gaps from the class that is the default.

    Args:
        cls: any class.
    """
    plain = (str, int, float, tuple, list, type(None))
    parameters = inspect.signature(cls).parameters.values()
    return {p.name: p.default for p in parameters if isinstance(p.default, plain)}


def _key(key: Any, owner: str, argument: str) -> str | int:
    if not isinstance(key, (str, int)):
        raise TypeError(f"{owner}: argument {argument!r} has the key {key!r}; keys are str or int")
    return key


def _shown(value: Any) -> str:
    text = repr(value).replace("\n", " ")
    return f"{type(value).__name__} {text if len(text) < 60 else text[:57] + '...'}"


def _without_cli(value: Any) -> Any:
    """Replaces a partial made by jsonargparse, which holds its parser, by one of the class alone."""
    if not isinstance(value, functools.partial) or not value.args:
        return value
    made_by = getattr(value.func, "__module__", None) or ""
    if made_by.split(".")[0] == "jsonargparse" and isinstance(value.args[-1], type):
        return functools.partial(value.args[-1], **value.keywords)
    return value


def _set_hparams(module: Any) -> None:
    """Stores the spec as the hyperparameters of a LightningModule, as Lightning rebuilds from them."""
    spec = module.spec
    module.hparams.clear()
    hparams = {"_class_path": spec["class_path"], "_instantiator": INSTANTIATOR, **spec["init_args"]}
    # an empty context, because LightningCLI puts its own idea of the hyperparameters into the current one
    contextvars.Context().run(module.save_hyperparameters, hparams)


def class_path(cls: type) -> str:
    """The shortest path under which a class can be imported, looking only at what is imported already.

    Args:
        cls: any class.

    Example:
        >>> import torch
        >>> class_path(torch.optim.AdamW)
        'torch.optim.AdamW'
    """
    parts = cls.__module__.split(".")
    for length in range(1, len(parts)):
        package = ".".join(parts[:length])
        if getattr(sys.modules.get(package), cls.__name__, None) is cls:
            return f"{package}.{cls.__name__}"
    return f"{cls.__module__}.{cls.__qualname__}"


def build(spec: dict[str, Any]) -> Any:
    """Makes the object that a `spec` describes; only classes whose module is imported are used.

    Args:
        spec: what `Spec.spec` returns. Nested specs are built too; optimizers and schedulers become partials.

    Returns:
        A new object of the class.

    Raises:
        ValueError: when the class is not imported, or neither a `Spec` nor an optimizer nor a scheduler.

    Example:
        >>> from functools import partial
        >>> build({"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}).keywords
        {'lr': 0.1}
    """
    cls = _imported_class(spec["class_path"])
    init_args = {name: _built(value) for name, value in spec.get("init_args", {}).items()}
    if issubclass(cls, Spec):
        return cls(**init_args)
    return functools.partial(cls, **init_args)


def _built(value: Any) -> Any:
    if isinstance(value, dict):
        if "class_path" in value and value.keys() <= {"class_path", "init_args"}:
            return build(value)
        return {key: _built(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_built(item) for item in value]
    return value


def _imported_class(path: str) -> type:
    module, _, name = path.rpartition(".")
    if module not in sys.modules:
        raise ValueError(f"class_path {path!r}: import {module!r} before building from a spec")
    cls = getattr(sys.modules[module], name, object)
    if isinstance(cls, type) and issubclass(cls, (Spec, Optimizer, LRScheduler)):
        return cls
    raise ValueError(f"class_path {path!r} must name a Spec, an optimizer or a learning rate scheduler")
