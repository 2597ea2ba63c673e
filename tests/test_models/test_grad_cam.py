# Copyright (c) mmactive contributors. All rights reserved.
"""What mmpretrain's CAM tool shows is Grad-CAM, for every family."""

import math
import runpy
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_backbones import SMALL

from mmactive.models import backbones

mmpretrain = pytest.importorskip('mmpretrain')
pytest.importorskip('pytorch_grad_cam')
pytestmark = pytest.mark.usefixtures('no_default_scope')

FAMILIES = {
    **SMALL,
    'CPVT-gap': (dict(SMALL['CPVT'][0], with_cls_token=False), None),
}
OF_CLASS_TOKENS = ('CPVT', 'EAMLP')
# What says that the layer has to be named: S2MLP has norms of its own alone.
WITHOUT_OUTPUT_NORM = dict(
    P2T='take the output, backbone.norm3,', S2MLP='list index out of range'
)


@pytest.fixture(scope='module')
def tool():
    folder = Path(mmpretrain.__file__).parent / '.mim' / 'tools'
    return runpy.run_path(str(folder / 'visualization' / 'vis_cam.py'))


def make_classifier(name):
    from mmpretrain.models import ImageClassifier, LinearClsHead

    torch.manual_seed(0)
    family, kwargs = name.partition('-')[0], FAMILIES[name][0]
    backbone = getattr(backbones, family)(**kwargs, gap=True)
    head = LinearClsHead(5, backbone.arch['dims'][-1])
    torch.nn.init.normal_(head.fc.weight)
    for parameter in backbone.parameters():
        if parameter.dim() == 1:  # norms that do something
            torch.nn.init.normal_(parameter, 1.0, 0.3)
    return ImageClassifier(backbone, head=head).eval()


def compute_cam(feature_map, gradient, size):
    """Computes Grad-CAM as its paper defines it, between 0 and 1."""
    weight = gradient.mean(dim=(2, 3), keepdim=True)
    cam = (weight * feature_map).sum(dim=1, keepdim=True).relu()
    cam = F.interpolate(cam, size, mode='bilinear')[0, 0].detach()
    return (cam - cam.min()) / (cam.max() - cam.min())


@pytest.mark.parametrize('name', FAMILIES)
def test_default_layer(name, tool):
    model = make_classifier(name)
    backbone = model.backbone
    size = (96, 96 if name in OF_CLASS_TOKENS else 160)
    if backbone.image_size is not None:
        size = (backbone.image_size,) * 2
    image = F.interpolate(torch.rand(1, 3, 8, 8), size, mode='bicubic')
    args = SimpleNamespace(
        vit_like=name in OF_CLASS_TOKENS, num_extra_tokens=None
    )

    def run_tool(layers):
        reshape = partial(tool['reshape_transform'], model=model, args=args)
        cam = tool['init_cam']('GradCAM', model, layers, False, reshape)
        return cam(image, None)[0]

    def run_by_default():
        return run_tool(tool['get_default_target_layers'](model, args))

    if name in WITHOUT_OUTPUT_NORM:
        message = WITHOUT_OUTPUT_NORM[name]
        with pytest.raises((IndexError, ValueError), match=message):
            run_by_default()
        output = f'backbone.norm{backbone.out_indices[-1]}'
        found = run_tool([tool['get_layer'](output, model)])
    else:
        found = run_by_default()

    if name in OF_CLASS_TOKENS:
        # Before the last mixer; behind it, only the class token counts.
        kept = []
        (norm,) = (
            module
            for path, module in backbone.named_modules()
            if path.endswith('.1.norm1')
        )
        norm.register_forward_hook(lambda *call: kept.append(call[-1]))
        logits = model(image)
        (gradient,) = torch.autograd.grad(logits.max(), kept[0])
        side = math.isqrt(kept[0].size(1))
        feature_map, gradient = (
            x[:, 1:].transpose(1, 2).unflatten(2, (side, side))
            for x in (kept[0], gradient)
        )
    else:
        backbone.gap = False
        (feature_map,) = backbone(image)
        assert feature_map.size(1) == backbone.arch['dims'][-1]
        logits = model.head.fc(feature_map.mean(dim=(2, 3)))
        (gradient,) = torch.autograd.grad(logits.max(), feature_map)
    expected = compute_cam(feature_map, gradient, size)
    assert found.shape == size
    assert expected.std() > 0.1
    correlation = np.corrcoef(found.ravel(), expected.numpy().ravel())[0, 1]
    assert correlation > 0.99
