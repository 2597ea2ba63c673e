# Copyright (c) mmactive contributors. All rights reserved.
"""The benchmarks run, and what they compare computes the same."""

import json
import re
import sys

import cv2
import pytest

from .conftest import TOOLS

BENCHMARKS = TOOLS / 'benchmarks'


def read_results(folder, name):
    content = json.loads((folder / f'{name}.json').read_text())
    run = content['run']
    assert run['machine']
    assert re.fullmatch(r'\d{4}-\d\d-\d\d', run['date'])
    assert 'torch' in run['versions']
    assert name.partition('_')[0] in run['command']
    picture = cv2.imread(str(folder / f'{name}.png'))
    assert picture.std() > 10
    for result in content['results']:
        assert result['seconds'] > 0
    return content['results']


def test_operator(tmp_path, start_process):
    # Variants that differ make it fail.
    out = start_process(
        *(sys.executable, BENCHMARKS / 'benchmark_operator.py'),
        *('--stages', 2, 4, '--batch-sizes', 1, '--resolutions', '96x64'),
        *('--rounds', 1, '--min-seconds', 0, '--out', tmp_path),
    )
    results = read_results(tmp_path, 'operator_cpu')
    cases = {result['case'] for result in results}
    assert cases == {
        f'{shape}, {dim}, float32'
        for shape in ('1x12x8x128, 4', '1x3x2x512, 8')
        for dim in (1, 2)
    }
    variants = {
        measure: {r['variant'] for r in results if r['measure'] == measure}
        for measure in {r['measure'] for r in results}
    }
    layer = {'mmactive', 'torchvision', 'mmcv', 'linear'}
    gather = {'mmactive', 'grid_sample', 'gather+lerp', 'copy', 'copies'}
    assert variants == {
        'layer forward': layer,
        'layer forward+backward': layer,
        'gather forward': gather,
        'gather backward': gather,
    }
    for measure in variants:
        assert f'\n{measure}\n| N x H x W x C' in out
    # What torchvision's formulation materializes shows in the memory.
    peaks = {
        (r['measure'], r['case'], r['variant']): r['peak_bytes']
        for r in results
    }
    for case in cases:
        ours = peaks['layer forward', case, 'mmactive']
        assert 0 < ours < peaks['layer forward', case, 'torchvision']


def test_models(tmp_path, start_process):
    names = ['ActiveMLP-T', 'reference', 'ResNet-50 (torchvision)']
    out = start_process(
        *(sys.executable, BENCHMARKS / 'benchmark_models.py'),
        *('--models', *names, '--batch-size', 1, '--resolution', 64),
        *('--rounds', 1, '--scaling', 32, 64, '--out', tmp_path),
    )
    results = read_results(tmp_path, 'models_cpu')
    for measure in ('inference', 'training'):
        chosen = [r for r in results if r['measure'] == measure]
        assert [r['variant'] for r in chosen] == names
        for result in chosen:
            expected = 1 / result['seconds']
            assert result['images_per_second'] == pytest.approx(expected)
            assert result['peak_bytes'] > 1e5
        assert f'\n{measure}\n| model ' in out
    scaling = [r for r in results if r['measure'] == 'scaling']
    assert {r['resolution'] for r in scaling} == {32, 64}
    assert 'Swin-T (torchvision)' in {r['variant'] for r in scaling}


def test_unknown_model(start_process):
    out = start_process(
        *(sys.executable, BENCHMARKS / 'benchmark_models.py'),
        *('--models', 'ResNet-51'),
        returncode=2,
    )
    assert 'ResNet-51' in out
