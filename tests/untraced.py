"""The environment for launches that coverage does not trace, for the time that CI has: others trace the same code."""

import os

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
