# Copyright (c) mmactive contributors. All rights reserved.
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

import torch
from mmengine.hub import get_config
from torch import Tensor

from mmactive.registry import MODELS

from .activemlp import ActiveMLP
from .asmlp import ASMLP
from .cpvt import CPVT
from .cyclemlp import CycleMLP
from .eamlp import EAMLP
from .family import Family, Name
from .gfnet import GFNet
from .morphmlp import MorphMLP
from .p2t import P2T
from .s2mlp import S2MLP
from .shiftvit import ShiftViT
from .vip import ViP
from .wavemlp import WaveMLP

FAMILIES = [
    ActiveMLP(),
    ASMLP(),
    CPVT(),
    CycleMLP(),
    EAMLP(),
    GFNet(),
    MorphMLP(),
    P2T(),
    S2MLP(),
    ShiftViT(),
    ViP(),
    WaveMLP(),
]

StateDict = Dict[str, Tensor]


class Entry(NamedTuple):
    """A parameter or buffer of a backbone.

    Attributes:
        ours (str): Its name here.
        published (str): Its name in the published network.
        shape (tuple[int]): Its shape here.
        published_shape (tuple[int]): Its shape in the published network.
    """

    ours: str
    published: str
    shape: Tuple[int, ...]
    published_shape: Tuple[int, ...]


class Network(NamedTuple):
    """A network that has been published.

    Attributes:
        family (Family): Its family.
        cfg (dict): Config of its backbone here.
        dense (bool): Whether it is a dense backbone, and not a classifier.
    """

    family: Family
    cfg: dict
    dense: bool

    def __str__(self) -> str:
        options = [f', {k}={x!r}' for k, x in self.cfg.items() if k != 'type']
        kind = 'dense backbone' if self.dense else 'classifier'
        return f'{self.family.backbone}{"".join(options)}, {kind}'

    @property
    def arch(self) -> dict:
        """The numbers of the architecture."""
        cls: Any = MODELS.get(self.cfg['type'])
        return cls.arch_settings[self.cfg['arch']]

    @property
    def backbone_cfg(self) -> dict:
        """The config of the backbone with the outputs of the network."""
        if not self.dense:
            return dict(self.cfg, gap=True)
        stages = tuple(range(len(self.arch['depths'])))
        return dict(self.cfg, out_indices=stages)

    @property
    def extras(self) -> dict:
        """See :meth:`Family.extras`."""
        return self.family.extras(self.cfg, self.arch)

    def list_names(self) -> List[Name]:
        """See :meth:`Family.names`."""
        return list(self.family.names(self.cfg, self.arch, self.dense))

    def list_entries(self) -> List[Entry]:
        """Lists all parameters and buffers of the backbone."""
        names = {name.ours: name for name in self.list_names()}
        with torch.device('meta'):
            backbone = MODELS.build(self.backbone_cfg)
        entries = []
        for ours, tensor in backbone.state_dict().items():
            module, _, parameter = ours.rpartition('.')
            name = names.get(ours) or names[module]
            published = name.published
            if name.ours != ours:
                published = f'{published}.{parameter}'
            shape = tuple(tensor.shape)
            is_conv = name.conv and len(shape) == 2
            published_shape = (*shape, 1, 1) if is_conv else shape
            entries.append(Entry(ours, published, shape, published_shape))
        return entries

    def make_model_cfg(self, converted: StateDict) -> dict:
        """Makes the config of the model that the converted weights fit."""
        if self.dense:
            return self.backbone_cfg
        num_classes, in_channels = converted['head.fc.weight'].shape
        return dict(
            type='mmpretrain.ImageClassifier',
            backbone=self.backbone_cfg,
            head=dict(
                type='mmpretrain.LinearClsHead',
                num_classes=num_classes,
                in_channels=in_channels,
                loss=dict(type='mmpretrain.CrossEntropyLoss'),
            ),
        )


def _list_networks() -> Iterator[Network]:
    for family in FAMILIES:
        for cfg in family.variants():
            for dense in (False, True) if family.has_dense else (False,):
                yield Network(family, cfg, dense)


def _recognize(weights: StateDict, side: str) -> Network:
    """Finds the published network whose names and shapes are the closest.

    Args:
        weights (dict[str, Tensor]): Weights of a backbone, maybe with a head.
        side (str): Which of the names of :class:`Entry` they have.

    Raises:
        ValueError: If less than half of the names are those of a network.
    """
    given = {name.rpartition('.')[0] for name in weights} | set(weights)
    distances = {}
    for network in _list_networks():
        names = {getattr(name, side) for name in network.list_names()}
        if len(names & given) >= len(names) / 2:
            modules = {n for n in given if n in names or n not in weights}
            distances[network.family, str(network)] = (
                len(names ^ modules),
                network,
            )
    if not distances:
        families = [family.backbone for family in FAMILIES]
        raise ValueError(
            f'expected the names of a network of {families}, got '
            f'{list(weights)[:4]} and {len(weights)} in all'
        )
    least = min(distance for distance, _ in distances.values())
    closest = [x for distance, x in distances.values() if distance == least]

    def count_wrong_shapes(network):
        return sum(
            getattr(entry, side) not in weights
            or tuple(weights[getattr(entry, side)].shape)
            not in (entry.shape, entry.published_shape)
            for entry in network.list_entries()
        )

    # Of the same names, the shapes tell which one.
    return min(closest, key=count_wrong_shapes)


def _raise(network: Network, problems: List[str]) -> None:
    if problems:
        raise ValueError(
            f'this is closest to {network}, but:\n  ' + '\n  '.join(problems)
        )


def _take(
    weights: StateDict, name: str, shapes: tuple, problems: List[str]
) -> Tensor:
    """Removes a tensor from the weights, or says what is wrong with it."""
    if name not in weights:
        problems.append(f'{name} is missing')
        return torch.empty(0)
    weight = weights.pop(name)
    if shapes and tuple(weight.shape) not in shapes:
        problems.append(
            f'{name}: expected shape {shapes[-1]}, got {tuple(weight.shape)}'
        )
        return torch.empty(0)
    # The clone leaves behind whatever shares the memory.
    return weight.reshape(shapes[0] if shapes else weight.shape).clone()


def convert(weights: StateDict) -> Tuple[StateDict, dict, str]:
    """Translates the weights of a published network.

    Args:
        weights (dict[str, Tensor]): Weights by published name.

    Returns:
        tuple[dict[str, Tensor], dict, str]: Weights of a classifier of
        mmpretrain (``backbone.``, ``head.``), of a segmentor of mmseg
        (``backbone.``, ``decode_head.``, ``auxiliary_head.``) or of a dense
        backbone; the config of this model; and what the network is.

    Raises:
        ValueError: If the names and shapes are not those of a published
            network. The error lists all that differ.
    """
    if any(name.startswith('decode_head.') for name in weights):
        return _convert_segmentor(weights)
    network = _recognize(weights, 'published')
    network = network._replace(cfg=network.family.adapt(network.cfg, weights))
    rest = dict(weights)
    problems: List[str] = []
    for name, expected in network.extras.items():
        actual = rest.pop(name, expected)
        if isinstance(expected, Tensor) and not torch.equal(actual, expected):
            problems.append(f'{name} is fixed, but has another value here')

    prefix = '' if network.dense else 'backbone.'
    converted = {
        prefix + ours: _take(
            rest, published, (shape, published_shape), problems
        )
        for ours, published, shape, published_shape in network.list_entries()
    }
    if not network.dense:
        for parameter in ('weight', 'bias'):
            published = f'{network.family.head}.{parameter}'
            converted[f'head.fc.{parameter}'] = _take(
                rest, published, (), problems
            )
    _raise(network, [*problems, *(f'{name} is unknown' for name in rest)])
    return converted, network.make_model_cfg(converted), str(network)


def _convert_segmentor(weights: StateDict) -> Tuple[StateDict, dict, str]:
    """Translates an UperNet of mmseg 0.x, whose heads kept their names."""
    prefix = 'backbone.'
    backbone, cfg, text = convert(_strip(prefix, weights))
    if cfg['type'] != 'mmactive.ActiveMLP':
        raise ValueError(
            f'no segmentor with {text} is known: convert its backbone alone'
        )
    model_cfg = get_config(
        f'mmactive::ade20k/upernet_activemlp-{cfg["arch"]}_8xb2-160k_ade20k-'
        '512x512.py'
    ).model.to_dict()
    model_cfg['backbone'] = cfg
    with torch.device('meta'):
        layout = MODELS.build(model_cfg).state_dict()

    converted = {prefix + name: weight for name, weight in backbone.items()}
    rest = {k: x for k, x in weights.items() if not k.startswith(prefix)}
    problems: List[str] = []
    for name, tensor in layout.items():
        if not name.startswith(prefix):
            converted[name] = _take(
                rest, name, (tuple(tensor.shape),), problems
            )
    problems += [f'{name} is unknown' for name in rest]
    if problems:
        raise ValueError('not our UperNet:\n  ' + '\n  '.join(problems))
    return converted, model_cfg, f'UperNet, {text}'


def _strip(prefix: str, weights: StateDict) -> StateDict:
    """Returns the weights under a prefix, without it."""
    return {
        name[len(prefix) :]: weight
        for name, weight in weights.items()
        if name.startswith(prefix)
    }


def revert(weights: StateDict) -> Tuple[StateDict, str]:
    """Translates weights of ours into published ones: ``convert``, undone.

    Args:
        weights (dict[str, Tensor]): Weights of a classifier, of a dense
            backbone, or of a detector or segmentor. What is neither backbone
            nor classification head keeps its name.

    Returns:
        tuple[dict[str, Tensor], str]: Weights by published name, and what the
        network is.

    Raises:
        ValueError: If the names and shapes are not those of a published
            network. The error lists all that differ.
    """
    rest = _strip('backbone.', weights)
    others = {k: x for k, x in weights.items() if not k.startswith('backbone')}
    if not rest:
        rest, others = others, rest
    network = _recognize(rest, 'ours')
    published = {
        entry.published: rest[entry.ours]
        for entry in network.list_entries()
        if entry.ours in rest
    }
    network = network._replace(
        cfg=network.family.adapt(network.cfg, published)
    )
    problems: List[str] = []
    reverted = {
        published: _take(rest, ours, (published_shape, shape), problems)
        for ours, published, shape, published_shape in network.list_entries()
    }
    _raise(network, [*problems, *(f'{name} is unknown' for name in rest)])
    for name, extra in network.extras.items():
        reverted[name] = reverted[extra] if isinstance(extra, str) else extra
    if not network.dense:
        for parameter in ('weight', 'bias'):
            reverted[f'{network.family.head}.{parameter}'] = _take(
                others, f'head.fc.{parameter}', (), problems
            )
        _raise(network, [*problems, *(f'{k} is unknown' for k in others)])
    elif others:
        reverted = {f'backbone.{k}': x for k, x in reverted.items()}
    return {**reverted, **others}, str(network)
