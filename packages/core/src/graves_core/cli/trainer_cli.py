"""LightningCLI with short errors, checkpoints that give way to flags, and exact resume."""

import json
from typing import Any, get_args

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.strategies import StrategyRegistry

from graves_core.cli.classes import find_class, parameters
from graves_core.cli.completion import completion
from graves_core.cli.diagnose import Diagnosis
from graves_core.cli.faults import refusals_in_one_line
from graves_core.cli.given import flags, read_config
from graves_core.cli.main import RUNS
from graves_core.cli.messages import UsageError, nearest, not_one_of
from graves_core.cli.slots import SLOTS, run_arguments
from graves_core.resume import ExactResume

Options = dict[str, Any]


def integers_first(parser: LightningArgumentParser) -> None:
    """Keeps the 1 of `--trainer.limit_val_batches 1` from becoming 1.0, which means all batches.

    Python may hand out `float | int` where `int | float` is written, if some library wrote the former before;
    jsonargparse then takes every number for a float.
    """
    for action in parser._actions:
        if set(get_args(vars(action).get("_typehint"))) == {int, float, type(None)}:
            vars(action)["_typehint"] = int | float | None


class ShortErrors(LightningArgumentParser):
    """The parser of a run; it raises its errors and leaves the printing to `main`."""

    def error(self, message: str, ex: Exception | None = None) -> Any:
        """Raises what argparse would print after sixty lines of usage.

        Raises:
            UsageError: always, except inside the attempts of jsonargparse to parse a type.
        """
        if not self.exit_on_error:
            return super().error(message, ex)
        raise UsageError(message) from ex


class TrainerCLI(LightningCLI):
    """Parses one command line, makes its objects and runs it.

    Args:
        word: fit, validate, test or predict.
        words: the options after it.
        values: what was given, merged; errors are explained by it.
        broken: plugins that failed to import, and why.
    """

    def __init__(
        self,
        word: str,
        words: list[str],
        values: dict[str, Any],
        broken: dict[str, str],
    ) -> None:
        self.word = word
        self.words = words
        self.values = values
        self.diagnosis = Diagnosis(broken)
        usage = f"lightning {word} [--config FILE]... [--KEY VALUE]..."
        super().__init__(
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            parser_class=ShortErrors,
            parser_kwargs={"allow_abbrev": False, word: {"usage": usage}},
            args=[word, *words, *self.rest()],
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Only the word that runs, because the parser of each costs a twentieth of a second."""
        left_out: set[str] = LightningCLI.subcommands()[self.word]
        return {self.word: left_out}

    def setup_parser(self, add_subcommands: bool, main_kwargs: Options, subparser_kwargs: Options) -> None:
        """Makes the parser; checkpoints are loaded safely unless `--weights_only false` is given."""
        super().setup_parser(add_subcommands, main_kwargs, subparser_kwargs)
        self.parser.prog = "lightning"
        parser = self._parser(self.word)
        parser.allow_abbrev = False
        parser.set_defaults({"weights_only": True})
        integers_first(parser)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses the command line.

        Raises:
            UsageError: when that fails, with the cause in one line.
        """
        try:
            self.config = parser.parse_args(args)
        except UsageError as error:
            self.explain()
            raise UsageError(str(error)) from None

    def _parse_ckpt_path(self) -> None:
        """Nothing: here the stock class lets the checkpoint beat the command line."""

    def rest(self) -> list[str]:
        """The last config, which completes the others; none where the help of a class is asked for."""
        asks = any(key.endswith("help") for key, _ in flags(self.words))
        return [] if asks else [f"--config={json.dumps(completion(self.values))}"]

    def explain(self) -> None:
        """Looks for the mistake in what was given.

        Raises:
            UsageError: when one is found.
        """
        for key, name in flags(self.words):
            if key.endswith(".help") and key.removesuffix(".help") in SLOTS:
                find_class(name, SLOTS[key.removesuffix(".help")], self.diagnosis.broken)
        own = {"seed_everything": bool | int | None, **run_arguments(self.word)}
        for key, value in self.values.items():
            if key == "trainer":
                given = read_config(value) if isinstance(value, str) else value
                self.diagnosis.arguments("Trainer", Trainer, given or {}, key)
            elif key in SLOTS:
                self.diagnosis.instance(SLOTS[key], value, key, later=key not in ("model", "data"))
            elif key in own:
                self.diagnosis.value(own[key], value, key)
            elif key != "$schema":
                raise UsageError(self.unknown_key(key, own))
        if "model" not in self.values:
            known = "or --ckpt_path FILE, whose model is used" if self.word != "fit" else "or --config FILE"
            raise UsageError(f"no model is given: --model NAME {known}")

    def unknown_key(self, key: str, own: dict[str, Any]) -> str:
        """Says that a top key does not exist, and what was meant."""
        if key in parameters(Trainer)[0]:
            return f"there is no option {key!r}; did you mean 'trainer.{key}'?"
        if key in RUNS:
            return f"the config has a section {key!r}; what stands in it belongs one level up"
        return f"there is no option {key!r}{nearest(key, ['trainer', *SLOTS, *own])}"

    def before_instantiate_classes(self) -> None:
        """Refuses an optimizer that would throw away the model's parameter groups.

        Raises:
            UsageError: when `--optimizer` is given for such a model.
        """
        config = self.config[self.word]
        model = find_class(config.model.class_path, LightningModule)
        if config.get("optimizer") and hasattr(model, "parameter_groups"):
            raise UsageError(
                f"--optimizer would put all parameters of {model.__name__} into one group, "
                "but it has groups of its own; use --model.optimizer"
            )

    def instantiate_classes(self) -> None:
        """Makes data, model and trainer; what their constructors refuse is told in one line."""
        with refusals_in_one_line(constructing=True):
            super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Makes the trainer, with `ExactResume` unless the config lists one."""
        self.check_names()
        listed = self._get(self.config_init, "trainer").get("callbacks") or []
        listed = listed if isinstance(listed, list) else [listed]
        if not any(isinstance(callback, ExactResume) for callback in listed):
            self.trainer_defaults["callbacks"] = [ExactResume()]
        return super().instantiate_trainer(**kwargs)

    def check_names(self) -> None:
        """Looks for a strategy and an accelerator that Lightning does not know.

        Raises:
            UsageError: when one is given, with the name that is nearest.
        """
        strategies = StrategyRegistry.available_strategies()
        accelerators = AcceleratorRegistry.available_accelerators()
        for key, known in (("strategy", strategies), ("accelerator", {"gpu", *accelerators})):
            name = self._get(self.config_init, "trainer").get(key)
            if isinstance(name, str) and name not in ("auto", *known):
                raise UsageError(f"trainer.{key}: {not_one_of(name, ['auto', *sorted(known)])}")

    def _run_subcommand(self, subcommand: str) -> None:
        with refusals_in_one_line(constructing=False):
            super()._run_subcommand(subcommand)
