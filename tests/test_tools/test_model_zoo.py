# Copyright (c) mmactive contributors. All rights reserved.
import re
import runpy
from pathlib import Path

import modelindex
import pytest
import torch
import yaml
from config_checks import load_config
from mmengine.analysis import FlopAnalyzer
from mmengine.utils import get_installed_path
from torch import nn

from mmactive.utils.complexity import build_model, count_complexity

from .conftest import ROOT, TOOLS

PATH = TOOLS / 'analysis_tools' / 'model_zoo.py'


@pytest.fixture(scope='module')
def zoo():
    """The names of the tool, without running it."""
    return runpy.run_path(str(PATH))


@pytest.fixture(scope='module')
def sections(zoo):
    return zoo['load_sections']()


def test_every_config_has_a_row(sections):
    rows = [
        'configs/' + section['config'].format(variant)
        for section in sections
        for variant in section['variants']
    ]
    assert len(rows) == len(set(rows))
    configs = {
        str(path.relative_to(ROOT))
        for folder in ('imagenet', 'coco', 'ade20k')
        for path in (ROOT / 'configs' / folder).rglob('*.py')
    }
    assert configs == set(rows)


def test_page_is_up_to_date(zoo, sections):
    """The smallest model of every section; the slow test has them all."""
    page = (ROOT / 'docs/en/model_zoo.md').read_text().splitlines()
    meter = zoo['Meter']()
    for section in sections:
        row = meter.measure(section, section['variants'][0])
        lines = zoo['format_section'](section, [row]).splitlines()
        for line in lines:
            assert line in page
        for line in zoo['list_differences'](section, row):
            assert f'| {" | ".join(line)} |' in page


@pytest.mark.slow
def test_files_are_up_to_date(tmp_path, start_process):
    out = start_process('python', PATH, '--out-dir', tmp_path)
    written = [path for path in tmp_path.rglob('*') if path.is_file()]
    assert len(written) == 5
    for path in written:
        committed = ROOT / path.relative_to(tmp_path)
        assert path.read_text() == committed.read_text()
    page = (tmp_path / 'docs/en/model_zoo.md').read_text()
    assert all(line in out for line in page.splitlines())


def test_metafiles_are_openmmlabs(sections):
    index = modelindex.load(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    # OpenMMLab's paths start at the repository's root, not at the metafile.
    errors = [e for e in index.check(silent=True) if 'README' not in e]
    assert not errors
    assert all((ROOT / c.readme).is_file() for c in index.collections)
    num_configs = sum(len(section['variants']) for section in sections)
    assert len(index.models) == num_configs
    for model in index.models:
        assert model.name == Path(model.config).stem
        assert (ROOT / model.config).is_file()


# Files of the libraries that have all keys and metrics that we use
UPSTREAM = (
    'mmpretrain/.mim/configs/swin_transformer/metafile.yml',
    'mmdet/.mim/configs/swin/metafile.yml',
    'mmdet/.mim/configs/simple_copy_paste/metafile.yml',
    'mmseg/.mim/configs/swin/metafile.yaml',
)


def list_names(metafiles):
    """Lists keys, tasks, data sets and metrics of loaded metafiles."""
    collections, models, metadata, code, results = (set() for _ in range(5))
    for metafile in metafiles:
        for collection in metafile.get('Collections', ()):
            collections |= set(collection)
            metadata |= set(collection['Metadata'])
            code |= set(collection.get('Code', ()))
        for model in metafile['Models']:
            models |= set(model)
            metadata |= set(model.get('Metadata', ()))
            found = model.get('Results', [])
            # mmseg has no list.
            for result in [found] if isinstance(found, dict) else found:
                results |= {
                    (result['Task'], result['Dataset'], metric)
                    for metric in result['Metrics']
                }
    return collections, models, metadata, code, results


def test_metafiles_have_the_libraries_names():
    paths = sorted(ROOT.glob('configs/*/metafile.yml'))
    ours = [yaml.safe_load(path.read_text()) for path in paths]
    assert len(ours) == 3
    *keys, results = list_names(ours)
    site = Path(get_installed_path('mmpretrain')).parent
    upstream = [yaml.safe_load((site / name).read_text()) for name in UPSTREAM]
    *known_keys, known_results = list_names(upstream)
    for names, known in zip(keys, known_keys):
        assert names <= known
    # Nobody has trained these models here.
    assert all(metric.endswith(' (paper)') for _, _, metric in results)
    # The libraries print AP alone.
    assert {
        (task, dataset, re.sub(r'( AP).+', r'\1', metric[: -len(' (paper)')]))
        for task, dataset, metric in results
    } <= known_results
    names = {c['Name'] for metafile in ours for c in metafile['Collections']}
    assert len(names) == 3

    models = {m['Name']: m for metafile in ours for m in metafile['Models']}
    assert models['activemlp-tiny_8xb128_in1k']['Metadata'] == {
        'Parameters': 27_152_232,
        'FLOPs': 3_954_178_816,
        'Epochs': 300,
        'Batch Size': 1024,
        'Training Data': 'ImageNet-1k',
    }
    upernet = models['upernet_activemlp-base_8xb2-160k_ade20k-512x512']
    assert upernet['Metadata']['Iterations'] == 160_000
    assert upernet['Metadata']['Batch Size'] == 16
    assert upernet['Results'][0]['Metrics'] == {
        'mIoU (paper)': 48.7,
        'mIoU(ms+flip) (paper)': 49.8,
    }
    cascade = models['cascade-mask-rcnn_activemlp-tiny_fpn_ms-3x_coco']
    assert cascade['Metadata']['Epochs'] == 36
    assert 'Results' not in cascade  # The paper does not print any.


class WholeSegmentor(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, image):
        metainfo = dict(img_shape=tuple(image.shape[2:]))
        return self.model.encode_decode(image, [metainfo])


@pytest.mark.parametrize(
    'config',
    [
        'ade20k/fpn_activemlp-xtiny_8xb4-40k_ade20k-512x512.py',
        'ade20k/upernet_activemlp-xtiny_8xb2-160k_ade20k-512x512.py',
    ],
)
def test_both_counts_agree_with_fvcores_rules(config, zoo):
    """mmengine's counter is fvcore's; it traces the model."""
    cfg = load_config(f'configs/{config}')
    model = build_model(cfg)
    ours = count_complexity(model, (64, 96)).macs
    others = zoo['count_others'](model, (64, 96))
    model = WholeSegmentor(build_model(cfg, 'cpu'))
    counter = FlopAnalyzer(model, torch.zeros(1, 3, 64, 96))
    counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    counts = counter.by_operator()
    assert ours == counts['conv'] + counts['linear']
    # Pooling is left out: it makes no difference to any cell.
    assert ours + others == counter.total() - counts['adaptive_avg_pool2d']


def test_rounding(zoo):
    assert zoo['rounded'](3.954, 4.0) == '4.0'
    assert zoo['rounded'](46.8, 47) == '47'
    assert zoo['rounded'](30.906, 30.9) == '30.9'


def test_differences_are_found(zoo):
    cost = zoo['Complexity'](params=27_152_232, macs=3_954_000_000)
    row = zoo['Row']('configs/imagenet/a.py', 'tiny', cost, {})
    section = dict(
        shape=[32, 32],
        printed=[
            dict(table='A', columns=['params', 'x'], tiny=[27.2, 1]),
            dict(
                table='B',
                columns=['params', 'x'],
                tiny=[27.1, 1],
                notes={'tiny params': 'why'},
            ),
        ],
    )
    assert zoo['list_differences'](section, row) == [
        ['a', 'B', 'Params (M)', '27.1', '27.2', '+0.05', 'why']
    ]
