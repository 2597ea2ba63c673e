# Copyright (c) mmactive contributors. All rights reserved.
import csv
import json
import re
import runpy
import sys
from pathlib import Path

import modelindex
import pytest
import torch
import yaml
from config_checks import load_config
from mmengine.analysis import FlopAnalyzer
from mmengine.config import Config
from mmengine.utils import get_installed_path
from torch import nn

from mmactive.utils.complexity import build_model, count_complexity

from .conftest import ROOT, TOOLS

PATH = TOOLS / 'analysis_tools' / 'model_zoo.py'
COUNTS = Path(__file__).parent / 'data' / 'published_counts.csv'
# One small model of every page
SAMPLE = (
    'imagenet/peers/twins-svt-small_8xb128_in1k.py',
    'ade20k/peers/fpn_swin-tiny_8xb4-40k_ade20k-512x512.py',
    'ade20k/upernet_activemlp-xtiny_8xb2-160k_ade20k-512x512.py',
    'coco/peers/mask-rcnn_pvt-tiny_fpn_1x_coco.py',
    'coco/peers/retinanet_swin-tiny_fpn_ms-3x_coco.py',
    'imagenet/ablation/activemlp-tiny-star_8xb128_in1k.py',
)


@pytest.fixture(scope='module')
def tool():
    """The names of the tool, without running it."""
    return runpy.run_path(str(PATH))


@pytest.fixture(scope='module')
def zoo(tool):
    return tool['load_zoo']()


@pytest.fixture(scope='module')
def rows(tool, zoo):
    return tool['load_rows'](zoo['notes'])


def test_rows_and_configs(rows, zoo):
    """Every config has a row, and every row of the paper a config."""
    configs = {
        str(path.relative_to(ROOT / 'configs'))
        for folder in ('imagenet', 'coco', 'ade20k')
        for path in (ROOT / 'configs' / folder).rglob('*.py')
    }
    assert {row.config for row in rows} == configs
    compared = [row for row in rows if row.table in '23456']
    assert len(compared) == 200
    tables = [row.table for row in compared]
    assert [tables.count(n) for n in '23456'] == [56, 34, 30, 60, 20]
    ours = [row for row in compared if row.family == 'ActiveMLP']
    assert len(compared) - len(ours) == 165
    # What is said once of a config holds for all of its rows.
    shown = [
        row
        for page in zoo['pages']
        for section in page['sections']
        for row in rows
        if row.table in section.get('tables', page['tables'])
        and row.setting in section['settings']
    ]
    assert sorted(map(id, shown)) == sorted(map(id, rows))


def test_page_is_up_to_date(tool, zoo, rows):
    """A row of every page; the slow test has them all."""
    meter = tool['Meter'](zoo['settings'])
    found = 0
    for row in rows:
        if row.config not in SAMPLE:
            continue
        meter.measure(row)
        page = next(
            page
            for page in zoo['pages']
            for section in page['sections']
            if row in tool['select'](rows, page, section)
        )
        path = ROOT / 'docs/en/model_zoo' / f'{page["file"]}.md'
        text = path.read_text()
        params = f'{row.cost.params / 1e6:.2f}'
        line = next(
            line for line in text.splitlines() if f'/{row.config})' in line
        )
        assert f'| {params} |' in line
        assert f'| {row.cost.macs / 1e9:.2f} |' in line
        shape = zoo['settings'][row.setting]['shape']
        for phrase in tool['compare'](row, shape) + row.notes:
            assert phrase in text
        found += 1
    assert found == len(SAMPLE)


@pytest.mark.slow
def test_files_are_up_to_date(tmp_path, start_process):
    start_process(sys.executable, PATH, '--out-dir', tmp_path)
    written = [path for path in tmp_path.rglob('*') if path.is_file()]
    # Pages and their overview, metafiles and the index of them
    assert len(written) == 6 + 1 + 6 + 1
    for path in written:
        committed = ROOT / path.relative_to(tmp_path)
        assert path.read_text() == committed.read_text()


@pytest.mark.slow
def test_json(tmp_path, start_process):
    start_process(sys.executable, PATH, '--json', tmp_path / 'zoo.json')
    content = json.loads((tmp_path / 'zoo.json').read_text())
    assert len(content) == 200
    assert {path.name for path in tmp_path.iterdir()} == {'zoo.json'}
    metadata = load_metadata()
    for item in content:
        known = metadata[item['config']]
        assert item['params'] == known['Parameters']
        assert item['flops'] == known['FLOPs']


def load_metadata():
    """Loads what the committed metafiles say of each config."""
    paths = ROOT.glob('configs/**/metafile.yml')
    return {
        model['Config']: model['Metadata']
        for path in paths
        for model in yaml.safe_load(path.read_text())['Models']
    }


@pytest.mark.parametrize('folder', ['imagenet', 'coco', 'ade20k'])
def test_models_build(folder):
    """All models of other families, with the published number of weights."""
    metadata = load_metadata()
    configs = sorted((ROOT / 'configs' / folder / 'peers').glob('*.py'))
    assert len(configs) > 40
    for config in configs:
        model = build_model(Config.fromfile(config))
        params = sum(parameter.numel() for parameter in model.parameters())
        known = metadata[str(config.relative_to(ROOT))]
        assert params == known['Parameters'], config.name


def test_metafiles_agree_with_other_counts():
    """With those of another counter, and with published numbers."""
    metadata = load_metadata()
    with COUNTS.open(newline='') as file:
        lines = list(csv.DictReader(file))
    assert len(lines) > 110
    for line in lines:
        known = metadata[f'configs/{line["config"]}']
        assert known['Parameters'] == int(line['params']), line
        if line['flops']:
            assert known['FLOPs'] == int(line['flops']), line


def test_every_cell_is_met_or_explained(tool, zoo, rows):
    """For parameters: rounded, cut, or with a reason in the notes."""
    metadata = load_metadata()
    differing = 0
    for row in rows:
        printed = row.paper.get('params')
        if printed is None:
            continue
        params = metadata[f'configs/{row.config}']['Parameters'] / 1e6
        if tool['rounded'](params, printed) == str(printed):
            continue
        differing += 1
        assert tool['is_cut'](params, printed) or row.notes, row
        # No cell is met by another model of its table.
        if row.setting != 'RetinaNet 1x' or row.row != 'Swin-T':  # a slip
            assert params == pytest.approx(printed, rel=0.08), row
    assert 20 < differing < 50


def test_metafiles_are_openmmlabs(rows):
    index = modelindex.load(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    # OpenMMLab's paths start at the repository's root, not at the metafile.
    errors = [e for e in index.check(silent=True) if 'README' not in e]
    assert not errors
    assert all((ROOT / c.readme).is_file() for c in index.collections)
    configs = [model.config for model in index.models]
    assert sorted(configs) == sorted({f'configs/{r.config}' for r in rows})
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
    paths = sorted(ROOT.glob('configs/**/metafile.yml'))
    ours = [yaml.safe_load(path.read_text()) for path in paths]
    assert len(ours) == 6
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

    models = {m['Name']: m for metafile in ours for m in metafile['Models']}
    assert models['activemlp-tiny_8xb128_in1k']['Metadata'] == {
        'Parameters': 27_152_232,
        'FLOPs': 3_954_178_816,
        'Epochs': 300,
        'Batch Size': 1024,
        'Training Data': 'ImageNet-1k',
        'Architecture': ['ActiveMLP-T'],
    }
    upernet = models['upernet_swin-base_8xb2-160k_ade20k-512x512']
    assert upernet['In Collection'] == 'Swin on ADE20K'
    assert upernet['Metadata']['Iterations'] == 160_000
    assert upernet['Metadata']['Batch Size'] == 16
    assert upernet['Results'][0]['Metrics'] == {
        'mIoU (paper)': 48.1,
        'mIoU(ms+flip) (paper)': 49.7,
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
def test_counts_agree_with_fvcores_rules(config, tool):
    """mmengine's counter is fvcore's; it traces the model."""
    cfg = load_config(f'configs/{config}')
    cost = count_complexity(build_model(cfg), (64, 96))
    row = tool['Row']('3', 'Semantic FPN', '', '', '', '', {}, [], cost)
    model = WholeSegmentor(build_model(cfg, 'cpu'))
    counter = FlopAnalyzer(model, torch.zeros(1, 3, 64, 96))
    counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    counts = counter.by_operator()
    assert cost.macs == counts['conv'] + counts['linear']
    assert cost.attention_macs == 0
    # Pooling is left out: it makes no difference to any cell.
    total = counter.total() - counts['adaptive_avg_pool2d']
    name = "with norms and resizing to the image's size"
    assert dict(tool['list_counts'](row, (64, 96)))[name] == total / 1e9


def test_rounding(tool):
    assert tool['rounded'](3.954, 4.0) == '4.0'
    assert tool['rounded'](46.8, 47) == '47'
    assert tool['rounded'](30.906, 30.9) == '30.9'
    assert tool['is_cut'](59.88, 59)
    assert not tool['is_cut'](60.02, 59)
    assert tool['is_cut'](103.771, 103.7)


@pytest.mark.parametrize(
    ('paper', 'expected'),
    [
        (dict(params=27.2, flops=46), []),
        (
            dict(params=27.1, flops=47),
            [
                '27.1 (cut, not rounded)',
                '(46.60 with norms and resizing, without attention products)',
            ],
        ),
        (dict(flops=48), ['(47.60 with norms and resizing)']),
        (dict(flops=45), ['(45.20 without attention products)']),
        (dict(flops=40), ['multiply-adds, in the paper 40']),
    ],
)
def test_comparison(paper, expected, tool):
    cost = tool['Complexity'](27_152_232, int(46.2e9), int(1e9), int(1.4e9))
    row = tool['Row'](
        '2', 'ImageNet-1K', 'A', '', 'B', 'a.py', paper, [], cost
    )
    phrases = tool['compare'](row, [224, 224])
    assert len(phrases) == len(expected)
    for phrase, end in zip(phrases, expected):
        assert phrase.endswith(end)
