"""W&B as a mirror of a run folder: a process of its own reads the folder and tells W&B, no step waits for it.

``mirror.py`` is the training's end of it, ``process.py`` the other process, ``follow.py`` what both hosts share: read
what is new in the folder (``metrics.jsonl``, ``predictions.jsonl``, ``train.log``, orders in ``wandb.jsonl``) and apply
it to an open wandb run (``apply.py``, ``translate.py``). Whatever becomes of W&B, the folder has it all, and what the
server lacks can be sent from it again.
"""
