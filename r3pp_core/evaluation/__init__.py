"""Evaluation: metrics, intervals, scoring of prediction files, plots and the report page."""
