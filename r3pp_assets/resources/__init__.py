"""Reusable resources: the workspace, and the launchers."""
