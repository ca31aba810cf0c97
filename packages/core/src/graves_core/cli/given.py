"""What was given on the command line: config files in order, then flags, as one nested dict."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from graves_core.cli.messages import UsageError, nearest

SECTIONS = ("trainer", "model", "data", "optimizer", "lr_scheduler")


def given(words: list[str]) -> dict[str, Any]:
    """Reads the values of a command line.

    Args:
        words: what follows `fit`, `validate`, `test` or `predict`.

    Returns:
        Config files and flags merged in their order. Values of flags are strings where YAML says so.

    Raises:
        UsageError: when a config file is missing or is not a YAML mapping.
    """
    values: dict[str, Any] = {}
    for key, value in flags(words):
        if key in ("config", "c"):
            merge(values, read_config(value))
        elif key.split(".")[-1] not in ("help", "h", "print_config"):
            place(values, key, read_config(value) if key in SECTIONS and is_config(value) else scalar(value))
    return values


def flags(words: list[str]) -> Iterator[tuple[str, str]]:
    """The options of a command line as `(key, value)`; an option without a value has an empty one."""
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if not word.startswith("-"):
            continue
        key, equals, value = word.partition("=")
        follows = words[position] if position < len(words) else "--"
        if not equals and (not follows.startswith("-") or is_number(follows)):
            value = follows
            position += 1
        yield key.lstrip("-"), value


def read_config(path: str | Path) -> dict[str, Any]:
    """Reads one config file.

    Args:
        path: a file; text that is YAML itself is taken as it is.

    Raises:
        UsageError: when the file is missing, cannot be parsed (with its line), or holds no mapping.
    """
    import yaml

    text, file = str(path), Path(path)
    if not text.strip().startswith("{") and "\n" not in text and "://" not in text:
        text = read_text(file)
    try:
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"{file}{line}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{file}: not valid YAML: {error}") from None
    if content is None or ("://" in text and isinstance(content, str)):
        return {}
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise UsageError(f"{file}: a config file holds 'key: value' lines, this one holds a {kind}")
    return content


def read_text(file: Path) -> str:
    """The text of a file.

    Raises:
        UsageError: when there is none, naming the file of the nearest name in that folder.
    """
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(missing(file) if not file.exists() else f"{file} cannot be read: {error}") from None


def missing(file: Path) -> str:
    """Says that a file does not exist, and which file of a similar name does."""
    if not file.parent.is_dir():
        return f"no file {str(file)!r}: there is no folder {str(file.parent)!r}"
    others = [other.name for other in file.parent.iterdir()]
    return f"no file {str(file)!r}{nearest(file.name, others, likeness=0.75)}"


def scalar(text: str) -> Any:
    """The value of a flag, read as YAML where it is YAML."""
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def is_config(text: str) -> bool:
    """Whether the value of a flag is a config file of its own, as in `--model model.yaml`."""
    return text.endswith((".yaml", ".yml"))


def is_number(word: str) -> bool:
    """Whether a word that may start with a minus is a value and not an option."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def merge(base: dict[str, Any], top: dict[str, Any]) -> None:
    """Merges nested dicts into the first; a class chosen anew drops the arguments of the former class."""
    for key, value in top.items():
        name = key.removesuffix("+")
        former = base.get(name)
        if key != name and former is not None:
            base[name] = as_list(former) + as_list(value)
        elif isinstance(former, dict) and isinstance(value, dict) and same_class(former, value):
            merge(former, value)
        elif isinstance(former, dict) and isinstance(value, str) and same_class(former, as_spec(value)):
            former["class_path"] = value
        else:
            base[name] = value


def as_list(value: Any) -> list[Any]:
    """A list as it is, anything else as the only element of one."""
    return value if isinstance(value, list) else [value]


def same_class(former: dict[str, Any], value: dict[str, Any]) -> bool:
    """Whether two dicts may describe the same object, judged by the last part of their class paths."""
    names = [str(spec["class_path"]).split(".")[-1] for spec in (former, value) if "class_path" in spec]
    return len(set(names)) < 2


def place(values: dict[str, Any], key: str, value: Any) -> None:
    """Puts the value of one flag where its dotted key says; in a list, dots go on in its last element."""
    *path, last = key.split(".")
    node = values
    for part in path:
        below = node.get(part)
        if isinstance(below, list) and below:
            node = below[-1] = as_spec(below[-1])
        else:
            below = node[part] = as_spec(below)
            node = below
    merge(node, {last: value})


def as_spec(value: Any) -> dict[str, Any]:
    """A dict as it is, the name of a class as a dict that can take arguments."""
    if isinstance(value, str):
        return {"class_path": value}
    return value if isinstance(value, dict) else {}
