"""``hwsearch optimize``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hwsearch.budget import Budget, Strictness, shown
from hwsearch.commands import (
    NO,
    Duration,
    Finite,
    Limit,
    Share,
    directory_option,
    print_json,
    subcommand,
)
from hwsearch.cost.cost import COSTS, NAMES
from hwsearch.errors import InputError
from hwsearch.quiet import silence
from hwsearch.toml_file import read_toml

Path_ = click.Path(path_type=Path)


FLAG_ALONE = ("config", "trust-model", "json", "debug", "help")
"""Options that a file of options may not have: it is not trusted to run code."""

DATA = ("data", "validation-data", "test-data")


def _configured(context: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    """Makes a TOML file's values the defaults of the options."""
    if path is None:
        return
    file = read_toml(path, "the options")
    options = {
        option.removeprefix("--"): known
        for known in context.command.params
        for option in known.opts
        if option.startswith("--")
    }
    context.default_map = {}
    for key, value in file.table.items():
        name = key.replace("_", "-")
        known = options.get(name)
        if name in FLAG_ALONE and known is not None:
            raise InputError(
                f"{file.at(key)}: {key!r} is taken on the command line alone, as --{name}."
            )
        if known is None or known.name is None or isinstance(value, dict):
            allowed = ", ".join(sorted(set(options) - set(FLAG_ALONE)))
            raise InputError(
                f"{file.at(key)}: {key!r} is no option of hwsearch optimize. Known: {allowed}"
            )
        if name in DATA and not str(value).endswith(".npz"):
            raise InputError(
                f"{file.at(key)}: {key}={value!r} is no .npz file. A function is code, which "
                f"runs: it is taken on the command line alone, as --{name} {value}."
            )
        try:
            context.default_map[known.name] = _typed(known, value, context)
        except click.BadParameter as error:
            raise InputError(f"{file.at(key)}: {key}={value!r}: {error.message}") from error


def _typed(option: click.Parameter, value: Any, context: click.Context) -> Any:
    """A value of TOML as the option takes it; one of several may stand alone.

    Raises:
        BadParameter: it is of another kind.
    """
    if isinstance(option.type, click.types.BoolParamType) != isinstance(value, bool):
        boolean = isinstance(value, bool)
        raise click.BadParameter(f"expected {'a number or text' if boolean else 'true or false'}.")
    if isinstance(option.type, click.types.IntParamType) and not isinstance(value, int):
        raise click.BadParameter("expected a whole number.")
    if isinstance(value, list) and not (option.multiple and all(type(i) is str for i in value)):
        expected = "a list of texts" if option.multiple else "one value, not a list"
        raise click.BadParameter(f"expected {expected}.")
    if option.multiple and not isinstance(value, list):
        value = [value]
    return option.type_cast_value(context, value)


@subcommand
@click.argument("model", type=Path_)
@click.option("--config", type=Path_, is_eager=True, expose_value=False, callback=_configured,
              help='A TOML file of options: flash = "192 KiB"; flags win. Code (functions as '
              "data, --trust-model) is named by flags alone.")  # fmt: skip
@click.option("--board", help="A name of 'hwsearch boards', or a TOML file with one. Default: a "
              "generic Cortex-M4.")  # fmt: skip
@click.option(
    "--flash", type=Limit("flash"), help='Limit, e.g. "192 KiB". Default: all that the board has.'
)
@click.option(
    "--ram", type=Limit("ram"), help='Limit, e.g. "24 KiB". Default: all that the board has.'
)
@click.option("--latency", type=Limit("latency"), help='Limit of one inference, e.g. "150 ms".')
@click.option("--energy", type=Limit("energy"), help='Limit of one inference, e.g. "2 mJ".')
@click.option(
    "--accuracy", type=Finite(), help="The least value of the metric that is acceptable."
)
@click.option("--strictness", type=click.Choice(["likely", "sure"]), default="likely",
              show_default=True, help="Judge estimates, or their dearer edges.")  # fmt: skip
@click.option("--data", help="To train and calibrate on: FILE.npz with x and y (or x_train … "
              "y_test), or your function as module:function or file.py:function.")  # fmt: skip
@click.option("--validation-data", help="To search on; same forms. Default: a part of --data.")
@click.option("--test-data", help="To report on; same forms.")
@click.option("--loss", help="A name of Keras. Default: the compiled model's.")
@click.option("--metric", help="A name of Keras. Default: the compiled model's.")
@click.option("--mode", type=click.Choice(["max", "min"]), help="Whether more of it is better.")
@click.option("--objective", "objectives", multiple=True, help="accuracy, flash, ram, latency or "
              "energy; may be given again. Default: accuracy and what is limited.")  # fmt: skip
@click.option("--sampler", default="front", show_default=True, help="How to propose: front, tpe, "
              "nsga2, nsga3, random or grid.")  # fmt: skip
@click.option("--trials", default=40, show_default=True, help="Configurations to evaluate.")
@click.option("--timeout", type=Duration(), help='End after, e.g. "8 h".')
@click.option("--trial-timeout", type=Duration(), default=1800.0, show_default="30 min",
              help="Give one training up after.")  # fmt: skip
@click.option("--patience", type=int, help="End when so many trials improved nothing.")
@click.option("--tolerance", type=Share(), default=0.01, show_default=True,
              help="What counts as nothing: a share of the hypervolume.")  # fmt: skip
@click.option("--workers", default=1, show_default=True, help="Trainings at once.")
@click.option("--memory", help='That each training may hold, e.g. "4 GiB". Default: shared out.')
@click.option("--cache", default="2 GiB", show_default=True,
              help="Disk for fine-tuned networks.")  # fmt: skip
@click.option("--study", help="A name; the same again goes on where it stopped.")
@click.option("--storage", envvar="HWSEARCH_STORAGE", help="A database that workers on other "
              "machines reach. The environment variable HWSEARCH_STORAGE keeps its password off "
              "the command line.")  # fmt: skip
@click.option("--backend", "backends", multiple=True, help="A runtime to choose from; may be "
              "given again. Default: all that can be proven here.")  # fmt: skip
@click.option("--space", help="A preset (fast, thorough, cnn …) or a TOML file.")
@click.option("--seed", default=0, show_default=True)
@click.option("--device", help="Where finalists run. Default: an emulated core.")
@click.option("--tracking-uri", envvar="MLFLOW_TRACKING_URI", help="Of an MLflow server.")
@directory_option
@click.option("--export", "bundle", type=Path_, help="Then write the chosen model's bundle here.")
@click.option("--html", type=Path_, help="Then write the report's page here.")
@click.option("--plan", "dry_run", is_flag=True, help="Say what would be searched, and whether "
              "anything fits; train nothing.")  # fmt: skip
@click.option("--trust-model", is_flag=True,
              help="Run code (lambdas) in MODEL: only if you trust its maker.")  # fmt: skip
def command(
    model: Path,
    board: str | None,
    flash: float | None,
    ram: float | None,
    latency: float | None,
    energy: float | None,
    accuracy: float | None,
    strictness: Strictness,
    dry_run: bool,
    bundle: Path | None,
    html: Path | None,
    trust_model: bool,
    as_json: bool,
    **given: Any,
) -> int | None:
    """Search pruning, bits and runtime of the Keras model in MODEL within a budget.

    Progress goes to stderr, the report to stdout. Exit code 1: nothing fits, and the report says
    what came nearest.
    """
    budget = Budget(flash, ram, latency, energy, accuracy, strictness)
    options = {name: value for name, value in given.items() if value not in (None, ())}
    options |= _data(given)
    loaded: Any = model
    if trust_model:
        with silence():
            from hwsearch.convert import load_model

            loaded = load_model(model, trusted=True)
    if dry_run:
        return _plan(loaded, budget, board, options, as_json)
    with silence():  # TensorFlow greets whoever imports it
        from hwsearch.optimization import optimize

    report = optimize(loaded, budget, board=board, **options)
    if as_json:
        print_json(report.to_dict())
    else:
        report.table()  # where nothing fits it says why
        if report.chosen is not None:
            click.echo(f"\n{report.explain()}")
    if html is not None:
        click.echo(f"page: {report.html(html)}", err=True)
    if report.chosen is None:
        return NO
    if bundle is not None:
        click.echo(f"bundle: {report.chosen.export(bundle)}", err=True)
    return None


def _data(given: dict[str, Any]) -> dict[str, Any]:
    """The data that the options name; those of their own win over splits of ``--data``."""
    from hwsearch.data_files import SPLITS, read

    found: dict[str, Any] = {}
    if given["data"] is not None:
        source = read(given["data"])
        found = {name: getattr(source, name) for name in SPLITS}
    for name in ("validation_data", "test_data"):
        if given[name] is not None:
            source = read(given[name])
            found[name] = source.data if getattr(source, name) is None else getattr(source, name)
    return {name: data for name, data in found.items() if data is not None}


def _plan(
    model: Any, budget: Budget, board: str | None, options: dict[str, Any], as_json: bool
) -> int | None:
    with silence():
        from hwsearch.screening import plan

    names = ("data", "validation_data", "test_data", "loss", "metric", "mode", "seed", "space")
    known = {name: options[name] for name in names if name in options}
    with silence():
        found = plan(model, budget, board=board, backends=options.get("backends"), **known)
    if as_json:
        print_json(found)
        return None if found.feasible else NO
    limits = budget.on(found.board)
    click.echo(f"{found.board.name}: {limits}.")
    click.echo(
        f"{len(found.groups)} channel groups and {found.operators} operators with weights on "
        f"{', '.join(found.backends)}: about 10^{found.log10_configurations:.0f} configurations."
    )
    click.echo(f"{found.metric} of the original: {found.original:.4g}.")
    whole = ", ".join(
        f"{shown(name, value)} {NAMES[name]}"
        for name in COSTS
        if (value := getattr(found.whole, name)) is not None
    )
    click.echo(f"At the first choice of everything it takes {whole}.")
    click.echo(f"{found.feasible} of {found.screened:,} random configurations fit.")
    if found.nearest:
        over = ", ".join(f"{NAMES[n]} {e:+.0%}" for n, e in found.nearest.items())
        click.echo(f"The nearest is over by {over}.")
    for note in found.notes:
        click.echo(f"Note: {note}")
    return None if found.feasible else NO
