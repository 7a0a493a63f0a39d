"""Sweeps over pretraining settings with Ray Tune; the top layer: tune -> distributed -> rdl_core.

From Python: `tune.sweep.run_sweep(plan)` runs a `tune.sweep_plan.SweepPlan`; `tune.results.read_sweep(folder)` reads what it found. Nothing is
imported here, so that `python -m tune --help` and refusals load neither torch nor Ray.
"""
