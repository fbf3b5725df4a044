"""Runs in a notebook: one area of a cell's output, drawn anew in its place; plain text where there is no notebook."""
