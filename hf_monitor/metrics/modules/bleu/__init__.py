"""Folder of the `evaluate` module ``bleu``; load it with ``evaluate.load``, do not import it."""
