"""What people see of an import: its findings, the leakage check, the labels of its tasks, and report.html."""
