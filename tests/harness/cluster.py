#!/usr/bin/env python3
"""A private PostgreSQL cluster that lives as long as its caller.

    cluster.py                   start, print the server's URL, stop at the end of standard input
    cluster.py -- COMMAND ...    start, run the command with SAFEMIG_TEST_SERVER set, stop, exit as the command did

The cluster is a temporary directory with a unix socket in it: it listens on no network address, so no port can
be taken. It does not survive a crash of the machine (fsync is off), nor its caller, however that ends: the end
of standard input stops it. PostgreSQL refuses to run as root; then it runs as the user `postgres`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

SETTINGS = """
listen_addresses = ''
unix_socket_directories = '{directory}'
fsync = off
synchronous_commit = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
min_wal_size = 32MB
max_wal_size = 128MB
autovacuum = off
jit = off
max_locks_per_transaction = 512
max_connections = 60
deadlock_timeout = 200ms
log_min_messages = warning
"""


def binaries() -> Path:
    """The directory of initdb and pg_ctl: SAFEMIG_PG_BIN, version 15, or the newest that is installed."""
    if given := os.environ.get("SAFEMIG_PG_BIN"):
        return Path(given)
    installed = {int(path.name): path / "bin" for path in Path("/usr/lib/postgresql").glob("[0-9]*")}
    if installed:
        return installed.get(15, installed[max(installed)])
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    raise SystemExit("PostgreSQL's server programs are missing: run scripts/test.sh")


def as_server_user(*command: str | Path) -> None:
    """Runs a command as a user that PostgreSQL accepts."""
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    finished = subprocess.run(
        [*prefix, *map(str, command)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
        check=False,
    )
    if finished.returncode:
        raise SystemExit(f"{command[0]} failed:\n{finished.stdout}")


def fast_directory() -> str | None:
    """Memory, where a gigabyte of it is free: cloning a database is five times as fast there as on a disk."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 1 << 30:
        return str(memory)
    return None


def start(directory: Path) -> str:
    """Creates and starts the cluster; the answer is its URL."""
    programs, data = binaries(), directory / "data"
    if os.geteuid() == 0:
        shutil.chown(directory, "postgres")
    as_server_user(
        programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"
    )
    with (data / "postgresql.conf").open("a") as settings:
        settings.write(SETTINGS.format(directory=directory))
    as_server_user(programs / "pg_ctl", "-D", data, "-l", directory / "log", "-w", "-s", "start")
    return f"postgresql://postgres@/postgres?host={directory}"


def stop(directory: Path) -> None:
    """Stops the cluster that has its data in this directory, and no other, and removes it."""
    data = directory / "data"
    if (data / "postmaster.pid").exists():
        as_server_user(binaries() / "pg_ctl", "-D", data, "-m", "immediate", "-w", "-s", "stop")
    shutil.rmtree(directory, ignore_errors=True)


def main() -> int:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGHUP, interrupted)
    directory = Path(tempfile.mkdtemp(prefix="safemig-pg-", dir=fast_directory()))
    try:
        url = start(directory)
        if sys.argv[1:2] == ["--"]:
            return subprocess.call(sys.argv[2:], env={**os.environ, "SAFEMIG_TEST_SERVER": url})
        print(url, flush=True)
        with open(os.devnull, "w") as nowhere:  # whoever waits for our output must not wait for our end
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        sys.stdin.read()
        return 0
    except KeyboardInterrupt:
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        stop(directory)


if __name__ == "__main__":
    sys.exit(main())
