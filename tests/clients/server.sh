#!/usr/bin/env bash
# Starts and stops the servers of the suites.
#
#   server.sh start NAME [OPTION...]   prints the port; NAME keeps its data, its options and its port
#   server.sh stop NAME [SIGNAL]       waits until it has ended (SIGTERM if not said)
#   server.sh start-redis NAME         a Redis to compare with
#
# With CLIENTS_SUBJECT=redis `start` gives a Redis too: the suites themselves are tested.
set -euo pipefail

name=$2
dir=$CLIENTS_TMP/servers/$name
mkdir -p "$dir"
touch "$dir/log"

# Waits until the server $1 has written the line that matches $2.
await() {
    local nth
    for nth in $(seq 600); do
        grep -q "$2" "$dir/log" && return 0
        kill -0 "$1" 2>/dev/null || break
        sleep 0.05
    done
    echo "$name did not start:" >&2
    tail -n 20 "$dir/log" >&2
    return 1
}

action=$1
[ "${CLIENTS_SUBJECT:-}" = redis ] && [ "$action" = start ] && action=start-redis
case $action in
start)
    shift 2
    if [ $# -gt 0 ] || [ ! -e "$dir/options" ]; then printf '%s\n' "$@" >"$dir/options"; fi
    mapfile -t options < <(grep -v '^$' "$dir/options" || true)
    port=$(cat "$dir/port" 2>/dev/null || echo 0)
    setsid "$RINGFORT" serve --data "$dir/data" --platform-state "$dir/platform" --admin off \
        --resp "127.0.0.1:$port" "${options[@]}" >"$dir/log" 2>&1 </dev/null &
    echo $! >"$dir/pid"
    await $! '^ready'
    sed -n 's/^resp  *[0-9.]*:\([0-9]*\).*/\1/p' "$dir/log" | tee "$dir/port"
    ;;
start-redis)
    # Redis cannot choose a free port itself.
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    setsid redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no --dir "$dir" \
        --daemonize no >"$dir/log" 2>&1 </dev/null &
    echo $! >"$dir/pid"
    await $! 'Ready to accept connections'
    echo "$port"
    ;;
stop)
    pid=$(cat "$dir/pid")
    kill "-${3:-TERM}" "$pid"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
    rm "$dir/pid"
    ;;
*)
    exit 2
    ;;
esac
