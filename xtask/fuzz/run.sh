#!/bin/sh
# Build a fuzz target with the stable compiler and run it: ./run.sh TARGET SECONDS | minimise
set -eu
cd "$(dirname "$0")"
target=$1
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1 --cfg fuzzing"
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS=$coverage cargo build --release --target "$host" --bin "$target"
binary=target/$host/release/$target
mkdir -p "found/$target" "artifacts/$target" "corpus/$target"
if [ "$2" = minimise ]; then
    # The fewest short files that reach every edge (not every count of it).
    exec "$binary" -set_cover_merge=1 -use_counters=0 -max_len=1024 "corpus/$target" "found/$target"
fi
exec "$binary" "found/$target" "corpus/$target" -max_total_time="$2" -max_len=16384 -timeout=10 \
    -rss_limit_mb=2048 -artifact_prefix="artifacts/$target/" -print_final_stats=1
