"""How long others wait while the types of two columns change: as `ALTER TABLE` does it, and as safemig rewrites it.

    scripts/test.sh --setup && cargo build && target/test-env/sa20/bin/python benches/type_change.py [ROWS]

Three writers and a reader use a table of 2 million rows, unless another number is given, all the time. The longest
time that one of their statements took is printed for both, measured one after the other on the same machine.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    rows = sys.argv[1] if len(sys.argv) > 1 else "2000000"
    print("            longest write   longest read   migration   failed   lost")
    for mode in ("direct", "rewritten"):
        command = [sys.executable, ROOT / "tests/harness/writers.py", ROOT / "target/debug/safemig", rows, mode]
        result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(
            f"{mode:<10}{result['longest_write']:13.2f} s {result['longest_read']:12.2f} s {result['seconds']:9.1f} s"
            f"{len(result['errors']):9}{result['lost'] + result['orphans']:7}",
            flush=True,
        )


if __name__ == "__main__":
    main()
