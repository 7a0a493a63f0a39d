"""`rdl embed` and `rdl nearest` as people use them, in this process: what is written and said, going on after a stop, refusals of one screen."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from relbench.load import RelBenchDataset

from distributed.__main__ import main
from distributed.commands.command_line import parse
from distributed.embedding.options import COMMANDS
from distributed.embedding.parallel import for_workers, write_here, write_in_parallel
from rdl_core.config import FinetuningConfig, TemporalSamplingConfig
from rdl_core.embedding import Embedding
from rdl_core.graph.store import Store
from rdl_core.model.checkpoint import from_pretrained, save_pretrained
from rdl_core.timestamps import seconds_of
from tests.nasty_database import VAL
from tests.rdl_core.embedding.small_models import READS_STATISTICS, job, saved_model

pytestmark = pytest.mark.usefixtures("one_thread")
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def model(nasty_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_model(nasty_store, READS_STATISTICS, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def words(
    nasty_dataset: RelBenchDataset, nasty_store: Store, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """A command that embeds teams, but for --out."""
    runs = str(tmp_path_factory.mktemp("runs"))
    places = [
        "--data",
        str(nasty_dataset.dataset_dir),
        "--runs-dir",
        runs,
        "--stores-dir",
        str(nasty_store.path.parent),
    ]
    return ["embed", *places, "--checkpoint", str(model), "--table", "teams", "--json"]


def test_workers_get_absolute_paths_and_a_name_on_the_hub_as_it_is(
    nasty_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    here = job(Path("hub/data"), nasty_store, Path("model"), Path("out"), "teams")
    seen = for_workers(here)
    assert (seen.checkpoint, seen.out, seen.data) == (str(tmp_path / "model"), str(tmp_path / "out"), "hub/data")
    assert for_workers(dataclasses.replace(here, checkpoint="acme/shop@v1")).checkpoint == "acme/shop@v1"


def done(capsys: Captured, *arguments: str) -> tuple[dict[str, Any], str]:
    """The result of a command that must succeed, and what it said."""
    capsys.readouterr()
    status = main(list(arguments))
    out, err = capsys.readouterr()
    assert status == 0, err
    return json.loads(out.splitlines()[-1]), err


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_embed_writes_a_folder_says_how_fast_and_goes_on_where_it_was_stopped(
    words: list[str], tmp_path: Path, capsys: Captured
) -> None:
    out = tmp_path / "out"
    result, said = done(capsys, *words, "--out", str(out))
    assert "left out: 1 rows of unknown time" in said  # team 10, which nothing refers to
    assert (result["rows"], result["left_out"], result["path"]) == (11, {"of unknown time": 1}, str(out))
    assert result["rows_per_s"] > 0 and result["peak_rss_bytes"] > 100_000_000
    assert json.loads((Path(result["run"]) / "result.json").read_text()) == result
    assert pq.read_table(out)["team_id"].to_pylist() == [*range(10), 11]
    whole = files(out)
    (out / "part-000000.parquet").unlink()
    result, _ = done(capsys, *words, "--out", str(out))
    assert result["parts_written"] == 1 and files(out) == whole
    result, said = done(capsys, *words, "--out", str(out))
    assert (result["parts_written"], result["rows"], result["rows_per_s"]) == (0, 11, None)
    assert "1 of 1 parts are there already" in said


def test_nearest_prints_the_keys_of_the_nearest_rows(words: list[str], tmp_path: Path, capsys: Captured) -> None:
    done(capsys, *words, "--out", str(tmp_path / "out"))
    result, said = done(capsys, "nearest", "--embeddings", str(tmp_path / "out"), "--key", "3", "--top", "4", "--json")
    assert len(result["nearest"]) == 4 and result["key"] == ["3"]
    for near in result["nearest"]:
        assert f"{near['similarity']:8.4f}  {near['key']['team_id']}" in said


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--table", "staff"], "table 'staff' expected one of: categories, teams"),
        (["--table", "ticket"], "has no key of its own, so its rows have no names. Remedy: --row-numbers"),
        (["--at", "1800-01-01"], "no row of table 'teams' exists before 1800-01-01T00:00:00 UTC: 1 of unknown time, 11 later"),
        (["--at", "soon"], "expected a time, got 'soon'"),
        (["--each-row-at", "country"], "expected a column of times (founded), got a column of string"),
        (["--checkpoint", "nowhere/at/all"], "nowhere/at/all"),
        (["--to", "sqlite:///x.db"], "expected a PostgreSQL database"),
        (["--out", "."], "holds something else than embeddings; choose another --out"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_and_leaves_no_folder(
    words: list[str], more: list[str], expected: str, tmp_path: Path, capsys: Captured
) -> None:
    assert main([*words, "--out", str(tmp_path / "out"), *more]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "Traceback" not in err and len(err.splitlines()) < 15
    assert expected in " ".join(err.split())
    assert not (tmp_path / "out").exists()


def test_embeddings_of_another_time_are_not_mixed_in(words: list[str], tmp_path: Path, capsys: Captured) -> None:
    done(capsys, *words, "--out", str(tmp_path / "out"))
    before = files(tmp_path / "out")
    assert main([*words, "--out", str(tmp_path / "out"), "--at", "2020-06-02"]) == 2
    assert "holds embeddings of another run (there -> now): at_s:" in " ".join(capsys.readouterr().err.split())
    assert files(tmp_path / "out") == before


def test_a_pretrained_models_trees_are_as_deep_as_it_has_layers(
    nasty_store: Store, model: Path, tmp_path: Path
) -> None:
    flat = saved_model(nasty_store, dataclasses.replace(READS_STATISTICS, num_layers=0), tmp_path)
    for checkpoint, neighbours in ((model, (24, 8)), (flat, ())):
        words = ["--table", "teams", "--out", "x", "--checkpoint", str(checkpoint)]
        assert parse(COMMANDS["embed"], words, "test").sampling.num_neighbors == neighbours


def test_a_fine_tuned_model_embeds_with_its_own_trees(nasty_store: Store, model: Path, tmp_path: Path) -> None:
    sampling = TemporalSamplingConfig(num_neighbors=(7, 3), strategy="uniform")
    about = {"finetuning": dataclasses.asdict(FinetuningConfig(sampling=sampling))}
    tuned = dataclasses.replace(from_pretrained(model), kind="finetuned", about=about)
    save_pretrained(tmp_path / "tuned", tuned)
    words = ["--table", "teams", "--out", "x", "--checkpoint", str(tmp_path / "tuned")]
    assert parse(COMMANDS["embed"], words, "test").sampling == sampling
    assert parse(COMMANDS["embed"], [*words, "--sampling.strategy", "recent"], "test").sampling.strategy == "recent"


@pytest.mark.ray
def test_two_workers_write_the_same_bytes_as_one(
    ray_session: None, nasty_dataset: RelBenchDataset, nasty_store: Store, model: Path, tmp_path: Path
) -> None:
    of_match = job(nasty_dataset.dataset_dir, nasty_store, model, tmp_path / "one", "match", at_s=seconds_of(VAL))
    embedding = Embedding(of_match)
    parts = embedding.begin().missing_parts()
    rows = [written.rows for written in write_here(embedding, parts)]
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    two = dataclasses.replace(of_match, out=str(tmp_path / "two"))
    missing = parts[1:]
    for part in missing:
        (tmp_path / "two" / f"part-{part:06d}.parquet").unlink()
    written = list(write_in_parallel(two, missing, workers=2))
    assert sorted(part.rows for part in written) == sorted(rows[1:])
    assert all(part.peak_rss_bytes > 100_000_000 for part in written)
    assert files(tmp_path / "two") == files(tmp_path / "one")
