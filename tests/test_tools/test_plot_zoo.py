# Copyright (c) mmactive contributors. All rights reserved.
import itertools
import runpy
import sys

import cv2
import numpy as np
import pytest

from .conftest import ROOT, TOOLS

PATH = TOOLS / 'analysis_tools' / 'plot_zoo.py'
PICTURES = ('imagenet', 'semantic-fpn', 'upernet', 'mask-rcnn', 'retinanet')


@pytest.fixture(scope='module')
def tool():
    return runpy.run_path(str(PATH))


def test_pictures(tool, tmp_path, start_process):
    """They are those of the documentation, with the paper's points."""
    pytest.importorskip('matplotlib')
    out = start_process(sys.executable, PATH, '--out-dir', tmp_path)
    folder = ROOT / 'docs/en/model_zoo'
    for name in PICTURES:
        svg = (tmp_path / f'{name}.svg').read_text()
        assert svg.startswith('<?xml')
        assert (folder / f'{name}.svg').is_file()
        pictures = [
            cv2.imread(str(path / f'{name}.png'))
            for path in (tmp_path, folder)
        ]
        assert pictures[0].shape == pictures[1].shape
        # Another version of matplotlib smooths edges differently and moves
        # words by a pixel: 0.01; the picture of another table: 0.07 or more.
        picture, committed = (
            cv2.resize(p, (160, 112), interpolation=cv2.INTER_AREA).astype(int)
            for p in pictures
        )
        assert np.mean(np.abs(picture - committed) > 30) < 0.02
    assert 'semantic-fpn.png and .svg: 34 models' in out


def test_points(tool):
    picture = dict(names=['mask-rcnn_', 'fpn_1x_coco'], metric='box AP')
    points = tool['select'](tool['load_models'](), picture)
    assert len(points) == 30
    by_name = {point.name: point for point in points}
    assert by_name['Swin-T'].result == 42.2
    assert by_name['Swin-T'].family == 'Swin'
    assert by_name['ActiveMLP-L'].params == pytest.approx(95.7, abs=0.1)
    costs = [point.cost for point in points]
    assert costs == sorted(costs)


def test_labels_do_not_collide(tool):
    """A crowd of circles whose labels have no room beside them."""
    centers = [(100 + 9 * i, 200 + 5 * (i % 3)) for i in range(9)]
    sizes = [(40, 10)] * 9
    frame = (0, 0, 400, 400)
    placed = tool['place_labels'](centers, [6] * 9, sizes, frame)
    boxes = [(x - 20, y - 5, x + 20, y + 5) for x, y in placed]
    for one, other in itertools.combinations(boxes, 2):
        assert tool['overlaps'](one, [other]) == 0
    for box in boxes:
        assert tool['overlaps'](box, [frame]) == 400  # inside
    # Close to its own circle where there is room
    ((x, y),) = tool['place_labels']([(50, 50)], [6], [(40, 10)], frame)
    assert abs(x - 50) < 30
    assert abs(y - 50) < 20
