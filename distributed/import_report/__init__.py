"""The view that people have of an import: its findings, the leakage check, the labels of its tasks, and report.html."""
