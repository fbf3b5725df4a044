"""Sections of the report: each makes plain data out of a run, which a template of the same name shows.

``sections/<name>.py`` has ``<name>(material)``, which gives a dataclass, or None where there is nothing to show.
``templates/sections/<name>.html`` shows it as ``section``: what stands below its ``<h2>``, which the page itself
writes.
"""
