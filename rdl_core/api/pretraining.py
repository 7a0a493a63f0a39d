"""A store to a pretrained model, in this process; `rdl pretrain` does the same over workers, with checkpoints to go on from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rdl_core.api.model import PretrainedModel
from rdl_core.api.progress import print_report
from rdl_core.config import PRESETS, Preset, PresetName, PretrainingConfig
from rdl_core.graph.store import Store
from rdl_core.pretraining import Report, pretrain_here, pretrained_checkpoint


def pretrain(
    store: Store,
    preset_or_config: PresetName | Preset | PretrainingConfig = "robust",
    *,
    seed: int = 0,
    max_steps: int | None = None,
    out: Path | str | None = None,
    on_report: Report | None = print_report,
) -> PretrainedModel:
    """Pretrains a backbone on all rows up to the store's cutoff, without labels; returns it with the weights that were best on validation.

    Args:
        store: From `materialize`.
        preset_or_config: A preset, its name, or all settings of pretraining.
        seed: All that is random follows from it; the same seed gives the same weights.
        max_steps: Most updates; None: as the preset says.
        out: Folder that the model is written to, which `load_model` and every command of `rdl` read; None: nothing is written.
        on_report: Called after each validation with (state, metrics, whether it is the best so far); by default it prints. None: silence.

    Raises:
        ValueError: There is no such preset, `out` is a file, or the store has nothing that the preset can ask of it.
        FloatingPointError: The loss is not finite.
    """
    config = replace(_pretraining_of(preset_or_config), seed=seed)
    if max_steps is not None:
        config = replace(config, max_steps=max_steps)
    refuse_file(out)
    report: Report = on_report or (lambda state, metrics, is_best: None)
    trained, state = pretrain_here(store, config, on_report=report)
    checkpoint = pretrained_checkpoint(trained.state_dict(), store, config, state, future=trained.future_targets)
    model = PretrainedModel(checkpoint)
    if out is not None:
        model.save_pretrained(out)
    return model


def preset_of(preset: PresetName | Preset) -> Preset:
    """Returns a preset by its name, or itself.

    Raises:
        ValueError: There is none of this name.
    """
    if isinstance(preset, Preset):
        return preset
    if preset not in PRESETS:
        raise ValueError(f"no preset {preset!r}; expected one of {', '.join(map(repr, PRESETS))}")
    return PRESETS[preset]()


def refuse_file(out: Path | str | None) -> None:
    """Raises ValueError if a model cannot be written to `out`, since it is a file."""
    if out is not None and Path(out).is_file():
        raise ValueError(f"out={str(out)!r} is a file; a model is a folder. Remedy: another name")


def _pretraining_of(preset_or_config: PresetName | Preset | PretrainingConfig) -> PretrainingConfig:
    if isinstance(preset_or_config, PretrainingConfig):
        return preset_or_config
    return preset_of(preset_or_config).pretraining
