"""Every setting of a run, as frozen dataclasses that check themselves, and the presets.

Loads no torch, so that a command line can be described and refused at once.
"""

from rdl_core.config.corruption import CorruptionConfig
from rdl_core.config.decoding import changed, checked, decode
from rdl_core.config.finetuning import Arm, FinetuningConfig, LinkConfig, Regime, check_arm
from rdl_core.config.future import FutureConfig
from rdl_core.config.heads import HEADS, BoostingConfig, CalibrationName, HeadName, HeadsConfig, LinearConfig
from rdl_core.config.loss import LossConfig
from rdl_core.config.model import (
    AggregationConfig,
    AggregationKind,
    BackboneConfig,
    FTTransformerRows,
    LinearRows,
    MeanAggregation,
    ResNetRows,
    RowsConfig,
    RowsKind,
    SumAggregation,
    TemporalKernelsAggregation,
    TimeAttentionAggregation,
)
from rdl_core.config.presets import PRESETS, Preset, PresetName, contrast, paper, robust
from rdl_core.config.pretraining import PRETRAINING_LEVELS, Level, Precision, PretrainingConfig
from rdl_core.config.registered import register_gnn, register_row_encoder
from rdl_core.config.sampling import HGSamplingConfig, TemporalSamplingConfig
from rdl_core.config.statistics import ColumnsConfig, StatisticsConfig
from rdl_core.config.store import StoreConfig

__all__ = [
    "HEADS",
    "PRESETS",
    "PRETRAINING_LEVELS",
    "AggregationConfig",
    "AggregationKind",
    "Arm",
    "BackboneConfig",
    "BoostingConfig",
    "CalibrationName",
    "ColumnsConfig",
    "CorruptionConfig",
    "FTTransformerRows",
    "FinetuningConfig",
    "FutureConfig",
    "HGSamplingConfig",
    "HeadName",
    "HeadsConfig",
    "Level",
    "LinearConfig",
    "LinearRows",
    "LinkConfig",
    "LossConfig",
    "MeanAggregation",
    "Precision",
    "Preset",
    "PresetName",
    "PretrainingConfig",
    "Regime",
    "ResNetRows",
    "RowsConfig",
    "RowsKind",
    "StatisticsConfig",
    "StoreConfig",
    "SumAggregation",
    "TemporalKernelsAggregation",
    "TemporalSamplingConfig",
    "TimeAttentionAggregation",
    "changed",
    "check_arm",
    "checked",
    "contrast",
    "decode",
    "paper",
    "register_gnn",
    "register_row_encoder",
    "robust",
]
