"""`rdl pretrain --init-from` as people use it next month: new rows with a category that the model does not know."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from relbench.load import RelBenchDataset

from distributed.__main__ import main
from rdl_core.checkpoint_files import weights_digest
from rdl_core.graph.schema import Schema
from rdl_core.graph.store import Store
from rdl_core.model.checkpoint import from_pretrained, save_pretrained
from rdl_core.pretraining import pretrain_here, pretrained_checkpoint
from tests.distributed.small_runs import small_config

NEW = 99


def next_month(data: Path, out: Path) -> Path:
    """The dataset with more lines of orders before the cutoff, of a quantity that was not there."""
    shutil.copytree(data, out)
    path = out / "db" / "order_line.parquet"
    rows = pq.read_table(path)
    place = rows.column_names.index("quantity")
    more = rows.slice(0, 5).set_column(place, rows.schema.field(place), pa.array([NEW] * 5, rows.schema.types[place]))
    pq.write_table(pa.concat_tables([rows, more]), path)
    return out


def quantities(schema: Schema) -> tuple[str, ...]:
    return next(c.categories for c in schema.tables["order_line"].columns if c.name == "quantity")


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session", "one_thread")
def test_the_command_goes_on_from_a_model_and_gives_a_new_category_a_slot(
    nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_config(max_steps=2)
    trained, state = pretrain_here(nasty_store, config)
    begun = save_pretrained(
        tmp_path / "model", pretrained_checkpoint(trained.state_dict(), nasty_store, config, state, future=None)
    )
    data = next_month(nasty_dataset.dataset_dir, tmp_path / "nasty")
    words = [
        *("pretrain", "--data", str(data), "--runs-dir", str(tmp_path / "runs"), "--init-from", str(begun), "--json"),
        *("--preset", "contrast", "--max-steps", "2", "--validation-interval-steps", "2", "--validation-samples", "3"),
        *("--config.sampling.seeds-per-sample", "4", "--config.sampling.rows-per-hop", "6", "--samples-per-step", "2"),
        *("--config.sampling.num-hops", "2", "--wandb", "False"),
    ]
    status = main(words)
    out, err = capsys.readouterr()
    assert status == 0, err
    assert "order_line.quantity: 1 categories came after the first pretraining" in " ".join(err.split())
    before, after = (from_pretrained(f, kind="pretrained") for f in (begun, json.loads(out)["checkpoint"]))
    assert quantities(after.schema) == (*quantities(before.schema), str(NEW))
    assert after.about["init_from"] == weights_digest(begun)
    grown = {
        n: (before.weights[n].shape, w.shape) for n, w in after.weights.items() if w.shape != before.weights[n].shape
    }
    assert [new[0] - old[0] for old, new in grown.values()] == [1], grown
