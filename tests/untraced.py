"""The environment for launches that coverage does not trace, for the time that CI has: others trace the same code.

Within the process, tests marked ``no_cover`` (pytest-cov's mark) are the same: tracing makes them twice as long, and
others reach the same lines.
"""

import os
import sys
from pathlib import Path

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}

LAUNCH = str(Path(sys.executable).parent / "accelerate-launch")
"""``accelerate launch`` without accelerate's other commands, whose imports take half as long again."""
