# Copyright (c) mmactive contributors. All rights reserved.
"""Runs every snippet of docs/en/new_experiment.md, in the page's order.

Nothing is changed but the size of the images and the length of the training,
by options that are added to the page's commands.
"""

import json
import re
import shlex
import sys

import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image

from mmactive.models import ActiveMLP
from mmactive.utils.checkpoint import load

from .conftest import ROOT

PAGE = ROOT / 'docs' / 'en' / 'new_experiment.md'
BLOCKS = re.findall(r'```(\w+)\n(.*?)```', PAGE.read_text(), re.DOTALL)


def write_coco(folder, classes, files):
    """Writes images with a box of a colour each, in COCO's format."""
    generator = np.random.default_rng(0)
    for ann_file, image_folder in files.items():
        (folder / image_folder).mkdir(parents=True, exist_ok=True)
        (folder / ann_file).parent.mkdir(parents=True, exist_ok=True)
        image = generator.integers(0, 60, (120, 160, 3), dtype=np.uint8)
        x, y, w, h = 30, 20, 80, 70
        image[y : y + h, x : x + w] += 150
        Image.fromarray(image).save(folder / image_folder / '1.jpg')
        corners = [x, y, x + w, y, x + w, y + h, x, y + h]
        annotation = dict(
            id=1,
            image_id=1,
            category_id=1,
            bbox=[x, y, w, h],
            area=w * h,
            segmentation=[corners],
            iscrowd=0,
        )
        content = dict(
            images=[dict(id=1, file_name='1.jpg', height=120, width=160)],
            annotations=[annotation],
            categories=[
                dict(id=i, name=name) for i, name in enumerate(classes, 1)
            ],
        )
        (folder / ann_file).write_text(json.dumps(content))


def write_fields(folder):
    """Writes label maps of stripes, and images that show them."""
    labels = np.repeat(np.arange(4, dtype=np.uint8), 32)  # 0: no class
    labels = np.tile(labels[:, None], (1, 160))
    for split in ('training', 'validation'):
        for kind in ('images', 'annotations'):
            (folder / kind / split).mkdir(parents=True)
        for i in range(2):
            image = np.stack([labels * 60] * 3, axis=2)
            Image.fromarray(image).save(folder / f'images/{split}/{i}.jpg')
            path = folder / f'annotations/{split}/{i}.png'
            Image.fromarray(labels).save(path)


def write_flowers(folder):
    """Writes grey images of two classes."""
    for split in ('train', 'val'):
        for grey, name in ((60, 'daisy'), (180, 'tulip')):
            (folder / split / name).mkdir(parents=True)
            for i in range(2):
                path = folder / split / name / f'{i}.jpg'
                Image.new('RGB', (80, 60), (grey + i,) * 3).save(path)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder as the page has it, with data and ImageNet checkpoints."""
    for name in ('tools', 'configs'):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / 'checkpoints').mkdir()
    torch.manual_seed(0)
    for arch in ('xtiny', 'small'):
        weights = {
            f'backbone.{key}': value
            for key, value in ActiveMLP(arch).state_dict().items()
        }
        path = tmp_path / f'checkpoints/activemlp-{arch}_in1k.pth'
        torch.save(dict(state_dict=weights), path)
    write_coco(
        tmp_path / 'data/coco',
        CocoDataset.METAINFO['classes'],
        {
            'annotations/instances_train2017.json': 'train2017',
            'annotations/instances_val2017.json': 'val2017',
        },
    )
    write_coco(
        tmp_path / 'data/fruit',
        ('apple', 'pear'),
        {'train.json': 'images', 'val.json': 'images'},
    )
    write_fields(tmp_path / 'data/fields')
    write_flowers(tmp_path / 'data/flowers')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def list_options(path):
    """Lists options that make a training or test of a config short."""
    cfg = Config.fromfile(path)
    options = [
        f'{loader}.{option}'
        for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader')
        for option in ('num_workers=0', 'persistent_workers=False')
    ]
    options.append('default_hooks.logger.interval=1')
    # By chance, the loss of a mask head that nobody has trained is above 20.
    options.append('randomness.seed=0')
    if cfg.default_scope == 'mmpretrain':
        return [
            *options,
            'train_cfg.max_epochs=1',
            'train_dataloader.dataset.indices=64',
            'val_dataloader.dataset.indices=20',
        ]
    if cfg.default_scope == 'mmdet':
        resize = cfg.train_dataloader.dataset.pipeline[2]
        value = (
            'scale=(160,120)' if 'scale' in resize else 'scales=[(160,120)]'
        )
        return [
            *options,
            'train_cfg.max_epochs=1',
            f'train_dataloader.dataset.pipeline.2.{value}',
            'val_dataloader.dataset.pipeline.1.scale=(160,120)',
            'test_dataloader.dataset.pipeline.1.scale=(160,120)',
        ]
    options += [
        f'tta_pipeline.1.transforms.0.{i}.scale=(160,128)' for i in range(6)
    ]
    return [
        *options,
        'train_cfg.max_iters=2',
        'train_cfg.val_interval=2',
        'default_hooks.checkpoint.interval=2',
        'model.data_preprocessor.size=(64,64)',
        'train_dataloader.dataset.pipeline.2.scale=(160,128)',
        'train_dataloader.dataset.pipeline.3.crop_size=(64,64)',
        'val_dataloader.dataset.pipeline.1.scale=(160,128)',
        'test_dataloader.dataset.pipeline.1.scale=(160,128)',
    ]


def shorten(words):
    """Adds the options to a command of the page; its own go before."""
    if words[0].endswith('dist_train.sh'):
        words = [*words[:2], '2', *words[3:]]  # processes
    config = next(word for word in words if word.startswith('experiments/'))
    options = list_options(config)
    if '--cfg-options' in words:
        given = {word.partition('=')[0] for word in words}
        options = [o for o in options if o.partition('=')[0] not in given]
        return words + options
    return [*words, '--cfg-options', *options]


def rename_last(work_dirs):
    """Gives the last checkpoints the names that whole trainings leave."""
    for last in work_dirs.glob('*/last_checkpoint'):
        for name in ('epoch_12.pth', 'iter_40000.pth'):
            target = last.parent / name
            target.unlink(missing_ok=True)
            target.symlink_to(last.read_text())


def losses(work_dir):
    log = sorted(work_dir.glob('*/vis_data/scalars.json'))[-1].read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    return [line['loss'] for line in lines if 'loss' in line]


def test_snippets(place, monkeypatch, run_tool, start_process):
    commands = 0
    for language, text in BLOCKS:
        if language == 'python':
            name = re.match(r'# (experiments/\w+\.py)\n', text).group(1)
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_text(text)
            continue
        assert language == 'bash'
        for line in text.replace('\\\n', ' ').splitlines():
            words = shlex.split(line)
            if words[0].startswith('PYTHONPATH='):
                folder = place / words.pop(0).partition('=')[2]
                monkeypatch.syspath_prepend(folder)
            if words[0] == 'python':
                words.pop(0)
            tool = words[0].partition('/')[2]
            if tool in ('train.py', 'test.py', 'dist_train.sh'):
                words = shorten(words)
            if 'train' in tool and '--resume' not in words:
                # The page offers several ways to train the same.
                words.append('--overwrite')
            if tool == 'dist_train.sh':
                start_process(*words)
            elif tool.startswith('dataset_converters'):
                start_process(sys.executable, *words)
            else:
                run_tool(tool, *words[1:])
            rename_last(place / 'work_dirs')
            commands += 1
    assert commands == 19
    check_results(place / 'work_dirs')


def check_results(work_dirs):
    """Checks that the snippets did what the page says."""
    names = {path.name for path in work_dirs.iterdir()}
    assert names == {
        *('higher_lr', 'smaller_images', 'small', 'own_variant', 'fruit'),
        *('fruit_fine_tuned', 'flowers', 'fields', 'fields_and_rest'),
        *('wide_fusion', 'sum_mixer_digits'),
        'retinanet_patchnet_fpn_1x_coco',
    }
    cfgs, weights = {}, {}
    for name in names:
        (path,) = (work_dirs / name).glob('*.py')
        cfgs[name] = Config.fromfile(path)
        last = (work_dirs / name / 'last_checkpoint').read_text()
        weights[name] = load(last)['state_dict']
        assert all(0 < loss < 20 for loss in losses(work_dirs / name))

    assert cfgs['higher_lr'].optim_wrapper.optimizer.lr == 2e-4
    resize = cfgs['smaller_images'].train_dataloader.dataset.pipeline[2]
    assert resize.scale == (400, 300)

    def stem(name):
        return weights[name]['backbone.downsample_layers.0.weight']

    # The first iterations change next to nothing: the checkpoint was loaded.
    torch.manual_seed(0)
    for name, arch in (
        ('smaller_images', 'xtiny'),
        ('small', 'small'),
        ('flowers', 'xtiny'),
    ):
        path = f'checkpoints/activemlp-{arch}_in1k.pth'
        start = load(path)['state_dict']
        start = start['backbone.downsample_layers.0.weight']
        torch.testing.assert_close(stem(name), start, atol=1e-4, rtol=0)
    assert stem('own_variant').shape[0] == 48
    key = 'backbone.stages.3.0.weight'
    assert weights['retinanet_patchnet_fpn_1x_coco'][key].shape[0] == 256
    # Kaiming's, not PyTorch's own
    std = (2 / (48 * 49)) ** 0.5
    assert stem('own_variant').std().item() == pytest.approx(std, rel=0.1)

    fc = 'roi_head.bbox_head.fc_cls.weight'
    assert weights['fruit'][fc].shape[0] == 3
    assert weights['flowers']['head.fc.weight'].shape[0] == 2
    for name, num, labels in (
        ('fields', 3, {0, 1, 2, 255}),
        ('fields_and_rest', 4, {0, 1, 2, 3}),
    ):
        key = 'decode_head.conv_seg.weight'
        assert weights[name][key].shape[0] == num
        init_default_scope('mmseg')
        for loader in ('train_dataloader', 'val_dataloader'):
            dataset = DATASETS.build(cfgs[name][loader].dataset)
            found = dataset[0]['data_samples'].gt_sem_seg.data.unique()
            # Padded crops, and crops that miss a class
            assert set(found.tolist()) <= labels | {255}
            if loader == 'val_dataloader':
                assert set(found.tolist()) == labels
    frozen = [
        key
        for key in weights['higher_lr']
        if re.match(r'backbone\.(downsample_layers|stages)\.0\.', key)
    ]
    assert frozen
    for key in frozen:
        before = weights['higher_lr'][key]
        assert torch.equal(weights['fruit_fine_tuned'][key], before)
    key = 'neck.fpn_convs.0.conv.weight'
    torch.testing.assert_close(
        weights['fruit_fine_tuned'][key],
        weights['higher_lr'][key],
        atol=1e-4,
        rtol=0,
    )

    key = 'backbone.stages.0.blocks.0.mixer.fusion.fc1.weight'
    assert weights['wide_fusion'][key].shape == (64, 64)
    assert key not in weights['sum_mixer_digits']


def test_tools_of_the_libraries(tmp_path, start_process):
    """They find a config that inherits from here, if mmactive is there."""
    base = 'mmactive::coco/mask-rcnn_activemlp-tiny_fpn_1x_coco.py'
    (tmp_path / 'mine.py').write_text(f"_base_ = '{base}'\n")
    (tmp_path / 'tool.py').write_text(
        'import sys\n'
        'from mmengine.config import Config\n'
        'print(Config.fromfile(sys.argv[1]).model.type)\n'
    )
    tool = (tmp_path / 'tool.py', tmp_path / 'mine.py')
    start_process(sys.executable, *tool, returncode=1)
    assert 'MaskRCNN' in start_process(sys.executable, '-m', 'mmactive', *tool)
