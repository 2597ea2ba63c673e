# Copyright (c) mmactive contributors. All rights reserved.
"""Images and label maps: what is refused, and what must pass."""

import json
import struct
import zlib

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.registry import init_default_scope
from PIL import Image

from mmactive.engine import Runner
from mmactive.engine.checks.data import CheckedPipeline

SIZE = 32


class Broken:
    def __call__(self, data):
        raise IndexError('out of range')


def make_dataset(transform, img_path=('1.png', '2.png')):
    record = dict(img_path=img_path)

    class Video(BaseDataset):
        def load_data_list(self):
            return [record]

    dataset = Video(pipeline=[transform], serialize_data=False)
    dataset.pipeline = CheckedPipeline(dataset)
    return dataset


def build(dataset):
    """Builds a dataset as training does."""
    loader = dict(
        dataset=dict(dataset, serialize_data=False),
        sampler=dict(type='DefaultSampler', shuffle=False),
        batch_size=1,
        num_workers=0,
    )
    return Runner.build_dataloader(loader).dataset


def draw(shape=(SIZE, SIZE, 3), seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, shape, dtype=np.uint8)


def test_all_frames_of_a_video_are_named():
    message = r'^1\.png, 2\.png: IndexError: out of range$'
    with pytest.raises(RuntimeError, match=message):
        make_dataset(Broken())[0]


@pytest.mark.parametrize('name', ['photo.jpg', 'photo.JPEG', 'photo.png'])
def test_images_that_are_cut_off(name, tmp_path):
    """OpenCV 4 makes grey pixels of what is missing."""
    path = tmp_path / name
    Image.fromarray(draw((64, 64, 3))).save(path)
    complete = path.read_bytes()
    dataset = make_dataset(dict, str(path))
    for content in (complete, complete + b'more'):
        path.write_bytes(content)
        assert dataset[0]['img_path'] == str(path)
    for size in (0, 1, 500, len(complete) - 500):
        path.write_bytes(complete[:size])
        with pytest.raises((OSError, RuntimeError), match=name):
            dataset[0]


def test_samples_without_labels_pass():
    dataset = make_dataset(lambda data: dict(data_samples={}))
    dataset.pipeline.num_classes = 2
    dataset.pipeline.ignore_index = 255
    assert dataset[0] == dict(data_samples={})


def test_labels_of_images_to_be_mixed():
    labels = torch.tensor([[0, 1], [255, 2]])
    dataset = make_dataset(lambda data: dict(gt_seg_map=labels.numpy()))
    dataset.pipeline.ignore_index = 255
    dataset.pipeline.num_classes = 3
    assert dataset[0] is not None
    dataset.pipeline.num_classes = 2
    with pytest.raises(ValueError, match=r'2\.png: .* 0 to 1, .* is 2$'):
        dataset[0]


# Images with boxes


@pytest.fixture
def detection(tmp_path):
    """Writes an image and its annotation file; returns a dataset."""
    init_default_scope('mmdet')

    def make(save, name='photo.jpg', width=24, height=40, **loading):
        save(tmp_path / name)
        box = dict(bbox=[2, 3, 9, 9], area=81, category_id=1, iscrowd=0)
        content = dict(
            images=[dict(id=1, file_name=name, width=width, height=height)],
            annotations=[dict(box, id=1, image_id=1)],
            categories=[dict(id=1, name='fig')],
        )
        (tmp_path / 'fig.json').write_text(json.dumps(content))
        return build(
            dict(
                type='CocoDataset',
                ann_file=str(tmp_path / 'fig.json'),
                data_prefix=dict(img=str(tmp_path)),
                metainfo=dict(classes=('fig',)),
                pipeline=[dict(type='LoadImageFromFile', **loading)],
            )
        )

    return make


def save_turned(path):
    """Saves an image of 24 x 40 pixels that is to be turned when shown."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(draw((24, 40, 3))).save(path, exif=exif)


def test_size_of_another_image(detection):
    image = Image.fromarray(draw((24, 40, 3)))
    dataset = detection(image.save)
    message = (
        r'photo\.jpg: the image has a height of 24 and a width of 40 pixels, '
        r'but .*fig\.json says height 40 and width 24; perhaps .*EXIF'
    )
    with pytest.raises(ValueError, match=message):
        dataset[0]
    dataset = detection(image.save, width=40, height=25)
    with pytest.raises(ValueError, match='says height 25 and width 40$'):
        dataset[0]
    assert detection(image.save, width=40.0, height=24)[0]['img_shape']


def test_size_of_a_turned_image(detection):
    """What counts is the image as it is loaded."""
    assert detection(save_turned)[0]['img'].shape == (40, 24, 3)
    with pytest.raises(ValueError, match='height of 40 and a width of 24'):
        detection(save_turned, width=40, height=24)[0]
    loading = dict(color_type='color_ignore_orientation')
    dataset = detection(save_turned, width=40, height=24, **loading)
    assert dataset[0]['img'].shape == (24, 40, 3)
    with pytest.raises(ValueError, match='height of 24 and a width of 40'):
        detection(save_turned, **loading)[0]


def save_as(mode, **kwargs):
    def save(path):
        image = Image.fromarray(draw((40, 24, 3)))
        image.convert(mode).save(path, **kwargs)

    return save


@pytest.mark.parametrize(
    ('save', 'name'),
    [
        (save_as('L'), 'grey.jpg'),
        (save_as('CMYK'), 'cmyk.jpg'),
        (save_as('P'), 'palette.png'),
        (save_as('RGBA'), 'alpha.png'),
        (save_as('LA'), 'grey_alpha.png'),
        (save_as('1'), 'bits.png'),
        (save_as('RGB'), 'photo.webp'),
        (save_as('RGB'), 'photo.bmp'),
        (save_as('RGB'), 'photo.tif'),
        (save_as('RGB', format='PNG'), 'png_inside.jpg'),
        (save_as('RGB', format='WEBP'), 'webp_inside.png'),
        (save_as('RGB'), 'PHOTO.JPG'),
        (
            lambda path: cv2.imwrite(
                str(path), draw((40, 24)).astype(np.uint16) * 257
            ),
            'grey16.png',
        ),
    ],
)
def test_unusual_images_pass(save, name, detection):
    assert detection(save, name)[0]['img'].shape == (40, 24, 3)


# Label maps


@pytest.fixture
def segmentation(tmp_path):
    """Writes images and their label maps; returns a dataset."""
    init_default_scope('mmseg')

    def make(*maps, classes=3, suffix='.png', backend='pillow', **kwargs):
        for folder in ('images', 'labels'):
            (tmp_path / folder).mkdir(exist_ok=True)
        for i, label in enumerate(maps):
            image = Image.fromarray(draw())
            image.save(tmp_path / f'images/{i}.jpg')
            path = tmp_path / f'labels/{i}{suffix}'
            if callable(label):
                label(path)
            else:
                Image.fromarray(label).save(path)
        return build(
            dict(
                type='BaseSegDataset',
                data_root=str(tmp_path),
                data_prefix=dict(img_path='images', seg_map_path='labels'),
                seg_map_suffix=suffix,
                metainfo=dict(
                    classes=tuple('abcdef'[:classes]),
                    palette=[[0, 0, 0]] * classes,
                ),
                pipeline=[
                    dict(type='LoadImageFromFile'),
                    dict(type='LoadAnnotations', imdecode_backend=backend),
                ],
                **kwargs,
            )
        )

    return make


@pytest.fixture
def lines(monkeypatch):
    lines = []
    for module in ('folders', 'label_maps'):
        monkeypatch.setattr(
            f'mmactive.engine.checks.data.{module}.print_log',
            lambda text, **kwargs: lines.append(text),
        )
    return lines


def label_map(*values, dtype=np.uint8):
    """A label map of stripes."""
    rows = np.array(values, dtype=dtype)[np.arange(SIZE) % len(values)]
    return np.tile(rows[:, None], (1, SIZE))


def save_stripes(*values, mode='L', **kwargs):
    """Returns what saves the same in another mode."""

    def save(path):
        image = Image.fromarray(label_map(*values))
        if mode == 'P':
            image.putpalette(draw((256, 3)).ravel().tolist())
        elif mode == '1':
            image = Image.fromarray(label_map(*values) > 0)
        elif mode in ('F', 'I'):
            dtype = dict(F=np.float32, I=np.int32)[mode]
            image = Image.fromarray(label_map(*values, dtype=dtype))
        elif mode == 'LA':
            stripes = label_map(*values)
            image = Image.fromarray(np.stack([stripes, stripes], 2), 'LA')
        elif mode != 'L':
            image = image.convert(mode)
        image.save(path, **kwargs)

    return save


@pytest.mark.parametrize(
    ('label', 'suffix', 'expected'),
    [
        (label_map(0, 1, 2, 255), '.png', [0, 1, 2, 255]),
        (save_stripes(0, 1, 2, mode='P'), '.png', [0, 1, 2]),
        (save_stripes(0, 1, 2, mode='P', bits=2), '.png', [0, 1, 2]),
        (save_stripes(0, 1, 2, mode='P', bits=4), '.png', [0, 1, 2]),
        (save_stripes(0, 1, mode='1'), '.png', [0, 1]),
        (label_map(0, 1, 255, dtype=np.uint16), '.png', [0, 1, 255]),
        (save_stripes(0, 1, 2, mode='F'), '.tif', [0, 1, 2]),
        (save_stripes(0, 1, 2, mode='I'), '.tif', [0, 1, 2]),
        (save_stripes(0, 1, 2), '.bmp', [0, 1, 2]),
    ],
    ids=['L', 'P', 'P2', 'P4', '1', 'I;16', 'F', 'I', 'BMP'],
)
def test_unusual_label_maps_pass(label, suffix, expected, segmentation):
    dataset = segmentation(label, suffix=suffix)
    assert np.unique(dataset[0]['gt_seg_map']).tolist() == expected


def save_grey(*values, bits):
    """Returns what saves the same as grey of less than eight bits a pixel."""

    def save(path):
        rows = label_map(*values).astype(np.uint8)
        height, width = rows.shape
        places = np.unpackbits(rows[..., None], axis=2)[..., -bits:]
        rows = np.packbits(places.reshape(height, -1), axis=1)
        # Each row begins with the number of its filter, none.
        data = zlib.compress(np.insert(rows, 0, 0, axis=1).tobytes())
        header = struct.pack('>IIBBBBB', width, height, bits, 0, 0, 0, 0)
        with open(path, 'wb') as file:
            file.write(b'\x89PNG\r\n\x1a\n')
            for kind, body in (
                (b'IHDR', header),
                (b'IDAT', data),
                (b'IEND', b''),
            ):
                body = kind + body
                file.write(struct.pack('>I', len(body) - 4) + body)
                file.write(struct.pack('>I', zlib.crc32(body)))

    return save


@pytest.mark.parametrize(
    ('label', 'suffix', 'message'),
    [
        # Pillow makes 85 and 17 of label 1.
        (save_grey(0, 1, bits=2), '.png', 'has 2 bits a pixel'),
        (save_grey(0, 1, bits=4), '.png', 'has 4 bits a pixel'),
        # mmseg makes labels 1 and 0 of these.
        (
            label_map(0, 257, dtype=np.uint16),
            '.png',
            r'has the value 257, but labels are whole numbers from 0 to 255',
        ),
        (label_map(0, 1.5, dtype=np.float32), '.tif', r'has the value 1\.5'),
        (label_map(0, np.nan, dtype=np.float32), '.tif', 'has the value nan'),
        (label_map(0, -1, dtype=np.int32), '.tif', 'has the value -1'),
        (
            save_stripes(0, 1, mode='RGB'),
            '.png',
            r'has 3 channels \(RGB\), .* are equal: save one of them',
        ),
        (
            save_stripes(0, 1, mode='RGBA'),
            '.png',
            r'has 4 channels \(RGBA\), .* are equal: save one of them',
        ),
        (save_stripes(0, 1, mode='LA'), '.png', r'has 2 channels \(LA\)'),
        (draw(), '.png', 'colours have to be translated into labels'),
        (label_map(0, 3), '.png', 'classes are 0 to 2, .* but there is 3'),
        (
            label_map(0, 1)[:-1],
            '.png',
            'has 31 x 32 pixels, but its image 32 x 32',
        ),
    ],
)
def test_faults_of_label_maps(label, suffix, message, segmentation):
    with pytest.raises(ValueError, match=rf'labels/0\{suffix}.* {message}'):
        segmentation(label, suffix=suffix)[0]


def test_palettes_are_colours_to_opencv(segmentation):
    with pytest.raises(RuntimeError, match=r'labels/0\.png: .*32, 32, 3\)'):
        segmentation(save_stripes(0, 1, mode='P'), backend='cv2')


def test_labels_that_no_crop_would_show(segmentation):
    label = label_map(0, 1)
    label[-1, -1] = 9
    dataset = segmentation(label_map(1), label)
    with pytest.raises(ValueError, match=r'labels/1\.png: .* there is 9'):
        dataset[1]


def test_masks_of_0_and_255(segmentation, lines):
    mask = label_map(0, 255)
    message = 'labels: every pixel of 2 label maps is 255 or 0, .* ignored'
    with pytest.raises(ValueError, match=message):
        segmentation(mask, mask, reduce_zero_label=True)
    with pytest.raises(ValueError, match='2 label maps are 0 or 255, which'):
        segmentation(mask, mask)
    with pytest.raises(ValueError, match='pixel of 2 label maps is 255,'):
        segmentation(label_map(255), label_map(255))
    # A single class, or one map with another label, is enough.
    segmentation(mask, mask, classes=1)
    segmentation(mask, label_map(0, 2))
    segmentation(mask, label_map(0, 2), reduce_zero_label=True)
    assert lines == []
    segmentation(label_map(0), label_map(0))
    assert lines[0].endswith('2 label maps are of label 0')


def test_images_without_label_maps(segmentation, tmp_path, lines):
    segmentation(*[label_map(0, 1)] * 3)
    assert lines == []
    (tmp_path / 'images/2.jpg').rename(tmp_path / 'images/2.JPG')
    segmentation()
    assert 'skips 1 files whose names do not end with .jpg' in lines[0]
    assert 'skips 1 label maps without an image' in lines[1]
    (tmp_path / 'labels/1.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'labels/1\.png: there is no'):
        segmentation()


def test_label_maps_of_ade20k_and_camvid(data_folder, lines):
    """Real ones pass."""
    init_default_scope('mmseg')
    for root, splits, classes, zero in (
        ('ade_layout', ('training', 'validation'), 150, True),
        ('camvid', ('train', 'val', 'test'), 12, False),
    ):
        for split in splits:
            suffix = '.jpg'
            dataset = build(
                dict(
                    type='BaseSegDataset',
                    data_root=f'{data_folder}/{root}',
                    data_prefix=dict(
                        img_path=f'images/{split}',
                        seg_map_path=f'annotations/{split}',
                    ),
                    img_suffix=suffix,
                    reduce_zero_label=zero,
                    metainfo=dict(
                        classes=tuple(map(str, range(classes))),
                        palette=[[0, 0, 0]] * classes,
                    ),
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        dict(type='LoadAnnotations'),
                    ],
                )
            )
            assert all(dataset[i]['gt_seg_map'].any() for i in range(5))
    assert lines == []
