#!/usr/bin/env bash
# The whole campaign of measurements, in order of importance; docs/benchmarks.md says what it shows.
#
#   crates/peers/measure.sh [--quick] [--list] [--json FILE] [--dir DIR] [SECTION…]
#
# Runs are appended to FILE (results.json) as they end, and what it has already with the same programs is not
# run again: after an interruption, say the same once more. Sections that have no single runs (sync of
# servers, freshness, recovery) are noted there when they are done. --quick rehearses everything small, into
# quick.json. Build first: cargo build --release -p ringfort -p ringfort-peers
set -euo pipefail
cd "$(dirname "$0")/../.."

# Section, minutes on two processors, what it is for.
plan=(
  "core          17 RocksDB and fjall, 7 workloads, 1 and 8 threads, 1 KiB, 5 repeats"
  "core-100b      7 the same with 100 B, 3 repeats"
  "cache          2 random reads of data that fit the cache, RocksDB and LMDB"
  "sync           1 every write synced, 1, 8 and 48 threads"
  "fresh          2 every commit anchored"
  "plain          3 sealing on against off"
  "memory         7 data four times as large as the memory"
  "server         2 redis-benchmark against Redis"
  "blocks         5 readrandomwriterandom 9:1 and 1:1, blocks of 4 to 64 KiB"
  "recovery       1 a log of 800,000 entries"
  "open10g        3 opening a store of 10 GiB"
  "threads2       6 the core table at 2 threads, 1 KiB and 100 B"
  "peers          5 LMDB, redb, SurrealKV with and without encryption"
  "transactions  10 transactions of 10 operations, one client and eight that meet: RocksDB's two kinds, LMDB"
  "treaty        33 the figures 6 and 7 of TREATY's evaluation: TPC-C and YCSB, 1 to 128 clients"
  "twinstore     11 the figures of TWINSTORE's evaluation"
  "sweep          8 figures: threads, value size, block size, share of reads"
)

quick=false list=false json="" dir="${TMPDIR:-/tmp}" profile=release sections=()
while (($#)); do
  case $1 in
    --quick) quick=true ;;
    --list) list=true ;;
    --json) json=$2; shift ;;
    --dir) dir=$2; shift ;;
    --profile) profile=$2; shift ;;
    -*) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2 ;;
    *) sections+=("$1") ;;
  esac
  shift
done
if $list; then printf '%s\n' "${plan[@]}"; exit; fi
if [[ -z $json ]]; then json=$($quick && echo quick.json || echo results.json); fi
peers=target/$profile/ringfort-peers ringfort=target/$profile/ringfort
for program in "$peers" "$ringfort"; do
  [[ -x $program ]] || { echo "no $program: cargo build --profile $profile -p ringfort -p ringfort-peers" >&2; exit 1; }
done
programs=$(cat "$peers" "$ringfort" | sha256sum | cut -c1-16)
mkdir -p "$dir"

# A number for a quick run, or for a whole one.
n() { if $quick; then echo "$1"; else echo "$2"; fi; }
# What fails does not keep the rest from being measured.
failed=() broken=false
try() { "$@" || { echo "failed: $*" >&2; broken=true; }; }
compare() { try "$peers" compare --json "$json" --dir "$dir" "$@" > /dev/null; }

workloads=fillseq,fillrandom,overwrite,readrandom,seekrandom,readseq,readrandomwriterandom
# One list of engines and workloads at so many threads; all threads together do NUM operations.
#   workloads ENGINES THREADS VALUE_SIZE REPEATS NUM LIST
workloads() {
  local engines=$1 threads=$2 value_size=$3 repeats=$4 num=$5 list=$6
  local each=$((num / threads))
  compare --engines "$engines" --benchmarks "$list" --threads "$threads" --value_size "$value_size" \
    --repeats "$repeats" --num "$num" --writes "$each" --reads "$each" --seeks $((each * 3 / 10)) --seek_nexts 10
}

section_core() {
  for threads in 1 8; do
    workloads ringfort,rocksdb,fjall $threads 1024 "$(n 1 5)" "$(n 50000 1000000)" $workloads
  done
}
section_core-100b() {
  for threads in 1 8; do
    workloads ringfort,rocksdb,fjall $threads 100 "$(n 1 3)" "$(n 50000 1000000)" $workloads
  done
}
section_threads2() {
  for value_size in 1024 100; do
    workloads ringfort,rocksdb,fjall 2 $value_size "$(n 1 3)" "$(n 50000 1000000)" $workloads
  done
}
section_cache() {
  local keys; keys=$(n 30000 300000)
  for threads in 1 2 8; do
    compare --engines ringfort,rocksdb,lmdb --benchmarks fillrandom,readrandom --threads $threads --value_size 1024 \
      --repeats "$(n 1 3)" --num "$keys" --writes $((keys / threads)) --reads $((keys * 6 / threads))
    compare --engines ringfort,rocksdb,lmdb --benchmarks fillrandom,readrandom --threads $threads --value_size 100 \
      --repeats "$(n 1 3)" --num "$keys" --writes $((keys / threads)) --reads $((keys * 6 / threads))
  done
}
section_sync() {
  for threads in 1 8 48; do
    # A thousandth of --num are the keys.
    compare --engines ringfort,rocksdb --benchmarks fillsync --threads $threads --value_size 100 --num 1000000 \
      --repeats "$(n 1 5)" --writes "$(n 300 4000)"
  done
}
section_plain() {
  for value_size in 1024 100; do
    for threads in 1 8; do
      workloads ringfort,ringfort:plain $threads $value_size "$(n 1 3)" "$(n 50000 500000)" \
        fillrandom,overwrite,readrandom,seekrandom,readseq,readrandomwriterandom
    done
  done
}
section_blocks() {
  local num; num=$(n 50000 500000)
  for block_size in 32KiB 4KiB 16KiB 64KiB; do
    for percent in 90 50; do
      compare --engines ringfort,rocksdb --benchmarks fillrandom,readrandomwriterandom --threads 8 --value_size 1024 \
        --repeats "$(n 1 3)" --num "$num" --writes $((num / 8)) --reads $((num / 8)) --block_size $block_size \
        --readwritepercent $percent
    done
  done
}
section_peers() {
  local num list=fillrandom,overwrite,readrandom,seekrandom,readseq,readrandomwriterandom; num=$(n 30000 200000)
  for value_size in 1024 100; do
    workloads ringfort,rocksdb,lmdb,redb,surrealkv,surrealkv:tde 1 $value_size "$(n 1 3)" "$num" $list
  done
}
# Every key once, so that the data are as large as they are said to be: four times the limit.
section_memory() {
  local limit keys; limit=$(n 64 256); keys=$((limit * 4 * 1024 * 1024 / 1040 + 1))
  for threads in 1 8 2; do
    compare --engines ringfort,rocksdb --benchmarks filluniquerandom,readrandom --threads $threads --value_size 1024 \
      --repeats "$(n 1 3)" --num $keys --reads $(($(n 20000 150000) / threads)) --memory_limit "${limit}MiB"
  done
}
section_sweep() {
  try "$peers" sweep --json "$json" --dir "$dir" --out "$(n "$dir/figures" docs/figures)" --engines ringfort,rocksdb,fjall \
    --num "$(n 20000 200000)" --value_size 1024 --repeats "$(n 1 3)" --value_sizes 64,256,1024,4096,16384 \
    --block_sizes 4096,16384,32768,65536 --read_shares 0,50,90,100 > /dev/null
}
section_twinstore() {
  try "$peers" twinstore --json "$json" --dir "$dir" --out "$(n "$dir/figures" docs/figures)" --num "$(n 10000 250000)" \
    --memory_budget 128MiB --page_cache 128MiB --seconds 1 --thread_counts 1,8,64 --repeats "$(n 1 3)" > /dev/null
}
section_transactions() {
  try "$peers" transactions --json "$json" --dir "$dir" --num "$(n 50000 1000000)" --seconds "$(n 0.3 3)" \
    --warm_up "$(n 0.1 0.5)" --repeats "$(n 1 3)" > /dev/null
}
# A rehearsal has less of everything than --quick alone.
section_treaty() {
  local size=(--seconds 2 --warm_up 0.5 --repeats 2)
  if $quick; then size=(--quick --seconds 0.4 --warm_up 0.1 --warehouses 1 --num 200000); fi
  try "$peers" treaty --json "$json" --dir "$dir" --out "$(n "$dir/figures" docs/figures)" "${size[@]}" > /dev/null
}
section_fresh() {
  try "$ringfort" bench fresh --json "$json" --db "$dir/fresh" --time "$(n 1s 2s)" --repeats "$(n 1 5)"
  rmdir "$dir/fresh" || broken=true
}
section_server() {
  try "$peers" server --json "$json" --dir "$dir" --requests "$(n 20000 200000)" --repeats "$(n 1 3)" > /dev/null
}
section_recovery() {
  try "$peers" recovery --json "$json" --dir "$dir" --entries "$(n 50000 800000)" --repeats "$(n 1 5)"
}
section_open10g() {
  try "$peers" recovery --json "$json" --dir "$dir" --value_size 4096 --store_gib "$(n 0.2 10)" --repeats "$(n 1 5)"
}

# Those whose results are one line for all repeats are noted when they are done.
noted=" fresh server recovery open10g "
for line in "${plan[@]}"; do
  read -r name minutes about <<< "$line"
  if ((${#sections[@]})) && [[ " ${sections[*]} " != *" $name "* ]]; then continue; fi
  mark="{\"kind\":\"section\",\"name\":\"$name\",\"programs\":\"$programs\"}"
  if [[ $noted == *" $name "* ]] && grep -qsF "$mark" "$json"; then
    echo "== $name: in $json already"
    continue
  fi
  echo "== $name: $about; about $(n 'less than a' "$minutes") min, from $(date +%H:%M:%S)"
  start=$SECONDS broken=false
  "section_$name"
  if $broken; then failed+=("$name"); elif [[ $noted == *" $name "* ]]; then echo "$mark" >> "$json"; fi
  echo "== $name took $((SECONDS - start)) s"
done
echo "== tables: $peers tables --json $json; figures: $peers plot --json $json"
if ((${#failed[@]})); then
  echo "== not complete: ${failed[*]}"
  exit 1
fi
