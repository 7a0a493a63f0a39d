"""Sweeps over pretraining settings with Ray Tune; the top layer: tune -> distributed -> rdl_core."""
