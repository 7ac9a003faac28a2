"""How fast safemig reads real histories, as ratios measured in one run.

    scripts/test.sh --setup && cargo build --release && python3 benches/throughput.py

Prints seconds per 1,000 revision files for a half of the histories and for all of them (linear: the ratio
is near 1), and how much faster that is than CPython's `ast.parse` alone on the same files. The files are
read once before, so that the disk plays no part. The median of several runs counts.
"""

import ast
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "target/test-env/corpus"
SAFEMIG = ROOT / "target/release/safemig"
RUNS = 5


def histories() -> list[list[Path]]:
    """The revision files of every directory that has some, largest first."""
    found: dict[Path, list[Path]] = {}
    for path in sorted(CORPUS.rglob("*.py")):
        if b"down_revision" in path.read_bytes():
            found.setdefault(path.parent, []).append(path)
    return sorted(found.values(), key=len, reverse=True)


def seconds(work) -> float:
    """The median time of a piece of work."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def check(chosen: list[list[Path]]) -> float:
    """Seconds for `safemig check` on some histories, each by itself; the start of the program is included."""

    def work() -> None:
        for files in chosen:
            command = [SAFEMIG, "check", "--isolated", "--exit-zero", "--quiet", files[0].parent]
            subprocess.run(command, check=True, capture_output=True)

    return seconds(work)


def parse(chosen: list[list[Path]]) -> float:
    """Seconds for CPython to parse the same files."""
    sources = [path.read_bytes() for files in chosen for path in files]
    return seconds(lambda: [ast.parse(source) for source in sources])


def main() -> None:
    if not CORPUS.is_dir() or not SAFEMIG.is_file():
        sys.exit(__doc__)
    everything = histories()
    half = everything[::2]
    count_half, count_all = (sum(map(len, chosen)) for chosen in (half, everything))
    per_half, per_all = check(half) / count_half * 1000, check(everything) / count_all * 1000
    python = parse(everything) / count_all * 1000
    print(f"{len(everything)} histories, {count_all} revision files, median of {RUNS} runs")
    print(f"safemig check: {per_half:.3f} s per 1,000 files ({count_half} files)")
    print(f"safemig check: {per_all:.3f} s per 1,000 files ({count_all} files), ratio {per_all / per_half:.2f}")
    print(f"ast.parse:     {python:.3f} s per 1,000 files, {python / per_all:.1f} times as long as safemig check")


if __name__ == "__main__":
    main()
