"""Faults on real processes and hosts: kills, cut links, killed nodes."""
