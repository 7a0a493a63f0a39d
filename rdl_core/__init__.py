"""Contrastive pretraining on relational databases, in one process: no Ray, no torch.distributed."""
