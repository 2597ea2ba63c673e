# Copyright (c) mmactive contributors. All rights reserved.
"""The benchmarks run, and what they compare computes the same."""

import importlib
import json
import math
import re
import sys

import cv2
import pytest
import torch

from mmactive.models import ActiveMLP
from mmactive.ops import axial_deform_gather_reference
from mmactive.ops.axial_deform_gather import _backward_reference

from .conftest import ROOT, TOOLS

BENCHMARKS = TOOLS / 'benchmarks'
LAYER = {'mmactive', 'torchvision', 'mmcv', 'linear'}
GATHER = {'mmactive', 'grid_sample', 'gather+lerp', 'copy', 'copies'}


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


@pytest.fixture
def load(monkeypatch):
    """Imports a script of the benchmarks."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def test_operator(tmp_path, start_process):
    # Variants that differ make it fail.
    out = start_process(
        *(sys.executable, BENCHMARKS / 'benchmark_operator.py'),
        *('--stages', 2, 4, '--inputs', '1x96x64', '--rounds', 1),
        *('--min-seconds', 0, '--out', tmp_path),
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
    assert variants == {
        'layer forward': LAYER,
        'layer forward+backward': LAYER,
        'gather forward': GATHER,
        'gather backward': GATHER,
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
    for result in results:
        ours, copy = (
            next(
                (
                    r['seconds']
                    for r in results
                    if r['variant'] == variant
                    and r['case'] == result['case']
                    and r['measure'] == result['measure']
                ),
                None,
            )
            for variant in ('mmactive', 'copy')
        )
        assert result['ratio'] == pytest.approx(result['seconds'] / ours)
        assert result['arch'] == 'tiny'
        assert result['stage'] == (2 if result['shape'][1] == 12 else 4)
        if result['measure'].startswith('gather'):
            tokens = math.prod(result['shape'])
            reads_and_writes = [2 * tokens, tokens / result['shared']]
            if result['measure'] == 'gather backward':
                reads_and_writes = [3 * tokens, 2 * tokens / result['shared']]
            assert result['bytes'] == 4 * sum(reads_and_writes)
            assert result['gb_per_second'] == pytest.approx(
                result['bytes'] / result['seconds'] / 1e9
            )
            assert result['fraction_of_copy'] == pytest.approx(
                copy / result['seconds']
            )


def test_operator_of_several_kinds(tmp_path, start_process):
    """Half precision, architectures and inputs: no file overwrites another."""
    command = (sys.executable, BENCHMARKS / 'benchmark_operator.py')
    start_process(
        *command,
        *('--arch', 'tiny', 'large', '--dtypes', 'bfloat16', 'float16'),
        *('--inputs', '1x64x64', '2x64x96', '--stages', 1, '--dims', 2),
        *('--measures', 'layer forward', 'gather forward', '--rounds', 1),
        *('--min-seconds', 0, '--out', tmp_path, '--name', 'half'),
    )
    results = json.loads((tmp_path / 'half.json').read_text())['results']
    assert {(r['arch'], r['dtype'], *r['shape']) for r in results} == {
        (arch, dtype, *tokens, channels)
        for arch, channels in (('tiny', 64), ('large', 96))
        for dtype in ('bfloat16', 'float16')
        for tokens in ((1, 16, 16), (2, 16, 24))
    }
    # No peer is left out, whatever dtypes it has kernels for.
    assert {r['variant'] for r in results} == LAYER | GATHER
    pictures = {
        f'half_{arch}_{dtype}.png'
        for arch in ('tiny', 'large')
        for dtype in ('bfloat16', 'float16')
    }
    assert {path.name for path in tmp_path.glob('*.png')} == pictures
    # The pictures can be drawn again from the numbers.
    for path in tmp_path.glob('*.png'):
        path.unlink()
    start_process(*command, '--plot', tmp_path / 'half.json')
    assert {path.name for path in tmp_path.glob('*.png')} == pictures


def test_operator_over_channels(tmp_path, start_process):
    start_process(
        *(sys.executable, BENCHMARKS / 'benchmark_operator.py'),
        *('--channels', 8, 16, '--inputs', '1x32x32', '--dims', 1),
        *('--measures', 'gather forward', 'gather backward', '--rounds', 1),
        *('--min-seconds', 0, '--out', tmp_path),
    )
    results = read_results(tmp_path, 'operator_cpu')
    assert {tuple(r['shape']) for r in results} == {
        (1, 8, 8, 8),
        (1, 8, 8, 16),
    }


def test_peers_may_be_missing_but_not_differ(load, capsys):
    benchmark = load('benchmark_operator')
    case = benchmark.Case((1, 4, 5, 8), 2, 1, torch.float32, 'cpu')

    def broken(case):
        raise NotImplementedError('not implemented for float32')

    gather = benchmark.Case.mmactive_gather
    checked = benchmark.check_variants(
        case, {'mmactive': gather, 'broken': broken, 'same': gather}
    )
    assert list(checked) == ['mmactive', 'same']
    out = capsys.readouterr().out
    assert 'without broken: not implemented for float32' in out
    with pytest.raises(NotImplementedError):
        benchmark.check_variants(case, {'mmactive': broken})
    with pytest.raises(AssertionError, match='other differs'):
        benchmark.check_variants(
            case, {'mmactive': gather, 'other': lambda case: -gather(case)}
        )


def test_needs_kernels(load):
    utils = load('benchmark_utils')
    utils.require_kernel('cpu')
    with pytest.raises(SystemExit, match='without kernels for xpu'):
        utils.require_kernel('xpu')


def test_check_of_the_operator(load, monkeypatch, capsys):
    check = load('check_operator')
    monkeypatch.setattr(sys, 'argv', ['check_operator.py'])
    check.main()
    assert capsys.readouterr().out.count(': passed\n') == 6

    class Wrong:
        axial_deform_gather = staticmethod(axial_deform_gather_reference)

        @staticmethod
        def axial_deform_gather_backward(grad, input, offset, dim):
            grads = _backward_reference(grad, input, offset, dim)
            return grads[0] * 1.0001, grads[1]

    monkeypatch.setattr(check, 'OPS', Wrong)
    monkeypatch.setattr(check, 'CHECKS', [check.check_memory_layouts])
    with pytest.raises(SystemExit, match='1 of 1 checks failed'):
        check.main()
    assert 'AssertionError: grad_input of (2, 9, 12, 64), 4 shared' in (
        capsys.readouterr().out
    )


def test_models(tmp_path, start_process):
    names = ['ActiveMLP-T', 'reference', 'ResNet-50 (torchvision)']
    names += ['AS-MLP-T', 'AS-MLP-T (published)']
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
        ours, published = (r['seconds'] for r in chosen[-2:])
        line = rf'\| AS-MLP-T +\|.* {published / ours:.2f}x +\| +\d+ \|'
        assert re.search(line, out)
    scaling = [r for r in results if r['measure'] == 'scaling']
    assert {r['resolution'] for r in scaling} == {32, 64}
    assert 'Swin-T (torchvision)' in {r['variant'] for r in scaling}


def test_models_of_configs(tmp_path, start_process):
    """A classifier as a whole, of a segmentor the backbone."""
    names = [
        'imagenet/activemlp-xtiny_8xb128_in1k',
        'ade20k/peers/fpn_cyclemlp-b1_8xb4-40k_ade20k-512x512',
    ]
    configs = [ROOT / f'configs/{name}.py' for name in names]
    command = (sys.executable, BENCHMARKS / 'benchmark_models.py')
    options = ('--batch-size', 1, '--resolution', 64, '--rounds', 1)
    options += ('--out', tmp_path, '--configs')
    start_process(*command, *options, *configs)
    results = read_results(tmp_path, 'models_cpu')
    stems = [config.stem for config in configs]
    assert [(r['measure'], r['variant']) for r in results] == [
        (mode, stem) for mode in ('inference', 'training') for stem in stems
    ]
    out = start_process(*command, *options, 'no.py', returncode=2)
    assert "--configs: there is no file 'no.py'" in out
    # Beside the accuracy that the paper reports
    tool = TOOLS / 'analysis_tools' / 'plot_zoo.py'
    path = tmp_path / 'models_cpu.json'
    out = start_process(sys.executable, tool, '--speed', path)
    speed = results[0]['images_per_second']
    line = f'| ActiveMLP-xT | 2.2 | 15.3 | 79.7 | {speed:.1f} |'
    assert line in out
    assert stems[1] not in out  # no classifier
    assert path.with_suffix('.svg').is_file()


def test_models_that_do_not_run_are_left_out(tmp_path, start_process):
    """torchvision's deformable convolution has no bfloat16 on a CPU."""
    out = start_process(
        *(sys.executable, BENCHMARKS / 'benchmark_models.py'),
        *('--models', 'reference', 'ActiveMLP-T', '--dtype', 'bfloat16'),
        *('--modes', 'inference', '--batch-size', 1, '--resolution', 32),
        *('--rounds', 1, '--scaling', 32, '--out', tmp_path),
    )
    assert out.count('without reference: ') == 2
    variants = [r['variant'] for r in read_results(tmp_path, 'models_cpu')]
    assert variants == ['ActiveMLP-T', 'ActiveMLP-T', 'Swin-T (torchvision)']


def test_unknown_model(start_process):
    out = start_process(
        *(sys.executable, BENCHMARKS / 'benchmark_models.py'),
        *('--models', 'ResNet-51'),
        returncode=2,
    )
    assert 'ResNet-51' in out


def test_models_without_openmmlab(tmp_path, start_process):
    """The stand-ins build the same network."""
    torch.manual_seed(0)
    model = ActiveMLP('xtiny').eval()
    model.init_weights()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        content = (model.state_dict(), image, model(image)[0])
    torch.save(content, tmp_path / 'expected.pt')
    script = f"""
import sys
for name in ('mmcv', 'mmengine'):
    sys.modules[name] = None  # cannot be imported
sys.path.insert(0, '{BENCHMARKS}')
import benchmark_models, torch
sys.argv = [
    'models', '--models', 'ActiveMLP-T', '--modes', 'inference',
    '--batch-size', '1', '--resolution', '64', '--rounds', '1',
    '--out', '{tmp_path}',
]
benchmark_models.main()
from mmactive.models import ActiveMLP
weights, image, expected = torch.load('{tmp_path}/expected.pt')
model = ActiveMLP('xtiny').eval()
model.load_state_dict(weights)
with torch.no_grad():
    torch.testing.assert_close(model(image)[0], expected)
model.init_weights()
for name, parameter in model.named_parameters():
    if weights[name].dim() == 2:
        torch.testing.assert_close(
            parameter.std(), weights[name].std(), rtol=0.1, atol=0
        )
"""
    out = start_process(sys.executable, '-c', script)
    assert 'with stand-ins for mmengine and mmcv' in out
    results = read_results(tmp_path, 'models_cpu')
    assert [result['variant'] for result in results] == ['ActiveMLP-T']


def test_deployment(workspace, start_process, load):
    pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    names = ['folded', 'ONNX Runtime', 'int8, static', 'int8, dynamic']
    command = (sys.executable, BENCHMARKS / 'benchmark_deployment.py')
    out = start_process(
        *command,
        *('--config', 'classifier.py', '--variants', *names),
        *('--resolution', 32, '--batch-size', 2, '--rounds', 3),
        *('--out', workspace),
    )
    results = read_results(workspace, 'deployment_cpu')
    assert [r['variant'] for r in results] == ['eager', *names]
    for result in results:
        low, high = result['ratio_quartiles']
        assert low <= result['ratio'] <= high
        assert result['least_seconds'] <= result['seconds']
        line = (
            rf'\| {result["variant"]} +\| +{result["seconds"] * 500:.1f} '
            rf'.* {result["ratio"]:.2f}x \|'
        )
        assert re.search(line, out)
    out = start_process(*command, '--config', 'no.py', returncode=2)
    assert "--config: there is no file 'no.py'" in out
    # What computes something else is not timed.
    check = load('benchmark_deployment').check
    scores = torch.tensor([[0.1, 0.9]])
    check({'eager': lambda: scores, 'same': lambda: scores + 1e-6})
    with pytest.raises(AssertionError, match='other differs by 1.1e-02'):
        check({'eager': lambda: scores, 'other': lambda: scores + 0.01})


def test_gpu_suite_stops_after_a_failed_build(tmp_path, start_process):
    out = start_process(
        *('bash', BENCHMARKS / 'gpu_suite.sh', tmp_path, 'build', 'operator'),
        PYTHON='false',
        returncode=1,
    )
    assert re.search(r'\nbuild +FAILED', out)
    assert [path.name for path in tmp_path.iterdir()] == ['build.log']
