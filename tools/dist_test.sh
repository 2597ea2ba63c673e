#!/usr/bin/env bash
# Runs test.py in GPUS processes on this machine, or on each of NNODES machines.
# Without GPUs the processes share the CPU.
set -euo pipefail

if (( $# < 3 )); then
    echo "usage: [NNODES=1 NODE_RANK=0 MASTER_ADDR=127.0.0.1 PORT=29500]" \
        "$0 CONFIG CHECKPOINT GPUS [OPTIONS OF test.py]" >&2
    exit 2
fi
TOOLS=$(cd "$(dirname "$0")" && pwd)
GPUS=$3
NNODES=${NNODES:-1}
if (( NNODES == 1 )) && [[ -z ${PORT:-} ]]; then
    # A free port, so that several runs can share the machine
    RENDEZVOUS=(--standalone --local-addr=127.0.0.1)
else
    RENDEZVOUS=(
        --nnodes="$NNODES"
        --node-rank="${NODE_RANK:-0}"
        --master-addr="${MASTER_ADDR:-127.0.0.1}"
        --master-port="${PORT:-29500}"
    )
fi

PYTHONPATH="$(dirname "$TOOLS")${PYTHONPATH:+:$PYTHONPATH}" \
exec "${PYTHON:-python}" -m torch.distributed.run \
    "${RENDEZVOUS[@]}" --nproc-per-node="$GPUS" \
    "$TOOLS/test.py" "$1" "$2" --launcher pytorch "${@:4}"
