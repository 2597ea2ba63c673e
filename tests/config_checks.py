# Copyright (c) mmactive contributors. All rights reserved.
"""What the tests of configs have in common."""

from functools import cache

from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

ARCHS = ('xtiny', 'tiny', 'small', 'base', 'large')


@cache  # mmengine takes a second for each
def load_config(path):
    return Config.fromfile(path)


def count_params(model):
    return sum(parameter.numel() for parameter in model.parameters())


def assert_only_weights_decay(model, optim_wrapper):
    """Checks the groups of the built optimizer: no norm, bias or PEG."""
    optimizer = build_optim_wrapper(model, optim_wrapper).optimizer
    decay = {
        id(parameter): group['weight_decay']
        for group in optimizer.param_groups
        for parameter in group['params']
    }
    seen = set()
    for name, parameter in model.named_parameters():
        if '.peg.' in name:
            kind = 'peg'
        elif name.endswith('.bias'):
            kind = 'bias'
        elif parameter.dim() == 1:
            kind = 'norm'
        else:
            kind = 'weight'
        seen.add(kind)
        weight_decay = optim_wrapper.optimizer.weight_decay
        expected = weight_decay if kind == 'weight' else 0
        assert decay.pop(id(parameter)) == expected, name
    assert not decay
    assert seen == {'peg', 'bias', 'norm', 'weight'}
