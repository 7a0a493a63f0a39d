"""The Ray session: started or joined, and refused where a run would hang; and every reach into Ray's private parts.

Names are loaded when they are first asked for: reading a run's folder needs ray_internals, and not Ray.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed.cluster.preflight import check_every_node
    from distributed.cluster.session import start_ray

__all__ = ["check_every_node", "start_ray"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{'session' if name == 'start_ray' else 'preflight'}"), name)
