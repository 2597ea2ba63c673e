#!/usr/bin/env bash
# Copyright (c) mmactive contributors. All rights reserved.
#
# Everything that needs an NVIDIA GPU, in one command. Needs PyTorch and nvcc.
# The tests need pytest, hypothesis and torchvision, too, and compute-sanitizer
# is a part of some CUDA toolkits: these two steps are skipped where something is
# missing. Peers that are not installed are left out of the benchmarks.
#
#     bash tools/benchmarks/gpu_suite.sh OUT [STEP ...]
#
# Steps: build, check, tests, sanitizer, operator, compiled, channels, models,
# scaling; by default all of them. Writes logs and results to the folder OUT and
# prints a table last. A failed step does not stop the next ones, but the exit
# status tells. After a failed build nothing runs: it would be an older build.
set -uo pipefail

out=${1:?usage: gpu_suite.sh OUT [STEP ...]}
mkdir -p "$out"
out=$(cd "$out" && pwd)
shift
all_steps='build check tests sanitizer operator compiled channels models scaling'
steps=${*:-$all_steps}
for step in $steps; do
    if [[ " $all_steps " != *" $step "* ]]; then
        echo "gpu_suite.sh: no step '$step', but $all_steps" >&2
        exit 2
    fi
done
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1
python=${PYTHON:-python3}
benchmarks=tools/benchmarks

build() {
    nvidia-smi
    nvcc --version
    local arch
    arch=$("$python" -c 'import torch; print("%d.%d" % torch.cuda.get_device_capability())') &&
        FORCE_CUDA=1 TORCH_CUDA_ARCH_LIST=$arch "$python" setup.py build_ext --inplace
}

check() {
    "$python" "$benchmarks/check_operator.py" --device cuda
}

tests() {
    "$python" -c 'import hypothesis, pytest, torchvision' || return 77
    "$python" -m pytest tests/test_ops -m cuda -q -rs -p no:cacheprovider
}

sanitizer() {
    command -v compute-sanitizer || { echo 'no compute-sanitizer'; return 77; }
    local tool failed=0
    for tool in memcheck racecheck initcheck synccheck; do
        echo "=== $tool"
        # Allocations of PyTorch's cache would hide accesses out of bounds.
        PYTORCH_NO_CUDA_MEMORY_CACHING=1 \
            compute-sanitizer --tool "$tool" --error-exitcode 1 \
            "$python" tests/test_ops/sanitized_operator.py || failed=1
    done
    return $failed
}

benchmark() {
    local kind=$1
    shift
    "$python" "$benchmarks/benchmark_$kind.py" --device cuda --out "$out" "$@"
}

operator() {
    benchmark operator --name operator --rounds 5 --min-seconds 0.002 \
        --arch tiny large --dtypes float32 bfloat16 float16 \
        --inputs 1x224x224 8x224x224 64x224x224 1x800x1280 2x800x1280
}

compiled() {
    benchmark operator --name operator_compiled --rounds 5 --compile \
        --stages 1 3 --dims 2 --dtypes bfloat16 --inputs 64x224x224
}

channels() {
    benchmark operator --name operator_channels --rounds 5 \
        --channels 32 64 128 256 512 1024 --dtypes float32 bfloat16
}

models() {
    benchmark models --name models --rounds 3 --compile
}

scaling() {
    benchmark models --name models_scaling --rounds 3 --modes \
        --scaling 224 448 896 1344 2048
}

status=0
table=$(printf '%-10s %-8s %8s' step result seconds)
for step in $steps; do
    echo "=== $step"
    SECONDS=0
    # The log keeps everything, the terminal shows its end.
    "$step" > "$out/$step.log" 2>&1
    code=$?
    tail -n 25 "$out/$step.log"
    case $code in
        0) result=passed ;;
        77) result=skipped ;;
        *) result=FAILED status=1 ;;
    esac
    table+=$(printf '\n%-10s %-8s %8d' "$step" "$result" "$SECONDS")
    if [[ $step == build && $result == FAILED ]]; then break; fi
done
printf '\n%s\n' "$table"
exit $status
