#!/usr/bin/env bash
# Trains and tests ActiveMLP-xTiny on scikit-learn's handwritten digits with
# the tools that serve every other experiment: first to classify them, then,
# from that classifier, to detect and to segment them in scenes of several.
# `make quickstart` calls it in .venv; it needs nothing but the installed
# packages.
#
# A task that was interrupted goes on where it stopped, a finished one is not
# run again. To start over, delete its folder in work_dirs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Threads that wait spin for a tenth of a millisecond. By default they spin for
# long, which makes training several times slower where other programs use the
# cores too; without, they wake up too late for the short loops of small images.
export GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-10000}"

# Usage: run_task NAME LAST_CHECKPOINT [DRAW_OPTION...]
run_task() {
    local config="configs/digits/$1.py" work_dir="work_dirs/$1"
    local checkpoint="$work_dir/$2" start=$SECONDS training=''
    shift 2
    if [[ ! -f "$work_dir/predictions.png" ]]; then
        python tools/train.py "$config" --resume
        training="
  training    $((SECONDS - start)) seconds, from start to end of tools/train.py"
        if [[ ! -f "$checkpoint" ]]; then
            echo "quickstart.sh: no $checkpoint after training; $work_dir is" \
                'that of another schedule: delete it and start again' >&2
            exit 1
        fi
        python tools/test.py "$config" "$checkpoint" \
            --out "$work_dir/metrics.json" --out-item metrics
        python tools/analysis_tools/draw_predictions.py "$config" \
            "$checkpoint" "$work_dir/predictions.png" "$@"
    fi
    summary+="
$config$training
  metrics     $(cat "$work_dir/metrics.json")
  checkpoint  $checkpoint
  picture     $work_dir/predictions.png"
}

summary=''
python tools/dataset_converters/digits.py data/digits
python tools/dataset_converters/digit_scenes.py data/digit_scenes
run_task activemlp-xtiny_digits epoch_10.pth --num 48 --columns 12
run_task mask-rcnn_activemlp-xtiny_fpn_digits epoch_1.pth
run_task fpn_activemlp-xtiny_digits iter_1000.pth
echo "$summary"
