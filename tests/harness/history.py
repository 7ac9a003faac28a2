"""Lists ranges of revisions as `alembic history` does.

    history.py CONFIG RANGE...

Prints a JSON object: for each range the lines, or null where Alembic refuses it.
"""

import contextlib
import io
import json
import sys

from alembic import command
from alembic.config import Config

result = {}
for rev_range in sys.argv[2:]:
    output = io.StringIO()
    config = Config(sys.argv[1], stdout=output)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            command.history(config, rev_range=rev_range)
    except Exception:  # Alembic does not catch all that is wrong with a range
        result[rev_range] = None
    else:
        result[rev_range] = output.getvalue()
json.dump(result, sys.stdout)
