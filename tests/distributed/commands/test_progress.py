"""A store that is being made says in a log how far it is and how fast."""

from __future__ import annotations

from pathlib import Path

import pytest
from relbench.load import RelBenchDataset

from distributed.commands import progress
from rdl_core.graph.materialization import materialize
from rdl_core.graph.store import Store


def test_a_log_has_lines_with_rows_share_and_rate(
    nasty_dataset: RelBenchDataset,
    nasty_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(progress, "LOG_INTERVAL_S", 0.0)
    shares: list[float] = []
    with progress.materializing(nasty_dataset) as (show, advance):

        def counted(rows: float) -> None:
            shares.append(rows)
            advance(rows)

        materialize(nasty_dataset, tmp_path, progress=show, advance=counted)
    num_rows = sum(table.num_rows for table in nasty_store.schema.tables.values())
    assert sum(shares) == pytest.approx(num_rows)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("materializing: ")]
    assert len(lines) == len(shares)
    assert f"materializing: {num_rows} of {num_rows} rows (100%), " in lines[-1] and "rows/s, last: " in lines[-1]
