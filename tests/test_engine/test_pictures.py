# Copyright (c) mmactive contributors. All rights reserved.
"""Pictures of predictions say what is the truth."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData

from mmactive.engine.pictures import (
    RIGHT,
    WRONG,
    Caption,
    add_captions,
    caption,
    describe_classes,
)

IMAGE = np.full((90, 120, 3), 128, np.uint8)


def make_detection():
    from mmdet.structures import DetDataSample
    from mmdet.visualization import DetLocalVisualizer

    def make(box, **scores):
        return InstanceData(
            bboxes=torch.tensor([box]), labels=torch.tensor([0]), **scores
        )

    sample = DetDataSample(
        gt_instances=make([10.0, 10, 50, 50]),
        pred_instances=make([20.0, 20, 60, 60], scores=torch.ones(1)),
    )
    meta = dict(classes=('square',), palette=[(255, 0, 0)])
    return DetLocalVisualizer, sample, meta, ('gt_instances', 'pred_instances')


def make_segmentation():
    from mmseg.structures import SegDataSample
    from mmseg.visualization import SegLocalVisualizer

    def make(label):
        return PixelData(data=torch.full((1, 90, 120), label))

    sample = SegDataSample(gt_sem_seg=make(0), pred_sem_seg=make(1))
    meta = dict(classes=('a', 'b'), palette=[(255, 0, 0), (0, 255, 0)])
    return SegLocalVisualizer, sample, meta, ('gt_sem_seg', 'pred_sem_seg')


def draw(visualizer, sample, meta):
    """Draws into what a backend gets."""
    pictures = []
    visualizer.dataset_meta = meta
    visualizer._vis_backends = dict(
        test=type(
            'Backend',
            (),
            dict(
                add_image=lambda self, name, image, step: pictures.append(
                    image
                )
            ),
        )()
    )
    visualizer.add_datasample('name', IMAGE, sample, step=3)
    (picture,) = pictures
    return picture


def strip(*texts):
    """Returns captions alone."""
    width = IMAGE.shape[1] * len(texts)
    picture = np.zeros((0, width, 3), np.uint8)
    return add_captions(picture, [Caption(text) for text in texts])


@pytest.mark.parametrize('make', [make_detection, make_segmentation])
def test_sides(make):
    cls, sample, meta, (truth, prediction) = make()
    captioned = caption(cls(name='captioned'))
    assert caption(captioned) is captioned
    assert isinstance(captioned, cls)
    plain = draw(cls(name='plain'), sample, meta)
    picture = draw(captioned, sample, meta)
    top = strip('ground truth', 'prediction')
    assert np.array_equal(picture[: len(top)], top)
    # Below, it is the library's picture, and as wide.
    assert np.array_equal(picture[len(top) :], plain)
    assert not np.array_equal(plain[:, :120], plain[:, 120:])

    # No side is there without what it is said to show.
    for missing, left in ((truth, 'prediction'), (prediction, 'ground truth')):
        part = sample.clone()
        delattr(part, missing)
        picture = draw(captioned, part, meta)
        top = strip(left)
        assert picture.shape == (90 + len(top), 120, 3)
        assert np.array_equal(picture[: len(top)], top)
    delattr(part, truth)
    assert np.array_equal(draw(captioned, part, meta), IMAGE)


def test_strip():
    top = strip('ground truth', 'prediction')
    halves = top[:, :120], top[:, 120:]
    for half in halves:
        assert half.max() == 255  # white letters ...
        assert (half[:2] == 40).all()  # ... that touch no edge
        assert (half[:, :2] == 40).all()
        assert (half[:, -2:] == 40).all()
    assert not np.array_equal(*halves)
    # Long words are written smaller, many in several lines.
    assert len(strip('a' * 25)) < len(strip('a'))
    assert len(strip('several words ' * 5)) > 3 * len(strip('a'))


@pytest.mark.parametrize(
    ('label', 'color', 'line'),
    [
        (1, RIGHT, 'prediction: cat (90%), right'),
        (0, WRONG, 'prediction: dog (10%), wrong'),
    ],
)
def test_classes(label, color, line, tmp_path):
    from mmpretrain.structures import DataSample
    from mmpretrain.visualization import UniversalVisualizer

    sample = DataSample()
    sample.set_gt_label(1).set_pred_label(label)
    sample.set_pred_score(torch.tensor([0.1, 0.9]))
    described = describe_classes(sample, ('dog', 'cat'))
    assert described == Caption(f'ground truth: cat\n{line}', color)
    visualizer = caption(UniversalVisualizer(name='classes'))
    visualizer.dataset_meta = dict(classes=('dog', 'cat'))
    picture = visualizer.visualize_cls(
        IMAGE[:28, :28], sample, out_file=str(tmp_path / 'out.png')
    )
    # Enlarged until the words fit
    assert picture.shape[1] == 224
    assert (picture[0] == color).all()
    assert (picture[-224:] == 128).all()
    assert (tmp_path / 'out.png').is_file()


def test_other_visualizers_stay():
    from mmengine.visualization import Visualizer

    visualizer = Visualizer(name='other')
    assert type(caption(visualizer)) is Visualizer
