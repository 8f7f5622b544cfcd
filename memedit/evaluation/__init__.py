"""Evaluation: what a user gets of an editing method, measured by one command for all of them.

    cases (memedit.datasets) ─► protocol ─► system: edit, ask, undo ─► one JSON line per case ─► rows ─► report

Nothing here knows how a method works: `systems.py` holds the seam, with entries for the unedited model, the memory and
every weight-changing method; `metrics.py` says what each figure is; `run.py` keeps the record so that a run killed at
any point goes on where it was.
"""
