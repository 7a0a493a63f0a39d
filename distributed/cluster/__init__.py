"""The Ray session: started or joined, and refused where a run would hang; and every reach into Ray's private parts.

Nothing is imported here, since reading a run's folder needs ray_internals.py, and not Ray: session.py has `start_ray`, preflight.py the checks.
"""
