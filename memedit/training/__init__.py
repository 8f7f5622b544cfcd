"""How the shipped models were made: one module per model, each runnable with `python -m`."""
