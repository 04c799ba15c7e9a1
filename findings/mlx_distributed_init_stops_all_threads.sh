#!/usr/bin/env bash
# MLX 0.32.3: `mx.distributed.init(backend="ring")` holds the GIL of Python while it waits for the other ranks. A rank
# whose neighbour does not come waits for minutes, and meanwhile no other thread of its process runs: nothing can tell
# of it, no time limit in Python ends it, and Ctrl-C is not looked at. `mx.eval` of a sum that waits lets others run.
# It hurts whoever starts ranks and wants to say which one is missing. A way out that works: `signal.alarm` with the
# system's own handler, which ends the process.
# Seen: "a thread counted 0 in 3 seconds of init, 30 in 3 seconds of sleep".
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile "mlx[cpu]==0.32.3"

echo '[["127.0.0.1:28231"], ["127.0.0.1:28232"]]' > "$folder/hosts.json"
cat > "$folder/alone.py" <<'PYTHON'
import sys
import threading
import time

import mlx.core as mx

counted = 0


def count():
    global counted
    while True:
        counted += 1
        print(counted, file=sys.stderr, flush=True)
        time.sleep(0.1)


threading.Thread(target=count, daemon=True).start()
time.sleep(3)
print("sleep", counted, file=sys.stderr, flush=True)
mx.distributed.init(strict=True, backend="ring")  # rank 1 never comes
PYTHON

export MLX_RANK=0 MLX_HOSTFILE="$folder/hosts.json"
timeout --signal=KILL 8 "$folder/venv/bin/python" "$folder/alone.py" 2> "$folder/lines" || true
before=$(awk '/sleep/ { print $2 }' "$folder/lines")
after=$(tail -n 1 "$folder/lines")
case $after in sleep*) after=$before ;; esac
echo "a thread counted $((after - before)) in seconds of init, $before in 3 seconds of sleep"
test "$before" -ge 10
test "$((after - before))" -le 1 || { echo "the behaviour has changed" >&2; exit 1; }
