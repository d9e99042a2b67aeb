#!/usr/bin/env bash
# Other people's clients against Ringfort.
#
#   tests/clients/run.sh [debug|release] [SUITE...]
#
# Builds the binary (or takes $RINGFORT), starts servers in a temporary directory on free ports, with
# a simulated platform of their own, and runs every suite (or those named):
#
#   redis-cli     one-shot, RESP3, pipe mode, scans, the start of an interactive session
#   benchmark     redis-benchmark
#   redis-py      the Python client, RESP2 and RESP3
#   ioredis       a Node.js client
#   node-redis    another Node.js client
#   differential  random commands to Ringfort and to Redis, replies compared byte for byte
#   transactions  MULTI, EXEC, WATCH compared with Redis; races; interactive transactions, clients that are killed
#   robustness    rude and slow connections, many of them, long pipelines
#
# What is not installed is fetched into the temporary directory ($CLIENTS_CACHE keeps it between runs):
# Debian's packages redis-tools and redis-server (unpacked, not installed), redis-py from PyPI, ioredis
# and redis from npm. A suite whose client cannot be had says so and is counted as skipped.
# Each check prints `ok` or `not ok`; the last line is `N passed, N failed, N skipped`, and the exit
# status is zero only if none failed.
set -uo pipefail

REDIS_PY=8.1.0
IOREDIS=6.0.0
NODE_REDIS=6.3.1

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
profile=debug
case "${1:-}" in
debug | release) profile=$1 && shift ;;
esac
suites=("$@")
[ ${#suites[@]} -gt 0 ] || suites=(redis-cli benchmark redis-py ioredis node-redis differential transactions robustness)

tmp=$(mktemp -d)
export CLIENTS_TMP=$tmp CLIENTS_PROFILE=$profile
export CLIENTS_CACHE=${CLIENTS_CACHE:-$tmp/cache}
mkdir -p "$CLIENTS_CACHE" "$tmp/servers"
export PYTHONDONTWRITEBYTECODE=1

cleanup() {
    local file
    for file in "$tmp"/servers/*/pid; do
        [ -e "$file" ] && kill "$(cat "$file")" 2>/dev/null
    done
    if [ -n "${CLIENTS_KEEP:-}" ]; then echo "kept: $tmp"; else rm -rf "$tmp"; fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

if [ -z "${RINGFORT:-}" ]; then
    flag=()
    [ "$profile" = release ] && flag=(--release)
    (cd "$root" && cargo build --quiet "${flag[@]}" -p ringfort) || exit 1
    RINGFORT=${CARGO_TARGET_DIR:-$root/target}/$profile/ringfort
fi
RINGFORT=$(realpath "$RINGFORT") || exit 1
export RINGFORT

# Puts the programs of Debian's package $1, which bring the program $2, on the path.
debian() {
    command -v "$2" >/dev/null && return 0
    local unpacked=$CLIENTS_CACHE/debian
    if [ ! -e "$unpacked/usr/bin/$2" ]; then
        mkdir -p "$unpacked/archives"
        (cd "$unpacked/archives" && apt-get download redis-tools "$1") >"$tmp/apt.log" 2>&1 || return 1
        for archive in "$unpacked"/archives/*.deb; do
            dpkg -x "$archive" "$unpacked" || return 1
        done
    fi
    export PATH="$unpacked/usr/bin:$PATH"
    # The packages' own libraries may be missing.
    "$2" --version >/dev/null 2>&1
}

redis_py() {
    local venv=$CLIENTS_CACHE/venv
    if [ ! -e "$venv/ready-$REDIS_PY" ]; then
        python3 -m venv "$venv" >"$tmp/pip.log" 2>&1 || return 1
        "$venv/bin/pip" install --quiet "redis==$REDIS_PY" >>"$tmp/pip.log" 2>&1 || return 1
        touch "$venv/ready-$REDIS_PY"
    fi
}

# An npm package of a pinned version, in a directory of its own.
npm_package() {
    local dir=$CLIENTS_CACHE/npm-$1-$2
    command -v node >/dev/null && command -v npm >/dev/null || return 1
    if [ ! -e "$dir/ready" ]; then
        mkdir -p "$dir"
        npm install --silent --no-fund --no-audit --prefix "$dir" "$1@$2" >"$tmp/npm.log" 2>&1 || return 1
        touch "$dir/ready"
    fi
    export CLIENTS_NODE_MODULES=$dir/node_modules
}

run_suite() {
    case $1 in
    redis-cli) debian redis-tools redis-cli || return 77; python3 "$here/redis_cli.py" ;;
    benchmark) debian redis-tools redis-benchmark || return 77; python3 "$here/benchmark.py" ;;
    redis-py) redis_py || return 77; "$CLIENTS_CACHE/venv/bin/python" "$here/redis_py.py" ;;
    ioredis) npm_package ioredis "$IOREDIS" || return 77; node "$here/ioredis.mjs" ;;
    node-redis) npm_package redis "$NODE_REDIS" || return 77; node "$here/node_redis.mjs" ;;
    differential) debian redis-server redis-server || return 77; python3 "$here/differential.py" ;;
    transactions) debian redis-server redis-server || return 77; python3 "$here/transactions.py" ;;
    robustness) python3 "$here/robustness.py" ;;
    *) echo "not ok no such suite: $1"; return 1 ;;
    esac
}

export CLIENTS_SERVER=$here/server.sh
passed=0 failed=0 skipped=0
for suite in "${suites[@]}"; do
    echo "== $suite"
    began=$SECONDS
    run_suite "$suite" 2>&1 | tee "$tmp/$suite.log"
    status=${PIPESTATUS[0]}
    if [ "$status" -eq 77 ]; then
        echo "skipped: what $suite needs cannot be installed here"
        skipped=$((skipped + 1))
        continue
    fi
    passed=$((passed + $(grep -c '^ok ' "$tmp/$suite.log")))
    bad=$(grep -c '^not ok ' "$tmp/$suite.log")
    skipped=$((skipped + $(grep -c '^skipped ' "$tmp/$suite.log")))
    if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
        echo "not ok $suite ended with status $status"
        bad=1
    fi
    failed=$((failed + bad))
    echo "== $suite: $((SECONDS - began)) s"
done
for log in "$tmp"/servers/*/log; do
    [ -e "$log" ] || continue
    if grep -q 'panicked at' "$log"; then
        echo "not ok a server panicked:"
        grep -A3 'panicked at' "$log"
        failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
