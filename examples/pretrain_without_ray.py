"""Pretraining in one process, without Ray: what rdl_core alone does. `python -m examples.pretrain_without_ray [DATA] [STEPS]`"""

import sys
from dataclasses import replace
from pathlib import Path

from rdl_core.config import robust
from rdl_core.database import open_dataset
from rdl_core.graph import materialize
from rdl_core.model import save_pretrained
from rdl_core.pretraining import pretrain_here, pretrained_checkpoint

data, steps = (*sys.argv[1:], *("data/shop", "100")[len(sys.argv) - 1 :])
store = materialize(open_dataset(data), Path("runs/stores"))
config = replace(robust().pretraining, max_steps=int(steps), validation_samples=10)
model, state = pretrain_here(store, config, on_report=lambda state, metrics, is_best: print(state.step, metrics))
print(save_pretrained(Path("runs/without_ray"), pretrained_checkpoint(model.state_dict(), store, config, state)))
