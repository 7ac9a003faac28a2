#!/usr/bin/env bash
# Sets up all that the tests need on a Debian machine with Rust, once, and runs all of them.
#
#   scripts/test.sh [ARGUMENTS OF cargo test]     set up what is missing, check, test
#   scripts/test.sh --setup                       set up only
#
# The environment is kept in target/test-env (or SAFEMIG_TEST_ENV); a second call installs and downloads nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

environment=${SAFEMIG_TEST_ENV:-$PWD/target/test-env}
export SAFEMIG_TEST_ENV=$environment

# Runs a command as root: installing is all that needs it.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install_missing() {
    local missing=()
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)
    { [ -n "${SAFEMIG_PG_BIN:-}" ] || compgen -G '/usr/lib/postgresql/*/bin/initdb' || command -v initdb; } >/dev/null ||
        missing+=(postgresql)
    if [ ${#missing[@]} -gt 0 ]; then
        as_root apt-get update -q
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"
    fi
    command -v cargo >/dev/null || { echo "install Rust first: cargo is missing" >&2; exit 2; }
}

# A Python environment is made again when its requirements have changed.
make_python() {
    local directory=$environment/$1 requirements=tests/harness/requirements-$1.txt
    cmp -s "$requirements" "$directory/requirements.txt" && return
    rm -rf "$directory"
    python3 -m venv "$directory"
    "$directory/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
    cp "$requirements" "$directory/requirements.txt"
}

install_missing
mkdir -p "$environment"
make_python sa20
make_python sa14
# Replays of older versions of the harness.
find "$environment/replays" -mindepth 1 -maxdepth 1 -mtime +7 -exec rm -rf {} + 2>/dev/null || true
"$environment/sa20/bin/python" tests/harness/corpus.py "$environment/corpus"
touch "$environment/ready"
[ "${1:-}" != --setup ] || exit 0

cargo fmt --all --check
cargo clippy --workspace --all-targets -- -D warnings
cargo test --workspace "$@"
