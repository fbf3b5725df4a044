"""Folder of the `evaluate` module ``rouge``; load it with ``evaluate.load``, do not import it."""
