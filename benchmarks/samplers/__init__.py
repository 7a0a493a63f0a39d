"""Samplers beside their peers."""
