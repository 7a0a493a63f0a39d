"""Contrastive pretraining on relational databases, in one process: no Ray, no torch.distributed."""

__version__ = "0.1.0"
