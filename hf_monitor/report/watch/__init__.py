"""hf-monitor watch: a run on its way, in a terminal."""
