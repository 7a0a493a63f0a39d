"""Cells to row vectors to messages: the backbone, its parts that can be exchanged (row encoders, aggregations), and its checkpoints."""

from rdl_core.model.aggregation import Aggregation, Mean, Sum, TemporalKernels, TimeAttention
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.model.checkpoint import Checkpoint, from_pretrained, save_pretrained
from rdl_core.model.message_passing import RelationalLayer
from rdl_core.model.row_encoder import ConstantRow, FoldedResNet, LinearRow, frame_arguments, make_row_encoder

__all__ = [
    "Aggregation",
    "Checkpoint",
    "ConstantRow",
    "FoldedResNet",
    "LinearRow",
    "Mean",
    "RelationalEncoder",
    "RelationalLayer",
    "Sum",
    "TemporalKernels",
    "TimeAttention",
    "frame_arguments",
    "from_pretrained",
    "make_row_encoder",
    "save_pretrained",
]
