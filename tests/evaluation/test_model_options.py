"""A field of a request model is an option: its help, its check and its place in the identity are written with it."""

import json
from dataclasses import dataclass, fields, make_dataclass
from typing import Annotated, Any, Literal

import pytest
import typer
from typer.testing import CliRunner, Result

from car_core import ModelError
from car_core.names import random_seed
from evaluation.cli.help import HelpfulCommand
from evaluation.cli.model_options import takes
from evaluation.request.benchmark import BenchmarkError
from evaluation.request.options import (
    CarOptions,
    FromOptions,
    NotInIdentity,
    Range,
    RunOptions,
    marks,
    parse_shard,
    sets_figures,
)
from evaluation.request.resolve import check_ranges, resolve, resolve_car


def _size(
    width: Annotated[int, typer.Option(help="Columns.")] = 3,
    height: Annotated[int, typer.Option(help="Rows.")] = 2,
    color: str = "",
) -> tuple[int, int, str]:
    return width, height, color


@dataclass(frozen=True)
class Request:
    name: Annotated[str, typer.Argument(help="Who.")]
    color: Annotated[Literal["red", "blue"], typer.Option(help="Paint.")] = "red"
    count: Annotated[int | None, typer.Option(help="How many."), Range(1), NotInIdentity("only speed")] = None
    size: Annotated[tuple[int, int, str], FromOptions(_size, dict)] = (3, 2, "red")
    quiet: bool = False


def call(arguments: list[str], *names: str, **changes: Any) -> Result:
    app = typer.Typer(rich_markup_mode=None)

    @app.command(cls=HelpfulCommand)
    @takes(Request, *names, **changes)
    def command(*, given: dict[str, Any], loud: Annotated[bool, typer.Option("--loud", help="Noise.")] = False) -> None:
        """Do it."""
        if loud:
            raise BenchmarkError("loud: expected silence")
        typer.echo(json.dumps(given))

    return CliRunner().invoke(app, arguments)


def test_fields_are_options_with_their_defaults_and_help() -> None:
    assert json.loads(call(["me"]).stdout) == {"name": "me", "color": "red", "count": None, "size": [3, 2, "red"]}
    more = call(["me", "--height=9", "--color=blue", "--count=4"]).stdout
    assert json.loads(more) == {"name": "me", "color": "blue", "count": 4, "size": [3, 9, "blue"]}
    shown = call(["--help"]).stdout
    for text in ("Do it.", "Who.", "Paint.", "red|blue", "How many.", "Columns.", "Rows.", "Noise."):
        assert text in shown
    assert "--quiet" not in shown
    assert call(["me", "--color=green"]).exit_code == 2


def test_a_command_takes_some_of_them_and_changes_what_differs() -> None:
    assert json.loads(call([], "color", "width", color="blue").stdout) == {"color": "blue", "size": [3, 2, "blue"]}
    shown = call(["--help"], "count", count=typer.Option(help="Fewer.")).stdout
    assert "Fewer." in shown
    assert "How many." not in shown
    assert "--color" not in call(["me", "--help"], without={"color"}).stdout


def test_user_errors_are_one_line() -> None:
    result = call(["me", "--loud"])
    assert (result.exit_code, result.stderr) == (2, "error: --loud: expected silence\n")


def test_what_is_below_its_smallest_value_is_refused() -> None:
    check_ranges(Request("me"))
    with pytest.raises(BenchmarkError, match=r"^count: expected at least 1, found 0$"):
        check_ranges(Request("me", count=0))
    for name in ("limit", "batch_size", "workers", "refine_workers", "sample_timeout", "max_pixels"):
        with pytest.raises(BenchmarkError, match=f"^{name}: expected at least"):
            resolve(RunOptions("mini-voc", **{name: -1}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_timeout": float("inf")}, "^sample_timeout: expected at most 1e[+]06, found inf$"),
        ({"sample_timeout": 1e10}, "^sample_timeout: expected at most 1e[+]06"),
        ({"sample_timeout": float("nan")}, "^sample_timeout: expected at least 0, found nan$"),
        ({"limit": 10**400}, "^limit: expected at most 9.22337e[+]18, found 10{78}…$"),
    ],
)
def test_what_is_above_its_largest_value_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchmarkError, match=message):
        resolve(RunOptions("mini-voc", **options))


@pytest.mark.parametrize("text", ["1/" + "9" * 5000, "9" * 5000 + "/1", "2/1", "a/b", "1/²"])
def test_a_shard_of_any_text_is_a_number_or_one_line(text: str) -> None:
    with pytest.raises(BenchmarkError, match=r"^shard: expected I/N with 1 <= I <= N, found .{1,90}$"):
        parse_shard(text)


@pytest.mark.parametrize("shard", [(3, 2), (0, 2), (1, 0)])
def test_a_shard_from_python_is_counted_from_one(shard: tuple[int, int]) -> None:
    with pytest.raises(BenchmarkError, match=f"^shard: expected I/N with 1 <= I <= N, found '{shard[0]}/{shard[1]}'$"):
        resolve(RunOptions("mini-voc", shard=shard))


@pytest.mark.parametrize("seed", ["9" * 5000, str(2**63), "-1", "x", ""])
def test_a_seed_of_any_text_is_a_number_or_one_line(seed: str) -> None:
    with pytest.raises(ModelError, match=r"^weights: expected random:SEED with a whole number below .{1,120}$"):
        random_seed(f"random:{seed}")


def test_new_run_field_is_option_check_and_identity_entry() -> None:
    """Nothing but the field is written: the command, the check and the identity read it."""
    seed = Annotated[int, typer.Option(help="Seed of it."), Range(0), NotInIdentity("only for show")]
    longer = make_dataclass("Longer", [("seed", seed, 7)], bases=(RunOptions,), frozen=True)
    own = typer.Typer(rich_markup_mode=None)

    @own.command()
    @takes(longer)
    def command(*, given: dict[str, Any]) -> None:
        typer.echo(f"seed={given['seed']}")

    assert CliRunner().invoke(own, ["mini-voc", "--seed=3"]).stdout == "seed=3\n"
    assert "Seed of it." in CliRunner().invoke(own, ["--help"]).stdout
    with pytest.raises(BenchmarkError, match="seed: expected at least 0, found -1"):
        check_ranges(longer("mini-voc", seed=-1))
    assert marks(longer, NotInIdentity)["seed"].reason == "only for show"


@pytest.mark.parametrize("model", [RunOptions, CarOptions])
def test_every_option_has_a_help_text(model: type) -> None:
    own = typer.Typer(rich_markup_mode=None)

    @own.command()
    @takes(model)
    def command(*, given: dict[str, Any]) -> None: ...

    made: Any = typer.main.get_command(own)
    assert len(made.params) >= len(fields(model)) - 2  # quiet and live are only the library's
    assert all(each.help for each in made.params)


def test_what_figures_depend_on() -> None:
    assert {each.name for each in fields(RunOptions) if sets_figures(each.name)} == {
        *(
            "benchmark",
            "data_root",
            "weights",
            "method",
            "predictions",
            "profile",
            "settings",
            "split",
            "places",
            "source",
            "protocol",
        ),
        *("names", "metrics", "precision", "limit", "shard"),
    }


@pytest.mark.parametrize(
    ("options", "profile", "is_miniature"),
    [
        (CarOptions("miniature"), "paper", True),
        (CarOptions("random:1"), "released", False),
        (CarOptions("miniature", profile="released"), "released", True),
    ],
    ids=["miniature", "named", "profile"],
)
def test_the_model_for_user_supplied_images(options: CarOptions, profile: str, is_miniature: bool) -> None:
    found = resolve_car(options)
    assert found.config.profile == profile
    assert found.weights.keys() == {"proposal", "classifier"}
    assert (found.config.proposal_model == "miniature") == is_miniature
