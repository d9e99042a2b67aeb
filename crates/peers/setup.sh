#!/usr/bin/env bash
# Installs what the comparison needs besides Rust and a C compiler: Debian's RocksDB, so that nobody
# waits an hour for its C++ to build, and libclang, which reads its header.
set -euo pipefail
packages=(librocksdb-dev libclang-dev)

if ! command -v apt-get >/dev/null; then
  echo "not a Debian: install RocksDB 7.x with headers and libclang, then set ROCKSDB_LIB_DIR and" >&2
  echo "ROCKSDB_INCLUDE_DIR to where librocksdb.so and rocksdb/c.h are" >&2
  exit 1
fi
as_root=()
if [[ $(id -u) != 0 ]]; then as_root=(sudo); fi
"${as_root[@]}" apt-get install --yes --no-install-recommends "${packages[@]}"
