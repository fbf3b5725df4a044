"""Sections of the report: each makes plain data out of a run, which a template of the same name shows."""
