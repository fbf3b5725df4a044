"""``python -m hf_monitor``: the command line where the script ``hf-monitor`` is not on the path."""

import sys

from hf_monitor.cli import main

if __name__ == "__main__":
    sys.exit(main())
