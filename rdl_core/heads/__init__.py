"""Models on columns beside the network: linear, LightGBM, and a weighted blend, chosen on folds inside train."""
