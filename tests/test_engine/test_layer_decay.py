# Copyright (c) mmactive contributors. All rights reserved.
"""Learning rates by layer, in the optimizers that are built."""

import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.models import ImageClassifier  # noqa: F401
from torch import nn

ARCH = dict(
    depths=[1, 1, 2, 1],
    dims=[16, 16, 16, 16],
    mlp_ratios=[1, 1, 1, 1],
    shared_channels=[4, 4, 4, 4],
    interval=2,
)
# The stem, five blocks, and what follows.
NUM_LAYERS = 7
# By the names of parameters in the backbone: their layers.
LAYERS = {
    'downsample_layers.0.weight': 0,
    'stages.0.peg.weight': 1,
    'stages.0.blocks.0.norm1.weight': 1,
    'downsample_layers.1.bias': 2,
    'stages.1.blocks.0.ffn.fc1.weight': 2,
    'stages.2.blocks.0.offset_layer.1.weight': 3,
    'stages.2.blocks.1.mixer.proj.weight': 4,
    'downsample_layers.3.weight': 5,
    'stages.3.blocks.0.mixer.fc_w.weight': 5,
    'norm3.weight': 6,
}
DENSE = dict(type='mmactive.ActiveMLP', arch=ARCH, out_indices=(0, 1, 2, 3))
CONFIGS = dict(
    mmpretrain='mmactive::imagenet/activemlp-tiny_8xb128_in1k.py',
    mmdet='mmactive::coco/retinanet_activemlp-tiny_fpn_1x_coco.py',
    mmseg='mmactive::ade20k/fpn_activemlp-tiny_8xb4-40k_ade20k-512x512.py',
)


def build(scope):
    cfg = get_config(CONFIGS[scope]).model
    cfg.backbone.update(DENSE, init_cfg=None, _delete_=True)
    cfg.backbone.pop('_delete_')
    init_default_scope(scope)
    if scope == 'mmpretrain':
        cfg.backbone.update(out_indices=(3,))
        cfg.head.in_channels = 16
        cfg.train_cfg = None
    else:
        cfg.neck.in_channels = [16] * 4
    return MODELS.build(cfg)


def learning_rates(model, constructor, **paramwise):
    wrapper = build_optim_wrapper(
        model,
        Config(
            dict(
                optim_wrapper=dict(
                    optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.1),
                    constructor=constructor,
                    paramwise_cfg=dict(layer_decay_rate=0.5, **paramwise),
                )
            )
        ).optim_wrapper,
    )
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(group['params'][0])]: group
        for group in wrapper.optimizer.param_groups
    }


@pytest.mark.parametrize('scope', CONFIGS)
def test_own_constructor_serves_all_libraries(scope):
    model = build(scope)
    groups = learning_rates(
        model,
        'mmactive.LayerDecayOptimWrapperConstructor',
        norm_decay_mult=0.0,
    )
    assert len(groups) == len(list(model.parameters()))
    for name, layer in LAYERS.items():
        group = groups[f'backbone.{name}']
        assert group['lr'] == 0.5 ** (NUM_LAYERS - 1 - layer), name
        assert group['weight_decay'] == (0.0 if 'norm' in name else 0.1)
    for name, group in groups.items():
        if not name.startswith('backbone.'):
            assert group['lr'] == 1.0


def test_own_constructor_agrees_with_mmpretrains():
    model = build('mmpretrain')
    own = learning_rates(model, 'mmactive.LayerDecayOptimWrapperConstructor')
    theirs = learning_rates(model, 'LearningRateDecayOptimWrapperConstructor')
    assert own.keys() == theirs.keys()
    for name, group in own.items():
        assert group['lr'] == theirs[name]['lr'], name


def test_custom_keys_multiply():
    groups = learning_rates(
        build('mmseg'),
        'mmactive.LayerDecayOptimWrapperConstructor',
        custom_keys={'stages.2.blocks.1': dict(lr_mult=3.0)},
    )
    name = 'backbone.stages.2.blocks.1.mixer.proj.weight'
    assert groups[name]['lr'] == 3 * 0.5 ** (NUM_LAYERS - 1 - 4)


def test_wrapped_blocks():
    """Wrappers inside of the model change the names of parameters."""
    model = build('mmpretrain')
    blocks = model.backbone.stages[1].blocks
    blocks[0] = torch.compile(blocks[0])
    groups = learning_rates(
        model, 'mmactive.LayerDecayOptimWrapperConstructor'
    )
    name = 'backbone.stages.1.blocks.0._orig_mod.ffn.fc1.weight'
    assert groups[name]['lr'] == 0.5 ** (NUM_LAYERS - 1 - 2)


def test_errors():
    model = build('mmpretrain')
    constructor = 'mmactive.LayerDecayOptimWrapperConstructor'
    with pytest.raises(ValueError, match=r'layer_decay_rate must be .* 1\.5'):
        build_optim_wrapper(
            model,
            dict(
                optimizer=dict(type='SGD', lr=1.0),
                constructor=constructor,
                paramwise_cfg=dict(layer_decay_rate=1.5),
            ),
        )
    with pytest.raises(TypeError, match='backbone has get_layer_depth'):
        learning_rates(nn.Linear(2, 2), constructor)
