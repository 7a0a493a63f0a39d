"""Checks that a device computes what the CPU does, and the same bits each time; benchmarks/gpu.py runs them before it measures anything.

Differences are norms of the difference over those of the reference: in float64 of each tensor (of a gradient that is nearly zero everywhere, over
a thousandth of the largest gradient's norm), in float32 of each value and of the whole gradient. A ReLU whose input is zero to rounding may open
on one device and not on the other, so float32 may differ between devices by as much as it differs from float64 on the CPU, which is printed as the
tolerance where it is more than 1e-4. In pretraining dropout is on: its masks are functions of the sample, so both devices draw the same.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu_inputs import pretraining_batch, task_batch
from rdl_core.communicator import SingleProcess
from rdl_core.config import PretrainingConfig, contrast, paper
from rdl_core.graph.store import Store
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.model.dropout import KeyedDropout
from rdl_core.optimizer import make_optimizer
from rdl_core.pretraining.loop import train_step
from rdl_core.pretraining.model import PretrainingModel
from rdl_core.tasks.model import TaskModel

CPU = torch.device("cpu")
FLOAT64_TOLERANCE, FLOAT32_TOLERANCE = 1e-9, 1e-4
STEPS = 4
CONFIGS: dict[str, Callable[[], PretrainingConfig]] = {
    "paper_resnet": lambda: paper().pretraining,
    "contrast_linear": lambda: contrast().pretraining,
    "contrast_attention": lambda: with_kinds(contrast().pretraining, aggregation="time_attention"),
    "contrast_ft_transformer": lambda: with_kinds(contrast().pretraining, rows="ft_transformer"),
}


def with_kinds(config: PretrainingConfig, **kinds: str) -> PretrainingConfig:
    """Returns the configuration with other kinds of rows or aggregation."""
    return replace(config, backbone=config.backbone.of_kind(**kinds))  # type: ignore[arg-type]


def check_device(store: Store, device: torch.device, names: Iterable[str] = CONFIGS) -> dict[str, dict[str, Any]]:
    """Returns per check of these configurations the largest relative difference, its tolerance and whether it holds; prints each as it is known."""
    checks: dict[str, dict[str, Any]] = {}

    def note(name: str, difference: float, tolerance: float) -> None:
        checks[name] = {"difference": difference, "tolerance": tolerance, "holds": difference <= tolerance}
        print(
            f"{'holds' if difference <= tolerance else 'FAILS'}  {name}: {difference:.1e}, at most {tolerance:.0e}",
            flush=True,
        )

    for name in names:
        config = CONFIGS[name]()
        for kind, run in (("pretraining", pretraining_step), ("fine-tuning", finetuning_step)):
            exact, rounded = (run(store, config, CPU, dtype) for dtype in (torch.float64, torch.float32))
            note(
                f"{kind} {name} float64",
                largest_difference(exact, run(store, config, device, torch.float64)),
                FLOAT64_TOLERANCE,
            )
            tolerance = max(FLOAT32_TOLERANCE, largest_difference(exact, rounded))
            note(
                f"{kind} {name} float32",
                largest_difference(rounded, run(store, config, device, torch.float32)),
                tolerance,
            )
        runs = [weights_after(store, config, device, STEPS) for _ in range(2)]
        note(f"two runs of {name}, bits", float(num_different(*runs)), 0.0)
        resumed = weights_after(store, config, device, STEPS, stop_at=STEPS // 2)
        note(f"resumed {name}, bits", float(num_different(runs[0], resumed)), 0.0)
    return checks


def pretraining_step(
    store: Store, config: PretrainingConfig, where: torch.device, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Returns the losses and gradients of one step."""
    torch.manual_seed(0)
    model = PretrainingModel(store, config).to(where, dtype).train()
    totals, counts, _ = model(pretraining_batch(store, config, range(2)).to(where))
    values = {level: total / counts[level].clamp(min=1) for level, total in totals.items()}
    sum(values.values()).backward()  # type: ignore[union-attr]
    return values | gradients_of(model)


def finetuning_step(
    store: Store, config: PretrainingConfig, where: torch.device, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Returns the predictions and gradients of one step, without dropout."""
    torch.manual_seed(0)
    encoder = RelationalEncoder(store.schema, store.graph.edge_types, config.backbone)
    model = TaskModel(encoder, 64).to(where, dtype).train()
    for module in model.modules():
        if isinstance(module, KeyedDropout):
            module.probability = 0.0
    prediction = model(task_batch(store, 64, (16, 8)).to(where))
    prediction.square().mean().backward()
    return {"prediction": prediction.detach()} | gradients_of(model)


def weights_after(
    store: Store, config: PretrainingConfig, device: torch.device, steps: int, stop_at: int | None = None
) -> bytes:
    """Returns the bytes of the weights after some steps, through a saved state at `stop_at` if there is one."""
    torch.manual_seed(0)
    model = PretrainingModel(store, config).to(device).train()
    optimizer = make_optimizer(model, config.learning_rate)
    for step in range(steps):
        if step == stop_at:
            saved = io.BytesIO()
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, saved)
            saved.seek(0)
            state = torch.load(saved, map_location="cpu", weights_only=True)
            torch.manual_seed(1)
            model = PretrainingModel(store, config).to(device).train()
            optimizer = make_optimizer(model, config.learning_rate)
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
        batch = pretraining_batch(store, config, [step]).to(device)
        train_step(model, batch, optimizer, SingleProcess(), config.gradient_clip_norm)
    return b"".join(w.cpu().numpy().tobytes() for w in model.state_dict().values())


def num_different(first: bytes, second: bytes) -> int:
    """Returns how many bytes differ."""
    return sum(a != b for a, b in zip(first, second, strict=True)) if first != second else 0


def gradients_of(model: torch.nn.Module) -> dict[str, Tensor]:
    """Returns the gradient of each parameter that has one."""
    return {f"gradient of {name}": p.grad for name, p in model.named_parameters() if p.grad is not None}


def largest_difference(expected: Mapping[str, Tensor], got: Mapping[str, Tensor]) -> float:
    """Returns the largest relative difference; see the file's text."""
    assert expected.keys() == got.keys()
    there = {name: x.detach().cpu().double() for name, x in got.items()}
    here = {name: x.detach().cpu().double() for name, x in expected.items()}
    if any(x.dtype == torch.float32 for x in (*expected.values(), *got.values())):
        gradients = [name for name in here if name.startswith("gradient")]
        whole = [torch.cat([side[name].flatten() for name in gradients]) for side in (here, there)]
        values = [float((there[name] - x).norm() / x.norm()) for name, x in here.items() if name not in gradients]
        return max(float((whole[1] - whole[0]).norm() / whole[0].norm()), *values)
    floor = 1e-3 * max(float(x.norm()) for x in here.values())
    return max(float((there[name] - x).norm()) / max(float(x.norm()), floor) for name, x in here.items())
