"""Tests, and what they share."""

import os
import sys
from pathlib import Path

# Containers often forbid byte code. Then every process that a test starts compiles all that it
# imports, which is half of a worker's start. So byte code is kept all the same, with pytest's cache
# and not beside the sources.
if sys.dont_write_bytecode:
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.pycache_prefix = str(Path(__file__).parents[1] / ".pytest_cache" / "byte_code")
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
