"""A run from a file of words, and a run again from what its run.json says."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from evaluation import RunOptions
from evaluation.cli.app import app
from evaluation.request.benchmark import BenchmarkError
from evaluation.request.cluster import Cluster
from evaluation.request.options import FromOptions, Typed
from evaluation.request.words import by_parameter, read_words, request_of, without_folders, words_of_request
from evaluation.run.rerun import request_of_run
from evaluation.tasks.saving import Saving
from results import RunDirectory, identity_of
from support import strict_yaml


def car(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def write(path: Path, words: object) -> Path:
    path.write_text(words if isinstance(words, str) else yaml.safe_dump(words), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "options",
    [
        RunOptions("voc21"),
        RunOptions("voc21", "data", "openai", "naclip", "paper", split="val", source="a", names="dataset", limit=3),
        RunOptions("voc21", weights={"proposal": "a.pt", "classifier": None}, precision="bfloat16", shard=(2, 8)),
        RunOptions("voc21", weights={"proposal": "a", "classifier": "a"}, protocol={"boundary": "1", "ignore": "no"}),
        RunOptions("x", settings={"eta": 0.1, "crf": None, "prompts": ["ü", "🙂\u2028"], "sam": {"model": "1e3"}}),
        RunOptions("own-folders", places={"images": "a b", "ignore_value": "255"}, out="~nobody/x", fresh=True),
        RunOptions("x", sample_timeout=None, max_pixels=9, device="cuda:1", batch_size=1, workers=0, refine_workers=0),
        RunOptions("x", engine="ray", cluster=Cluster("host:1", 3, 0.5, 0.25), saving=Saving("rle", True)),
    ],
    ids=range(8),
)
def test_words_in_a_file_are_the_same_request(options: RunOptions, tmp_path: Path) -> None:
    words = words_of_request(options)
    again = request_of(read_words(write(tmp_path / "run.yaml", words)), "run.yaml")
    # Weights of both models in one word are the same weights, and Ray's share of a GPU is the device's by default.
    assert words_of_request(again) == words
    if not isinstance(options.weights, str) and len(set((options.weights or {}).values())) != 1:
        assert again == options


def test_what_run_json_keeps_names_no_folder() -> None:
    given = {"weights": "/home/me/w.pt", "split": "~/ids.txt", "places": {"images": "/home/me/i"}, "workers": 1}
    kept = words_of_request(
        RunOptions("voc21", "/home/me/data", out="/home/me/o", limit=2, device="cuda", **given), kept=True
    )
    assert kept == {"benchmark": "voc21", "weights": "w.pt", "split": "ids.txt", "limit": 2, "device": "cuda"}
    assert without_folders("/a/b.pt,~/c.pt,~no-such-user/d,rel/e,voc21") == "b.pt,c.pt,~no-such-user/d,rel/e,voc21"


def _pair(low: Annotated[int, typer.Option()] = 0, high: Annotated[int, typer.Option()] = 1) -> tuple[int, int]:
    return low, high


@dataclass(frozen=True)
class Longer(RunOptions):
    """What a new field needs: nothing, if it is an option of its own type."""

    metric: Annotated[list[str] | None, typer.Option(help="Metrics.")] = None
    files: Annotated[tuple[str, ...], typer.Option(), Typed(list[str] | None, list, tuple)] = ()
    pair: Annotated[tuple[int, int], FromOptions(_pair, lambda pair: dict(zip(("low", "high"), pair, strict=True)))] = (
        0,
        1,
    )


def test_a_new_field_is_a_word() -> None:
    words = words_of_request(Longer("x", metric=["a", "b"], files=("c",), pair=(0, 3)))
    assert words == {"benchmark": "x", "metric": ["a", "b"], "files": ["c"], "low": 0, "high": 3}
    assert by_parameter(Longer, words, "f") == words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("benchmrk: a", "FILE: benchmrk: expected a field, found 'benchmrk'; did you mean benchmark?"),
        ("limit: 2.5", "FILE: limit: expected an integer, found 2.5"),
        ("limit: '2'", "FILE: limit: expected an integer, found '2'"),
        ("limit: 0", "FILE: limit: expected at least 1, found 0"),
        ("fresh: 1", "FILE: fresh: expected true or false, found 1"),
        ("weights: true", "FILE: weights: expected text, found True"),
        ("weights: ''", "FILE: weights: expected a value, found an empty one"),
        ("names: [a]", "FILE: names: expected"),
        ("set: 3", "FILE: set: expected fields, or a list of KEY=VALUE texts, found 3"),
        ("set: {x.y: 1}", "FILE: set: x.y: expected a field, crf.<field> or sam.<field>"),
        ("protocol: {a: yes}", "FILE: protocol: expected key=value, found {'a': True}"),
        ("shard: 3/2", "FILE: shard: expected I/N with 1 <= I <= N, found '3/2'"),
        ("data-root: a\ndata_root: b", "FILE: data_root: expected each field once, found it again"),
        ("- a\n- b", "FILE: expected fields such as benchmark: voc21, found 2 items"),
        ("", "FILE: expected fields such as benchmark: voc21, found nothing"),
        ("limit: 010", "FILE: expected YAML, found 010, which YAML reads as 8; in quotes it is text"),
        ("a: &x 1\nb: *x", "FILE: expected YAML, found an alias, *x, which is not read"),
        ("a: [", "FILE: expected YAML, found a mistake in line 1: expected the node content"),
        ("a: \ud800", "FILE: expected YAML, found"),
    ],
    ids=range(19),
)
def test_bad_files_are_one_line(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(BenchmarkError) as error:
        request_of(read_words(file), str(file))
    assert str(error.value).startswith(message.replace("FILE", str(file)))
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    for arguments, found in ((["absent"], "nothing"), ([""], "a folder")):
        result = car("eval", "--config", tmp_path / arguments[0])
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert result.stderr.endswith(f"expected a YAML file, found {found}\n")


def test_numbers_are_what_they_look_like() -> None:
    kept = {"007": 7, "0x1F": 31, "1_000": 1000, "-0": 0, "+5": 5, "1.5": 1.5, "008": "008", "'1:30'": "1:30"}
    assert {text: strict_yaml.loads(text) for text in kept} == kept
    for text in ("010", "-010", "1:30", "12:30.5"):
        with pytest.raises(ValueError, match=f"^{text}, which YAML reads as"):
            strict_yaml.loads(text)


def words_of_tiny(tiny_run: Any) -> dict[str, Any]:
    return words_of_request(tiny_run.options(limit=2)) | {"out": str(tiny_run.out)}


def records(path: Path) -> list[dict[str, Any]]:
    """The records without their times."""
    lines = (path / "samples.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


def test_the_command_line_wins_over_the_file_and_adds_settings(tiny_run: Any, tmp_path: Path) -> None:
    words = words_of_tiny(tiny_run)
    words["set"] |= {"eta": 0.2}
    file = write(tmp_path / "run.yaml", words)
    result = car("eval", "--config", file, "--limit=1", "--set=eta=0.3")
    assert result.exit_code == 0, result.stderr
    header = RunDirectory(tiny_run.out).read_header()
    assert (header.counts.n_total, header.config["eta"], header.config["theta"]) == (1, 0.3, 0.049)
    assert header.request == {
        **{key: words[key] for key in ("benchmark", "weights", "device")},
        "set": {**words["set"], "eta": 0.3},
        "limit": 1,
    }
    other = write(tmp_path / "other.yaml", {**words, "benchmark": "voc99", "limit": 1})
    named = car("eval", "voc21", "--config", other, "--set=eta=0.3")
    assert "all samples are already done" in named.stderr
    stale = car(*tiny_run.arguments("--limit=1"))  # nothing of the file is left
    assert "config.eta is 0.3 there, 0.4 now" in stale.stderr


def test_every_kind_of_option_can_be_in_the_file(tmp_path: Path) -> None:
    words = {"benchmark": "mini-voc", "fresh": True, "limit": 3, "actor_cpus": 2, "out": "o", "names": "dataset"}
    file = write(tmp_path / "run.yaml", {**words, "save-proposals": True, "track": ["a", "b"], "split": None})
    command: Any = typer.main.get_command(app)
    read = command.commands["eval"].make_context("eval", ["--config", str(file), "--limit=2"]).params
    assert {name: read[name] for name in words} == {**words, "limit": 2, "out": Path("o")}
    assert (read["save_proposals"], read["split"], read["workers"]) == (True, None, 2)


def edit(path: Path, **changes: Any) -> None:
    header = json.loads((path / "run.json").read_text()) | changes
    header["identity"] = identity_of(header["identity_fields"])
    (path / "run.json").write_text(json.dumps(header))


def test_a_run_again_is_the_same_run_elsewhere(tiny_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = car("eval", "--config", write(tmp_path / "run.yaml", words_of_tiny(tiny_run)))
    before = (tiny_run.out / "run.json").read_bytes()
    again = car("rerun", tiny_run.out, "--data-root", tiny_run.data_root)
    assert (first.exit_code, again.exit_code) == (0, 0), again.stderr
    header = RunDirectory(tiny_run.out).read_header()
    [made] = Path("results/runs").glob("voc21-*")
    assert made.name.endswith(header.identity[:12])
    assert RunDirectory(made).read_header().identity == header.identity
    assert records(made) == records(tiny_run.out)
    assert (tiny_run.out / "run.json").read_bytes() == before
    assert "differs" not in again.stderr
    there = car("rerun", made, "--data-root", tiny_run.data_root)
    assert there.exit_code == 0, there.stderr
    assert records(made.with_name(f"{made.name}-rerun")) == records(made)

    # The printed file is the same run; options change it.
    printed = car("rerun", tiny_run.out, "--print", "--data-root", tiny_run.data_root, "--set=eta=0.5")
    words = strict_yaml.loads(printed.stdout)
    assert words == {
        **header.request,
        "set": {**header.request["set"], "eta": 0.5},
        "data_root": str(tiny_run.data_root),
        "device": "cpu",
    }

    # What differs here, a line each; a run of an older version says less, but the same.
    fields = {**header.identity_fields, "code": "0" * 64}
    fields["packages"] = {**fields["packages"], "numpy": "1.0"}
    fields["weights"] = [{**entry, "weights": entry["role"]} for entry in fields["weights"]]
    environment = {**header.environment.model_dump(), "packages": fields["packages"], "device": "NVIDIA H200"}
    edit(tiny_run.out, identity_fields=fields, environment=environment, request={})
    old = car("rerun", tiny_run.out, "--data-root", tiny_run.data_root, "--weights=random:1", "--out=old", "--limit=2")
    assert old.exit_code == 0, old.stderr
    differing = [line.split()[2] for line in old.stderr.splitlines() if line.startswith("notice: differs: ")]
    named = ["code", "device", "packages.car-eval", "packages.numpy"]
    assert sorted(differing) == sorted([*named, "weights.classifier.weights", "weights.proposal.weights"])
    assert records(Path("old")) == records(made)


def test_a_run_again_says_what_is_not_at_hand(tiny_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert car(*tiny_run.arguments("--limit=1")).exit_code == 0
    header = RunDirectory(tiny_run.out).read_header()

    def refused(*arguments: str) -> str:
        result = car("rerun", tiny_run.out, *arguments)
        assert (result.exit_code, result.stderr.count("error: ")) == (2, 1), result.stderr
        return result.stderr.splitlines()[-1]

    expected = "expected the files of the run, which run.json names without their folders, found none"
    assert refused() == f"error: --data-root: {expected}"
    edit(tiny_run.out, request={**header.request, "weights": "ViT.pt"})
    assert refused() == f"error: --weights (ViT.pt) and --data-root: {expected}"
    edit(tiny_run.out, request={"benchmark": "own-folders"})
    assert refused() == f"error: --images, --masks and --classes: {expected}"
    edit(tiny_run.out, request={"benchmark": ["voc21"]})
    assert "run.json: request: benchmark: expected text, found" in refused()
    edit(tiny_run.out, request={"bench": 1})
    assert "run.json: request: bench: expected a field" in refused()
    for word in ("out", "data_root", "engine", "address", "track", "fresh", "images"):  # of a stranger's run
        edit(tiny_run.out, request={word: "x"})
        assert f"run.json: request: {word}: expected a field" in refused()
    (tiny_run.out / "suite.json").write_text(json.dumps({"suite": "s", "title": "t", "runs": {"a": "a"}}))
    assert "holds several runs: name one of" in refused()


@pytest.mark.parametrize("shown", [["rerun", "--help"], ["eval", "--help"]])
def test_help_needs_no_run(shown: Sequence[str]) -> None:
    assert car(*shown).exit_code == 0


def test_runs_of_older_versions_are_inferred(tiny_run: Any) -> None:
    from evaluation import evaluate

    options = tiny_run.options(limit=3, names="dataset", precision="bfloat16", profile="paper", shard=(1, 2))
    header = evaluate(options).header
    whole = request_of_run(header)
    old = request_of_run(header.model_copy(update={"request": {}}))
    assert whole == request_of_run(header)
    for name in ("benchmark", "profile", "names", "precision", "shard", "settings"):
        assert getattr(old, name) == getattr(whole, name), name
    assert (set(old.weights.values()), old.split) == ({"random:1"}, "val")
    unnamed = {name: value for name, value in header.request.items() if name != "device"}
    for found, request, device in (
        ("cpu", {}, "cpu"),  # the default of older versions
        ("mps", {}, "mps"),
        ("NVIDIA H200", {}, "auto"),
        ("cpu", {"device": "cuda:1"}, "cuda:1"),
    ):
        there = header.environment.model_copy(update={"device": found})
        changes = {"environment": there, "request": {**unnamed, **request}}
        assert request_of_run(header.model_copy(update=changes)).device == device
