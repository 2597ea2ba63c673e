#!/usr/bin/env bash
# Copyright (c) mmactive contributors. All rights reserved.
#
# Everything that needs an NVIDIA GPU, in one command. Needs PyTorch, and for
# the tests pytest, hypothesis and torchvision; what is missing is skipped.
#
#     bash tools/benchmarks/gpu_suite.sh OUT [STEP ...]
#
# Steps: build, tests, sanitizer, operator, models; by default all of them.
# Writes logs and results to the folder OUT and prints a table last. A failed
# step does not stop the next ones, but the exit status tells.
set -uo pipefail

out=${1:?usage: gpu_suite.sh OUT [STEP ...]}
mkdir -p "$out"
out=$(cd "$out" && pwd)
shift
all_steps='build tests sanitizer operator models'
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

tests() {
    "$python" -c 'import hypothesis, pytest, torchvision' || return 77
    "$python" -m pytest tests/test_ops -m cuda -q -rs -p no:cacheprovider
}

sanitizer() {
    command -v compute-sanitizer || { echo 'no compute-sanitizer'; return 77; }
    local tool
    for tool in memcheck racecheck initcheck synccheck; do
        echo "=== $tool"
        # Allocations of PyTorch's cache would hide accesses out of bounds.
        PYTORCH_NO_CUDA_MEMORY_CACHING=1 \
            compute-sanitizer --tool "$tool" --error-exitcode 1 \
            "$python" tests/test_ops/sanitized_operator.py || return 1
    done
}

operator() {
    "$python" "$benchmarks/benchmark_operator.py" --device cuda --out "$out"
}

models() {
    "$python" -c 'import mmengine' || { echo 'no mmengine'; return 77; }
    "$python" "$benchmarks/benchmark_models.py" --device cuda --out "$out"
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
done
printf '\n%s\n' "$table"
exit $status
