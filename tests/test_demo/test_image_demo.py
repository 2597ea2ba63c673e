# Copyright (c) mmactive contributors. All rights reserved.
"""demo/image_demo.py: three tasks, an image, a folder or a video."""

import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from .conftest import CLASSES, list_commands


def make_image(seed, height=96, width=128):
    generator = np.random.default_rng(seed)
    image = generator.integers(0, 100, (height, width, 3), dtype=np.uint8)
    image[20:60, 30:80] += 150
    return image


def write_video(path, num=4):
    code = cv2.VideoWriter_fourcc(*'MJPG')
    writer = cv2.VideoWriter(str(path), code, 12, (128, 96))
    for i in range(num):
        writer.write(make_image(i))
    writer.release()


@pytest.fixture
def folder(tmp_path):
    """Two images, one of them deeper, which differ from a third in the end."""
    root = tmp_path / 'inputs'
    (root / 'deep').mkdir(parents=True)
    for i, name in enumerate(('a.png', 'a.jpg', 'deep/b.png')):
        cv2.imwrite(str(root / name), make_image(i))
    (root / 'notes.txt').touch()
    return root


@pytest.mark.parametrize('kind', CLASSES)
def test_folder(kind, models, folder, run_demo, tmp_path):
    config, checkpoint = models[kind]
    run_demo(
        *('image_demo.py', folder, config, '--weights', checkpoint),
        *('--out-dir', 'out', '--device', 'cpu', '--pred-score-thr', '0'),
    )
    out = tmp_path / 'out'
    pictures = sorted(
        str(path.relative_to(out / 'vis')) for path in out.glob('vis/**/*.*')
    )
    assert pictures == ['a.jpg', 'a.png', 'deep/b.png']
    image = cv2.imread(str(folder / 'a.png'))
    picture = cv2.imread(str(out / 'vis/a.png'))
    assert picture.shape == image.shape
    assert not np.array_equal(picture, image)
    names = {str(path.name) for path in out.glob('preds/**/*.json')}
    assert names == {'a.png.json', 'a.jpg.json', 'b.json'}
    result = json.loads((out / 'preds/deep/b.json').read_text())
    check = dict(
        classifier=check_classes,
        detector=check_boxes,
        segmentor=check_areas,
    )[kind]
    check(result, cv2.imread(str(folder / 'deep/b.png')), models[kind], out)


def load(config, checkpoint):
    """Builds a model without any inferencer."""
    cfg = Config.fromfile(config)
    preprocessor = cfg.get('data_preprocessor')
    cfg.model.setdefault('data_preprocessor', preprocessor)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    model.load_state_dict(torch.load(checkpoint)['state_dict'])
    return model.eval()


def preprocess(model, image):
    inputs = torch.from_numpy(image.transpose(2, 0, 1).copy())
    return model.data_preprocessor(dict(inputs=[inputs]))['inputs']


def check_classes(result, image, paths, out):
    model = load(*paths)
    inputs = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
    inputs = model.data_preprocessor(dict(inputs=inputs))['inputs']
    with torch.no_grad():
        scores = model(inputs).softmax(dim=1)[0]
    assert result['pred_scores'] == pytest.approx(scores.tolist(), abs=1e-5)
    label = int(scores.argmax())
    assert result['pred_label'] == label
    assert result['pred_class'] == CLASSES['classifier'][label]
    assert result['pred_score'] == result['pred_scores'][label]


def check_boxes(result, image, paths, out):
    assert 0 < len(result['bboxes']) <= 10
    assert len(result['scores']) == len(result['bboxes'])
    assert set(result['classes']) == {'square'}
    boxes = np.array(result['bboxes'])
    assert (boxes >= 0).all()
    assert (boxes[:, 2:] <= (128, 96)).all()


def check_areas(result, image, paths, out):
    labels = cv2.imread(
        str(out / 'preds' / result['label_map']), cv2.IMREAD_UNCHANGED
    )
    assert labels.shape == (96, 128)
    shares = result['classes']
    assert sum(shares.values()) == pytest.approx(1)
    for label, name in enumerate(CLASSES['segmentor']):
        assert shares.get(name, 0) == np.mean(labels == label)


def test_more_classes_than_a_byte_holds(models, folder, run_demo, tmp_path):
    config, checkpoint = models['segmentor']
    cfg = Config.fromfile(config)
    cfg.model.decode_head.num_classes = 300
    cfg.dump(tmp_path / 'many.py')
    content = torch.load(checkpoint)
    weights = content['state_dict']
    kernel = weights['decode_head.conv_seg.weight']
    weights['decode_head.conv_seg.weight'] = kernel.new_zeros(
        300, *kernel.shape[1:]
    )
    bias = torch.zeros(300)
    bias[298] = 1
    weights['decode_head.conv_seg.bias'] = bias
    torch.save(content, tmp_path / 'many.pth')
    run_demo(
        *('image_demo.py', folder / 'a.png', 'many.py', '--weights'),
        *('many.pth', '--out-dir', 'out', '--no-save-vis'),
    )
    preds = tmp_path / 'out' / 'preds'
    labels = cv2.imread(str(preds / 'a.png'), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (96, 128)
    assert (labels == 298).all()
    result = json.loads((preds / 'a.json').read_text())
    assert result['classes'] == {'298': 1.0}


@pytest.mark.parametrize('kind', CLASSES)
def test_video(kind, models, run_demo, tmp_path):
    config, checkpoint = models[kind]
    write_video(tmp_path / 'film.avi')
    run_demo(
        *('image_demo.py', 'film.avi', config, '--checkpoint', checkpoint),
        *('--out-dir', 'out', '--scale', '2', '--pred-score-thr', '0'),
    )
    capture = cv2.VideoCapture('out/vis/film.mp4')
    assert capture.get(cv2.CAP_PROP_FPS) == 12
    frames = []
    while True:
        is_read, frame = capture.read()
        if not is_read:
            break
        frames.append(frame)
    assert [frame.shape for frame in frames] == [(192, 256, 3)] * 4
    results = json.loads((tmp_path / 'out/preds/film.json').read_text())
    assert len(results) == 4
    if kind == 'segmentor':
        paths = [tmp_path / 'out/preds' / r['label_map'] for r in results]
        assert all(path.is_file() for path in paths)
        assert len(set(paths)) == 4
    # Nothing of what was half written is left.
    left = {path.name for path in (tmp_path / 'out').glob('*/*')}
    assert left <= {'film.mp4', 'film.json', 'film'}


@pytest.mark.parametrize(
    ('inputs', 'options', 'message'),
    [
        ('none.png', [], 'inputs: there is no file or folder none.png'),
        ('empty', [], 'inputs: no image and no video in empty'),
        ('bad.png', [], 'inputs: bad.png: it is no image'),
        ('cut.jpg', [], 'inputs: cut.jpg: '),
        ('bad.mp4', [], 'inputs: bad.mp4: OpenCV can read no frame'),
        ('good.png', ['--weights', 'no.pth'], "weights: .*'no.pth'"),
        ('good.png', ['--device', 'abacus'], 'abacus'),
        ('good.png', ['--palette', 'grey'], 'palette: '),
    ],
)
def test_bad_input(inputs, options, message, models, run_demo, tmp_path):
    (tmp_path / 'empty').mkdir()
    for name in ('bad.png', 'bad.mp4'):
        (tmp_path / name).write_text('neither')
    cv2.imwrite(str(tmp_path / 'good.png'), make_image(0))
    _, content = cv2.imencode('.jpg', make_image(0))
    (tmp_path / 'cut.jpg').write_bytes(content.tobytes()[:-2000])
    with pytest.raises(SystemExit, match=message) as error:
        run_demo('image_demo.py', inputs, models['segmentor'][0], *options)
    assert '\n' not in str(error.value).strip()
    assert not list(tmp_path.glob('outputs/*/*'))


def test_name_of_the_zoo(run_demo, tmp_path):
    cv2.imwrite(str(tmp_path / 'image.png'), make_image(0))
    name = 'activemlp-xtiny_8xb128_in1k'
    with pytest.warns(UserWarning, match='there are no weights'):
        run_demo('image_demo.py', 'image.png', name, '--no-save-vis')
    result = json.loads((tmp_path / 'outputs/preds/image.json').read_text())
    assert len(result['pred_scores']) == 1000
    assert isinstance(result['pred_class'], str)
    assert not (tmp_path / 'outputs/vis').exists()
    with pytest.raises(SystemExit, match=f'no model .*is it {name!r}'):
        run_demo('image_demo.py', 'image.png', name[:-1])


def test_commands_of_the_page(models, folder, run_demo, tmp_path):
    config, checkpoint = models['classifier']
    write_video(tmp_path / 'film.avi', num=2)
    commands = list_commands(
        'image_demo.py',
        CONFIG=config,
        CHECKPOINT=checkpoint,
        IMAGE=folder / 'a.png',
        FOLDER=folder,
        VIDEO=tmp_path / 'film.avi',
    )
    for command in commands:
        run_demo(*command)
    left = {path.name for path in (tmp_path / 'outputs').glob('vis/**/*.*')}
    assert left == {'a.png', 'a.jpg', 'b.png', 'film.mp4'}
