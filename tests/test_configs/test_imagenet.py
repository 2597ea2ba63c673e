# Copyright (c) mmactive contributors. All rights reserved.
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import (
    HOOKS,
    MODELS,
    PARAM_SCHEDULERS,
    init_default_scope,
)
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from torch import nn

FOLDER = Path(__file__).resolve().parents[2] / 'configs' / 'imagenet'
NAMES = [
    'activemlp-xtiny_8xb128_in1k',
    'activemlp-tiny_8xb128_in1k',
    'activemlp-small_8xb128_in1k',
    'activemlp-base_8xb128_in1k',
    'activemlp-large_8xb128_in1k',
    'activemlp-large_8xb128_in1k-384px',
]


def load(name):
    return Config.fromfile(FOLDER / f'{name}.py')


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Two folders with an image each, larger than the crops."""
    folder = tmp_path_factory.mktemp('images')
    generator = np.random.default_rng(0)
    for name in 'ab':
        (folder / name).mkdir()
        image = generator.integers(0, 256, (400, 500, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / name / '0.png'), image)
    return folder


def test_trains_and_tests(images, tmp_path):
    """Through the config's own pipelines, samplers, schedule and hooks."""
    cfg = load(NAMES[0])
    cfg.work_dir = str(tmp_path)
    cfg.train_cfg.max_epochs = 1
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(batch_size=2, num_workers=0)
        loader.dataset.update(type='CustomDataset', data_root=str(images))
        loader.dataset.pop('split')
    cfg.test_dataloader = cfg.val_dataloader
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.iter == 1
    loss = runner.message_hub.get_scalar('train/loss').current()
    assert 6 < loss < 8  # ln 1000 = 6.9, before anything is learnt
    assert 'accuracy/top5' in runner.test()


@pytest.mark.parametrize('name', NAMES)
def test_steps(name, images):
    """Each config trains and tests on a batch, of small images for speed."""
    init_default_scope('mmpretrain')
    cfg = load(name)
    cfg.model.data_preprocessor = cfg.data_preprocessor
    model = MODELS.build(cfg.model)
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    before = model.head.fc.bias.detach().clone()
    samples = [DataSample().set_gt_label(label) for label in (3, 999)]
    batch = dict(
        inputs=torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8),
        data_samples=samples,
    )
    losses = model.train_step(batch, optim_wrapper)
    assert losses['loss'].isfinite()
    assert not torch.equal(model.head.fc.bias, before)
    with torch.no_grad():
        for sample in model.eval().test_step(batch):
            assert sample.pred_score.shape == (1000,)
            assert sample.pred_score.sum() == pytest.approx(1)


@pytest.mark.parametrize('name', NAMES)
def test_pipelines(name, images):
    init_default_scope('mmpretrain')
    cfg = load(name)
    size = 384 if name.endswith('384px') else 224
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        pipeline = Compose(loader.dataset.pipeline)
        results = pipeline(dict(img_path=str(images / 'a' / '0.png')))
        assert results['inputs'].shape == (3, size, size)


def test_sizes():
    for name in NAMES:
        cfg = load(name)
        train, test = (
            {t.type: t for t in loader.dataset.pipeline}
            for loader in (cfg.train_dataloader, cfg.test_dataloader)
        )
        size, resize = (384, 438) if name.endswith('384px') else (224, 256)
        assert train['RandomResizedCrop'].scale == size
        assert test['ResizeEdge'].scale == resize
        assert test['CenterCrop'].crop_size == size
        for transform in (train['RandomResizedCrop'], test['ResizeEdge']):
            assert transform.interpolation == 'bicubic'
        assert 'ColorJitter' not in train
        assert cfg.val_dataloader.dataset == cfg.test_dataloader.dataset
        # 128 images on each of 8 GPUs
        assert cfg.train_dataloader.batch_size * 8 == 1024
        assert cfg.auto_scale_lr.base_batch_size == 1024


def test_weight_decay_spares_norms_biases_and_peg():
    init_default_scope('mmpretrain')
    cfg = load(NAMES[0])
    model = MODELS.build(cfg.model)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    assert isinstance(optimizer, torch.optim.AdamW)
    decay = {
        id(parameter): group['weight_decay']
        for group in optimizer.param_groups
        for parameter in group['params']
    }
    spared = {}
    for name, module in model.named_modules():
        for key, parameter in module.named_parameters(recurse=False):
            spared[id(parameter)] = (
                key == 'bias'
                or isinstance(module, nn.LayerNorm)
                or name.endswith('peg')
            )
    assert spared.keys() == decay.keys()
    assert all(decay[key] == (0 if spared[key] else 0.05) for key in decay)
    assert all(group['lr'] == 1e-3 for group in optimizer.param_groups)
    peg = sum(
        'peg' in name and not spared[id(parameter)]
        for name, parameter in model.named_parameters()
    )
    assert peg == 0
    assert sum('.peg.weight' in n for n, _ in model.named_parameters()) == 4


@pytest.mark.parametrize(
    ('name', 'spared'),
    [
        ('gfnet-h-small_16xb64_in1k', 'pos_embed'),
        ('cpvt-base_8xb128_in1k', 'pegs'),
        ('s2mlp-deep_8xb128_in1k', 'norm'),
    ],
)
def test_weight_decay_spares_what_peers_name(name, spared):
    """As published: these, and vectors as those of a norm or of a scale."""
    init_default_scope('mmpretrain')
    cfg = load(f'peers/{name}')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    decays = {
        id(parameter): group['weight_decay'] > 0
        for group in optimizer.param_groups
        for parameter in group['params']
    }
    assert any(spared in key for key, _ in model.named_parameters())
    for key, parameter in model.named_parameters():
        is_spared = (
            parameter.dim() == 1 or spared in key or key.endswith('cls_token')
        )
        assert decays[id(parameter)] != is_spared, key


def test_schedule():
    cfg = load(NAMES[0])
    assert cfg.train_cfg.max_epochs == 300
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=1e-3)
    length = 10
    schedulers = []
    for scheduler in cfg.param_scheduler:
        kind = PARAM_SCHEDULERS.get(scheduler.pop('type'))
        scheduler.pop('_scope_', None)
        if scheduler.pop('convert_to_iter_based', False):
            scheduler.pop('by_epoch')
            schedulers.append(
                kind.build_iter_from_epoch(
                    optimizer=optimizer, epoch_length=length, **scheduler
                )
            )
        else:
            schedulers.append(kind(optimizer, **scheduler))
    rates = []
    for _ in range(300):
        for _ in range(length):
            rates.append(optimizer.param_groups[0]['lr'])
            optimizer.step()
            for scheduler in schedulers:
                if not scheduler.by_epoch:
                    scheduler.step()
        for scheduler in schedulers:
            if scheduler.by_epoch:
                scheduler.step()
    assert rates[0] == pytest.approx(1e-6)
    warm_up = 5 * length
    assert rates[:warm_up] == sorted(rates[:warm_up])
    assert rates[warm_up] == pytest.approx(1e-3)
    assert rates[warm_up:] == sorted(rates[warm_up:], reverse=True)
    # Half way down the cosine, and at its end
    middle = warm_up + 295 * length // 2
    assert rates[middle] == pytest.approx((1e-3 + 1e-5) / 2, rel=0.01)
    assert rates[-1] == pytest.approx(1e-5, rel=0.01)


def test_average_of_the_weights():
    init_default_scope('mmpretrain')
    (cfg,) = load(NAMES[0]).custom_hooks
    cfg.pop('priority')
    hook = HOOKS.build(cfg)
    assert hook.evaluate_on_ema
    average = MODELS.build(
        hook.ema_cfg, default_args=dict(model=nn.Linear(1, 1))
    )
    source = nn.Linear(1, 1)
    nn.init.constant_(source.weight, 0.0)
    average.update_parameters(source)  # The first one copies.
    nn.init.constant_(source.weight, 1.0)
    average.update_parameters(source)
    assert average.module.weight.item() == pytest.approx(1 - 0.99996, rel=1e-4)


def test_regularization():
    init_default_scope('mmpretrain')
    cfg = load(NAMES[0])
    model = MODELS.build(cfg.model)
    assert model.head.loss_module.label_smooth_val == 0.1
    mixup, cutmix = model.data_preprocessor.batch_augments.augments
    assert (mixup.alpha, cutmix.alpha) == (0.8, 1.0)
    assert type(mixup).__name__ == 'Mixup'
    assert type(cutmix).__name__ == 'CutMix'
    assert model.data_preprocessor.batch_augments.probs is None  # equal
    blocks = [
        block for stage in model.backbone.stages for block in stage.blocks
    ]
    rates = [block.drop_path.drop_prob for block in blocks]
    assert rates == pytest.approx(np.linspace(0, 0.1, len(blocks)))
    pipeline = {t.type: t for t in cfg.train_dataloader.dataset.pipeline}
    augment = pipeline['RandAugment']
    assert augment.policies == 'timm_increasing'
    assert augment.num_policies == 2
    assert (augment.magnitude_level, augment.magnitude_std) == (9, 0.5)
    erasing = pipeline['RandomErasing']
    assert (erasing.erase_prob, erasing.mode) == (0.25, 'rand')
    sampler = cfg.train_dataloader.sampler
    assert (sampler.type, sampler.num_repeats) == ('RepeatAugSampler', 3)
