# Copyright (c) mmactive contributors. All rights reserved.
"""Every config trains for an iteration and tests an image of COCO."""

import re
import sys

import pytest

from .conftest import ROOT, TOOLS

TOOL = TOOLS / 'dev' / 'run_all_configs.py'

# Every method and every schedule of ActiveMLP, and of the other families one
# of each method. The slow test has all configs.
SUBSET = (
    'imagenet/ablation/activemlp-tiny-star-one-offset_8xb128_in1k.py',
    'imagenet/peers/pvtv2-b1_8xb128_in1k.py',
    'imagenet/peers/resmlp-s12_8xb128_in1k.py',
    'coco/mask-rcnn_activemlp-xtiny_fpn_1x_coco.py',
    'coco/ablation/mask-rcnn_activemlp-tiny-zero-offset_fpn_ms-1x_coco.py',
    'coco/cascade-mask-rcnn_activemlp-xtiny_fpn_ms-1x_coco.py',
    'coco/retinanet_activemlp-xtiny_fpn_ms-3x_coco.py',
    'coco/peers/mask-rcnn_swin-tiny_fpn_1x_coco.py',
    'coco/peers/retinanet_cyclemlp-b1_fpn_1x_coco.py',
    'ade20k/fpn_activemlp-xtiny_8xb4-40k_ade20k-512x512.py',
    'ade20k/upernet_activemlp-xtiny_8xb2-160k_ade20k-512x512.py',
    'ade20k/peers/fpn_pvt-tiny_8xb4-40k_ade20k-512x512.py',
    'ade20k/peers/upernet_twins-svt-small_8xb2-160k_ade20k-512x512.py',
)


def list_configs():
    return [
        path
        for folder in ('imagenet', 'coco', 'ade20k')
        for path in (ROOT / 'configs' / folder).rglob('*.py')
    ]


def run_all(patterns, data_folder, start_process):
    out = start_process(
        sys.executable, TOOL, *patterns, '--data', data_folder, '--jobs', 2
    )
    rows = re.findall(r'^\| (\S+\.py) \| (\S+) \|.*\| passed \|', out, re.M)
    assert f'{len(rows)} of {len(rows)} passed' in out
    for config, loss in rows:
        # ln 1000 and ln 150, before anything is learnt, or a sum of losses
        low, high = (6, 8) if config.startswith('imagenet') else (0.5, 20)
        assert low < float(loss) < high, config
    return {config for config, _ in rows}


def method_and_schedule(config):
    name = config.rpartition('/')[2]
    pattern = r'(.*?)_?activemlp-[a-z-]+_(?:fpn_)?([^_]+)_.+\.py'
    return re.fullmatch(pattern, name).groups()


def test_subset_is_complete():
    configs = (p.name for p in list_configs() if p.parent.name != 'peers')
    ours = (config for config in SUBSET if 'peers' not in config)
    ours = zip(*map(method_and_schedule, ours))
    everything = zip(*map(method_and_schedule, configs))
    assert [set(x) for x in ours] == [set(x) for x in everything]


def test_subset(data_folder, start_process):
    assert run_all(SUBSET, data_folder, start_process) == set(SUBSET)


@pytest.mark.slow
def test_all(data_folder, start_process):
    configs = {
        str(path.relative_to(ROOT / 'configs')) for path in list_configs()
    }
    assert len(configs) == 59 + 165
    assert run_all((), data_folder, start_process) == configs


def test_missing_data(tmp_path, start_process):
    out = start_process(sys.executable, TOOL, '--data', tmp_path, returncode=2)
    assert f'--data: there is no folder {tmp_path}/coco128' in out
