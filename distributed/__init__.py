"""Ray Data, Ray Train and torch.distributed around rdl_core. (Not Dask's `distributed`: see preflight.py.)"""
