"""FLOPs that one pretraining step needs, product by product: 2 m k n of every matrix product, forward and backward.

Counted for the best order of multiplications that we know (columns folded into the first map, products on the side of a key with fewer rows, one
logits matrix a key), so that waste is not called work. With n_t rows of table t in both views, n'_t = n_t / 2, d channels:

  cells     per column of h numbers, o outputs of all maps, n = n_t: the lesser of
              folded: 2 (3 h d o + 2 n h o), the cells themselves need no gradient (a category's numbers cost nothing: they pick)
              made:   2 (2 n h d + 3 n d o)
  blocks    (2 blocks - 1 + 1) products of 2 n_t d^2, three times (forward, both gradients)
  layer     2 d^2 (n_t + sum over edge types into t of min(rows of both ends)), three times
  row       2 n_t d^2 for both sides and 2 n'_t^2 d for logits, three times
  link      2 n'_parent d^2 and 2 n'_parent n'_child d per key, three times
  context   2 n'_t d^2 and 2 n'_t^2 d, three times
"""

from __future__ import annotations

from rdl_core.config import PretrainingConfig, ResNetRows
from rdl_core.graph.store import Store
from rdl_core.sampling.subgraph import Subgraph

TIME_NUMBERS = 57


def step_flops(store: Store, config: PretrainingConfig, subgraph: Subgraph) -> dict[str, float]:
    """{part: FLOPs} of one sample in the paper's form of the losses."""
    d, rows = config.backbone.channels, config.backbone.rows
    view = {t: float(n) for t, n in subgraph.num_rows.items()}
    both = {t: 2 * n for t, n in view.items()}
    flops = dict.fromkeys(("cells", "blocks", "layer", "row", "link", "context"), 0.0)
    o = d * (2 if isinstance(rows, ResNetRows) else 1)
    for table, schema in store.schema.tables.items():
        n = both[table]
        for column in schema.columns:
            if column.stype == "categorical":
                h = len(column.categories)
                flops["cells"] += 2 * min(3 * h * d * o, 3 * n * d * o)
                continue
            h = {"numerical": 2, "timestamp": TIME_NUMBERS}.get(column.stype, column.channels + 1)
            flops["cells"] += 2 * min(3 * h * d * o + 2 * n * h * o, 2 * n * h * d + 3 * n * d * o)
        if isinstance(rows, ResNetRows):
            flops["blocks"] += 3 * 2 * rows.num_layers * 2 * both[table] * d * d
    keys = [(both[child], both[parent]) for child, _, parent in store.graph.edge_types]
    per_layer = sum(both.values()) + sum(2 * min(ends) for ends in keys)
    flops["layer"] = 3 * config.backbone.num_layers * 2 * d * d * per_layer
    flops["row"] = 3 * sum(2 * both[t] * d * d + 2 * n * n * d for t, n in view.items())
    flops["context"] = 3 * sum(2 * n * d * d + 2 * n * n * d for n in view.values())
    flops["link"] = 3 * sum(
        2 * view[parent] * d * d + 2 * view[parent] * view[child] * d for child, _, parent in store.graph.edge_types
    )
    return flops
