"""PositionalEncoding against PyG's, which a process of a run must not load."""

from __future__ import annotations

import subprocess
import sys

import torch
import torch_geometric.nn

from rdl_core.model.positional_encoding import PositionalEncoding
from tests import own_environment


def test_bits_and_state_equal_pygs() -> None:
    ours, theirs = PositionalEncoding(32), torch_geometric.nn.PositionalEncoding(32)
    ages = torch.cat([torch.zeros(1), torch.rand(100) * 5_000, torch.full((1,), -1.0)])
    assert torch.equal(ours(ages), theirs(ages))
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert torch.equal(ours.frequency, theirs.frequency)


def test_processes_of_a_run_do_not_load_pyg() -> None:
    code = "import distributed.training.train_loop, distributed.sampling.sampler, sys; print('torch_geometric' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=own_environment(), capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
