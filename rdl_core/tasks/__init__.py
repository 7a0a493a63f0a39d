"""Entity tasks on a backbone: scratch, frozen and fine-tuned."""
