"""Pictures as files: drawn without a screen, written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from rdl_core.atomic_write import replace_file


def save_figure(figure: Figure, path: Path) -> Path:
    """Writes a figure as a PNG and closes it; returns the path."""
    with replace_file(path) as partial:
        figure.savefig(partial, dpi=120)
    plt.close(figure)
    return path
