"""Lines that `pretrain` and `finetune` print while they work, one per validation; any function of the same arguments may take its place."""

from __future__ import annotations

from rdl_core.pretraining import TrainState


def print_report(state: TrainState, metrics: dict[str, float], is_best: bool) -> None:
    """Prints the figures of a validation of pretraining; 1.00 is chance.

    Args:
        state: The state of the run; `state.history` has all validations.
        metrics: Figures by name.
        is_best: Whether the loss is the lowest so far.
    """
    prefix = "validation/"
    losses = [f"{name.removeprefix(prefix)} {value:.3f}" for name, value in metrics.items() if name.startswith(prefix)]
    print(f"step {state.step:>5}  validation {', '.join(losses)}{'  best so far' if is_best else ''}", flush=True)


def print_validation(step: int, metric: float) -> None:
    """Prints the task's metric on validation after a step of fine-tuning."""
    print(f"step {step:>5}  validation {metric:.4f}", flush=True)
