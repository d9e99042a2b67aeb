#!/usr/bin/env bash
# Installs what the comparisons need besides Rust and a C compiler: Debian's RocksDB, so that nobody
# waits an hour for its C++ to build, libclang, which reads its header, and Redis with its benchmark
# for `ringfort-peers server`.
set -euo pipefail
packages=(librocksdb-dev libclang-dev redis-server redis-tools)

if ! command -v apt-get >/dev/null; then
  echo "not a Debian: install RocksDB 7.x with headers and libclang, then set ROCKSDB_LIB_DIR and" >&2
  echo "ROCKSDB_INCLUDE_DIR to where librocksdb.so and rocksdb/c.h are; for the server path, Redis 7" >&2
  exit 1
fi
as_root=()
if [[ $(id -u) != 0 ]]; then as_root=(sudo); fi
"${as_root[@]}" apt-get install --yes --no-install-recommends "${packages[@]}"
if command -v systemctl >/dev/null && systemctl --quiet is-active redis-server 2>/dev/null; then
  echo "note: the package runs Redis as a service; stop it while you measure: systemctl stop redis-server"
fi
