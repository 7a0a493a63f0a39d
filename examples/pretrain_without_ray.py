"""Pretraining in one process, without Ray: what rdl_core alone does. `python -m examples.pretrain_without_ray [DATA] [STEPS]`"""

import sys

from rdl_core import materialize, open_dataset, pretrain

data, steps = (*sys.argv[1:], *("data/shop", "100")[len(sys.argv) - 1 :])
store = materialize(open_dataset(data))
print(store)
print(pretrain(store, max_steps=int(steps), out="runs/without_ray"))
