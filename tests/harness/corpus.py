#!/usr/bin/env python3
"""Brings the packages of packages.json to a directory: downloads what is missing, and keeps only its Python files.

    corpus.py DIRECTORY

Only the packages named there are downloaded, in the versions named there, through pip and with its settings.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

KEPT = (".py", ".ini", ".mako")


def source_name(pin: str) -> str:
    """The directory of a package below the corpus."""
    return pin.replace("-", "_").replace("==", "-")


def download(pin: str, directory: Path) -> Path:
    """Downloads one wheel, for any Python, since nothing in it is installed."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", "3.12", "--dest", str(directory), pin]
    subprocess.run(command, check=True)
    (wheel,) = directory.glob("*.whl")
    return wheel


def extract(wheel: Path, target: Path) -> None:
    """Extracts the files that are kept, all or none."""
    partial = target.with_name(target.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(partial, [name for name in archive.namelist() if name.endswith(KEPT)])
    partial.rename(target)


def main() -> None:
    corpus = Path(sys.argv[1])
    corpus.mkdir(parents=True, exist_ok=True)
    packages = json.loads((Path(__file__).parent / "packages.json").read_text())
    for pin in sorted({entry["pin"] for entry in packages.values()}):
        target = corpus / source_name(pin)
        if target.exists():
            continue
        print(f"downloading {pin}", flush=True)
        with tempfile.TemporaryDirectory(dir=corpus) as scratch:
            extract(download(pin, Path(scratch)), target)


if __name__ == "__main__":
    main()
