# Copyright (c) mmactive contributors. All rights reserved.
"""Data with something wrong or unusual in it, mostly for dense prediction.

All goes through ``tools/train.py`` and ``tools/test.py``.
"""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from pycocotools import mask as coco_mask

from mmactive.utils.checkpoint import load

from .conftest import DETECTOR, SEGMENTOR
from .test_train import read_log

# As the COCO configs have it, `data_root=...` sets the root of all data.
MASK_RCNN = (
    DETECTOR.replace('retinanet_r50_fpn', 'mask-rcnn_r50_fpn')
    .replace('coco_detection', 'coco_instance')
    .replace('with_bbox=True', 'with_bbox=True, with_mask=True')
    .replace(
        """bbox_head=dict(
        num_classes=1, in_channels=16, feat_channels=16, stacked_convs=1),
    test_cfg=dict(score_thr=0.0, max_per_img=10))""",
        """rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16),
        bbox_head=dict(in_channels=16, fc_out_channels=16, num_classes=1),
        mask_roi_extractor=dict(out_channels=16),
        mask_head=dict(
            in_channels=16, conv_out_channels=16, num_convs=1,
            num_classes=1)),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=100, max_per_img=50),
        rcnn=dict(sampler=dict(num=16))),
    test_cfg=dict(
        rpn=dict(nms_pre=100, max_per_img=50),
        rcnn=dict(score_thr=0.0, max_per_img=10)))""",
    )
)

# The pipelines are those of the ADE20K configs, but for their sizes.
FPN = f"""{SEGMENTOR}
train_dataloader['batch_size'] = 3
train_dataloader['dataset'] = dict(dataset, pipeline=[
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(256, 64), ratio_range=(0.5, 2.0),
         keep_ratio=True),
    dict(type='RandomCrop', crop_size=(128, 128), cat_max_ratio=0.75),
    dict(type='PackSegInputs')])
val_dataloader['dataset'] = dict(dataset, pipeline=[
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(256, 64), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs')])
test_dataloader = val_dataloader
"""

# mmseg's wrapper mixes images that are not packed yet.
MOSAIC = """_base_ = 'seg.py'
train_dataloader = dict(dataset=dict(
    _delete_=True, type='MultiImageMixDataset',
    dataset=dict(_base_.dataset, pipeline=_base_.pipeline[:2]),
    pipeline=[
        dict(type='RandomMosaic', prob=1.0, img_scale=(64, 64)),
        dict(type='Resize', scale=(128, 128), keep_ratio=False),
        dict(type='PackSegInputs')]))
"""

BOXES = ('--cfg-options', 'data_root=boxes', 'train_dataloader.batch_size=1')
AREAS = ('--cfg-options', 'data_root=areas')


@pytest.fixture
def place(workspace):
    """A folder with two configs, and with data of its own to spoil."""
    (workspace / 'det.py').write_text(MASK_RCNN)
    (workspace / 'seg.py').write_text(FPN)
    (workspace / 'mosaic.py').write_text(MOSAIC)
    # Testing starts without weights of its own.
    torch.save(dict(state_dict={}), 'any.pth')
    for folder in ('boxes/images', 'areas/images', 'areas/labels'):
        (workspace / folder).mkdir(parents=True)
    return workspace


@pytest.fixture
def fail(run_tool):
    """Runs a tool that is to fail; returns the error's text."""

    def run(tool, *args):
        with pytest.raises(Exception) as info:  # noqa: PT011
            run_tool(tool, *args)
        return f'{info.type.__name__}: {info.value}'

    return run


@pytest.fixture
def weights(place):
    """Writes random weights that fit a config; returns the file's name."""

    def write(config):
        cfg = Config.fromfile(config)
        init_default_scope(cfg.default_scope)
        model = MODELS.build(cfg.model)
        torch.save(dict(state_dict=model.state_dict()), 'weights.pth')
        return 'weights.pth'

    return write


def draw(height, width, mode='RGB'):
    generator = np.random.default_rng(height * width)
    shape = (height, width, len(mode)) if len(mode) > 1 else (height, width)
    return Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8))


def write_boxes(place, images):
    """Writes images with an object each, but for those named 'empty'."""
    content = dict(
        images=[],
        annotations=[],
        categories=[dict(id=1, name='square')],
    )
    for i, (name, image) in enumerate(images.items()):
        image.save(place / 'boxes/images' / name)
        width, height = image.size
        content['images'].append(
            dict(id=i, file_name=name, width=width, height=height)
        )
        w, h = max(1, width // 2), height // 2
        annotation = dict(
            id=i + 1,
            image_id=i,
            category_id=1,
            bbox=[0, 0, w, h],
            area=w * h,
            segmentation=[[0, 0, w, 0, w, h, 0, h]],
            iscrowd=0,
        )
        if not name.startswith('empty'):
            content['annotations'].append(annotation)
    save_boxes(place, content)
    return content


def save_boxes(place, content):
    (place / 'boxes/boxes.json').write_text(json.dumps(content))


def write_areas(place, sizes):
    for i, (height, width, mode) in enumerate(sizes):
        draw(height, width, mode).save(place / f'areas/images/{i}.png')
        label = np.zeros((height, width), np.uint8)
        label[height // 2 :] = 1
        Image.fromarray(label).save(place / f'areas/labels/{i}.png')


def read_losses(work_dir):
    losses = [line['loss'] for line in read_log(work_dir) if 'loss' in line]
    assert all(np.isfinite(losses))
    return losses


def test_unusual_images_with_boxes(place, run_tool):
    """No objects, a crowd, grey-scale, RGBA, one pixel wide: mmdet copes."""
    images = {
        'plain.jpg': draw(96, 128),
        'empty.jpg': draw(96, 128),
        'grey.jpg': draw(96, 128, 'L'),
        'rgba.png': draw(128, 96, 'RGBA'),
        'thin.png': draw(100, 1),
        'crowd.jpg': draw(128, 128),
    }
    content = write_boxes(place, images)
    # The region of a crowd is run-length encoded, as COCO's are.
    region = np.zeros((128, 128), np.uint8, order='F')
    region[:, 64:] = 1
    counts = coco_mask.encode(region)['counts'].decode()
    crowd = dict(
        id=100,
        image_id=5,
        category_id=1,
        bbox=[64, 0, 64, 128],
        area=64 * 128,
        segmentation=dict(size=[128, 128], counts=counts),
        iscrowd=1,
    )
    content['annotations'].append(crowd)
    save_boxes(place, content)

    key = 'train_dataloader.dataset.filter_cfg'
    run_tool('train.py', 'det.py', '--no-validate', *BOXES)
    # Training leaves the empty and the thin one out.
    assert len(read_losses(place / 'work_dirs/det')) == 4
    run_tool(
        *('test.py', 'det.py', 'work_dirs/det/epoch_1.pth'),
        *('--out', 'out.pkl', *BOXES),
    )
    # Testing does not.
    assert len(pickle.loads((place / 'out.pkl').read_bytes())) == 6

    # Images without objects can be trained on, too.
    option = f'{key}.filter_empty_gt=False'
    options = ('--no-validate', '--overwrite')
    run_tool('train.py', 'det.py', *options, *BOXES, option)
    assert len(read_losses(place / 'work_dirs/det')) == 5


def test_unusual_label_maps(place, run_tool):
    sizes = [(96, 128, 'L'), (128, 96, 'RGBA'), (100, 2, 'RGB')]
    write_areas(place, sizes)
    run_tool('train.py', 'seg.py', *AREAS)
    assert read_losses(place / 'work_dirs/seg')
    assert 'mIoU' in read_log(place / 'work_dirs/seg')[-1]


def test_mosaic(place, fail, run_tool):
    write_areas(place, [(64, 64, 'RGB')] * 3)
    run_tool('train.py', 'mosaic.py', '--no-validate', *AREAS)
    assert read_losses(place / 'work_dirs/mosaic')
    label = np.full((64, 64), 7, np.uint8)
    for i in range(3):
        Image.fromarray(label).save(place / f'areas/labels/{i}.png')
    message = fail('train.py', 'mosaic.py', '--overwrite', *AREAS)
    assert message.startswith('ValueError: areas/labels/')
    assert message.endswith('there is 7')


def test_ignored_label_maps(place, run_tool, fail):
    """One in a batch with others can be learned, nothing else cannot."""
    write_areas(place, [(64, 64, 'RGB')] * 3)
    label = Image.fromarray(np.full((64, 64), 255, np.uint8))
    label.save(place / 'areas/labels/0.png')
    run_tool('train.py', 'seg.py', '--no-validate', *AREAS)
    losses = read_losses(place / 'work_dirs/seg')
    assert len(losses) == 2
    assert np.max(losses) > 0
    for i in range(3):
        label.save(place / f'areas/labels/{i}.png')
    message = fail('train.py', 'seg.py', '--overwrite', *AREAS)
    assert message.startswith('ValueError: areas/labels: every pixel of 3 ')


def test_no_objects_at_all(place, fail):
    write_boxes(place, {'empty.jpg': draw(96, 128)})
    message = fail('train.py', 'det.py', *BOXES)
    assert message.startswith('ValueError: boxes/boxes.json: ')
    assert 'no image that it could use' in message
    # The same goes for classes that the file does not have.
    write_boxes(place, {'plain.jpg': draw(96, 128)})
    option = 'train_dataloader.dataset.metainfo.classes=[circle]'
    message = fail('train.py', 'det.py', *BOXES, option)
    assert message.startswith('ValueError: boxes/boxes.json: ')
    assert message.endswith("none that is named 'circle'")
    # No images either
    save_boxes(
        place,
        dict(
            images=[],
            annotations=[],
            categories=[dict(id=1, name='square')],
        ),
    )
    for command in (['train.py', 'det.py'], ['test.py', 'det.py', 'any.pth']):
        message = fail(*command, *BOXES)
        assert 'boxes/boxes.json: the dataset has no image' in message


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('', 'the file is empty'),
        ('{"images": [', 'the file is cut off'),
        ('{}', 'images is missing'),
        ('[]', 'expected an object of images, annotations and categories'),
        (
            '{"images": null, "annotations": [], "categories": []}',
            'images is missing, expected a list',
        ),
    ],
    ids=['empty', 'cut', 'nothing', 'list', 'null'],
)
def test_broken_annotation_file(text, reason, place, fail):
    (place / 'boxes/boxes.json').write_text(text)
    message = fail('train.py', 'det.py', *BOXES)
    assert message.startswith('ValueError: boxes/boxes.json: ')
    assert reason in message


def test_missing_files(place, fail, weights):
    content = write_boxes(place, {'plain.jpg': draw(96, 128)})
    content['images'][0]['file_name'] = 'missing.jpg'
    save_boxes(place, content)
    message = fail('train.py', 'det.py', *BOXES)
    assert message.startswith('FileNotFoundError')
    assert 'boxes/images/missing.jpg' in message

    option = 'train_dataloader.dataset.ann_file=other.json'
    message = fail('train.py', 'det.py', *BOXES, option)
    assert message.startswith('FileNotFoundError')
    assert 'boxes/other.json' in message

    message = fail('test.py', 'det.py', weights('det.py'), *BOXES)
    assert message.startswith('FileNotFoundError')
    assert 'boxes/images/missing.jpg' in message
    option = 'test_dataloader.dataset.ann_file=other.json'
    message = fail('test.py', 'det.py', weights('det.py'), *BOXES, option)
    assert 'boxes/other.json' in message

    message = fail('train.py', 'det.py', '--cfg-options', 'data_root=nowhere')
    assert message.startswith('FileNotFoundError: train_dataloader')
    assert 'nowhere' in message
    message = fail('train.py', 'seg.py', '--cfg-options', 'data_root=nowhere')
    assert message.startswith('FileNotFoundError: train_dataloader')
    assert 'nowhere' in message

    write_areas(place, [(64, 64, 'RGB')])
    (place / 'areas/labels/0.png').unlink()
    message = fail('train.py', 'seg.py', *AREAS)
    assert message.startswith('FileNotFoundError')
    assert 'areas/labels/0.png' in message


def test_missing_checkpoints(place, fail):
    write_boxes(place, {'plain.jpg': draw(96, 128)})
    options = [
        'model.backbone.init_cfg.type=Pretrained',
        'model.backbone.init_cfg.prefix=backbone.',
        'model.backbone.init_cfg.checkpoint=checkpoints/missing.pth',
    ]
    message = fail('train.py', 'det.py', *BOXES, *options)
    assert message.startswith('FileNotFoundError')
    assert 'checkpoints/missing.pth' in message
    # A checkpoint, but not one of a classifier.
    torch.save(dict(state_dict=dict(x=torch.zeros(1))), 'other.pth')
    options[-1] = 'model.backbone.init_cfg.checkpoint=other.pth'
    message = fail('train.py', 'det.py', *BOXES, *options)
    assert 'backbone' in message


@pytest.mark.parametrize('workers', [0, 1])
def test_corrupt_files(workers, place, fail):
    loader = [f'train_dataloader.num_workers={workers}']
    write_boxes(place, {'plain.jpg': draw(96, 128)})
    path = place / 'boxes/images/plain.jpg'
    path.write_bytes(path.read_bytes()[:20])
    message = fail('train.py', 'det.py', *BOXES, *loader)
    assert 'boxes/images/plain.jpg' in message

    write_areas(place, [(64, 64, 'RGB')])
    path = place / 'areas/labels/0.png'
    path.write_bytes(b'not a picture')
    message = fail('train.py', 'seg.py', *AREAS, *loader)
    assert 'areas/labels/0.png' in message
    assert 'cannot identify' in message


def test_corrupt_images(place, fail, weights):
    """One without a byte in segmentation, others in tests and classes."""
    write_areas(place, [(64, 64, 'RGB')])
    (place / 'areas/images/0.png').write_bytes(b'')
    message = fail('train.py', 'seg.py', *AREAS)
    assert message.startswith('RuntimeError: areas/images/0.png')
    assert 'pixels' not in message  # since nobody knows how many

    write_boxes(place, {'plain.jpg': draw(96, 128)})
    (place / 'boxes/images/plain.jpg').write_bytes(b'not a picture')
    message = fail('test.py', 'det.py', weights('det.py'), *BOXES)
    assert 'boxes/images/plain.jpg' in message

    shutil.copytree('data/classes', 'classes')
    (place / 'classes/dark/3.png').write_bytes(b'not a picture')
    option = 'train_dataloader.dataset.data_root=classes'
    message = fail('train.py', 'classifier.py', '--cfg-options', option)
    assert 'classes/dark/3.png' in message


def test_images_that_are_cut_off(place, fail, run_tool, weights):
    write_boxes(place, {'a.jpg': draw(96, 128), 'b.jpg': draw(96, 128)})
    path = place / 'boxes/images/b.jpg'
    complete = path.read_bytes()
    path.write_bytes(complete[: len(complete) // 2])
    for command in (
        ['train.py', 'det.py'],
        ['test.py', 'det.py', weights('det.py')],
    ):
        assert 'boxes/images/b.jpg' in fail(*command, *BOXES)
    # Something behind a complete image does no harm.
    path.write_bytes(complete + bytes(100))
    run_tool('train.py', 'det.py', '--no-validate', *BOXES)

    write_areas(place, [(64, 64, 'RGB')])
    path = place / 'areas/images/0.png'
    path.write_bytes(path.read_bytes()[:-300])
    assert 'areas/images/0.png' in fail('train.py', 'seg.py', *AREAS)


@pytest.mark.parametrize('height', [100, 3000])
def test_one_pixel_wide_label_map(height, place, fail):
    """mmseg takes it for a line, or scales the image to nothing."""
    write_areas(place, [(64, 64, 'RGB'), (height, 1, 'RGB')])
    message = fail('train.py', 'seg.py', *AREAS)
    assert message.startswith('RuntimeError: areas/images/1.png')
    assert f'{height} x 1 pixels' in message


def test_one_pixel_wide_image_with_boxes(place, fail, weights):
    """Training leaves it out; testing would scale it to nothing."""
    write_boxes(place, {'plain.jpg': draw(96, 128), 'thin.png': draw(3000, 1)})
    message = fail('test.py', 'det.py', weights('det.py'), *BOXES)
    assert message.startswith('RuntimeError: boxes/images/thin.png')
    assert '3000 x 1 pixels' in message


def test_other_categories(place, fail):
    """Labels would be those of other classes, or of a validation's own."""
    content = write_boxes(place, {'plain.jpg': draw(96, 128)})
    content['categories'].append(dict(id=2, name='circle'))
    save_boxes(place, content)
    key = 'dataset.metainfo.classes'
    message = fail(
        *('train.py', 'det.py', *BOXES),
        f'train_dataloader.{key}=[square,circel]',
    )
    assert message.startswith('ValueError: boxes/boxes.json: ')
    assert message.endswith("none that is named 'circel'")
    message = fail(
        *('train.py', 'det.py', *BOXES),
        f'train_dataloader.{key}=[circle,square]',
    )
    assert "in the order of its categories, 'square', 'circle'" in message
    message = fail(
        *('train.py', 'det.py', *BOXES),
        f'val_dataloader.{key}=[square,circle]',
    )
    assert 'num_classes is 1, but CocoDataset has 2 classes' in message


@pytest.mark.parametrize(
    'option',
    [
        'train_dataloader.dataset.pipeline.2.type=Typo',
        'train_dataloader.sampler.type=Typo',
    ],
)
def test_typos(option, place, fail):
    write_boxes(place, {'plain.jpg': draw(96, 128)})
    message = fail('train.py', 'det.py', *BOXES, option)
    assert message.startswith("KeyError: 'Typo is not in the ")


def test_wrong_number_of_classes(place, fail, run_tool):
    write_boxes(place, {'plain.jpg': draw(96, 128)})
    wrong = 'model.roi_head.mask_head.num_classes=3'
    message = fail('train.py', 'det.py', *BOXES, wrong)
    assert message.startswith('ValueError')
    assert 'model.roi_head.mask_head.num_classes is 3' in message
    assert 'CocoDataset has 1 classes: square' in message
    message = fail('test.py', 'det.py', 'any.pth', *BOXES, wrong)
    assert 'model.roi_head.mask_head.num_classes is 3' in message

    write_areas(place, [(64, 64, 'RGB')] * 3)
    wrong = 'model.decode_head.num_classes=3'
    message = fail('train.py', 'seg.py', *AREAS, wrong)
    assert 'model.decode_head.num_classes is 3' in message
    assert 'BaseSegDataset has 2 classes: ground, square' in message
    # Testing would go on, with scores of the wrong classes.
    run_tool('train.py', 'seg.py', '--no-validate', *AREAS)
    message = fail(
        'test.py', 'seg.py', 'work_dirs/seg/iter_2.pth', *AREAS, wrong
    )
    assert 'model.decode_head.num_classes is 3' in message


def test_label_that_is_no_class(place, fail, weights):
    write_areas(place, [(64, 64, 'RGB')])
    label = np.zeros((64, 64), np.uint8)
    label[:32] = 7
    label[:16] = 255  # ignored
    Image.fromarray(label).save(place / 'areas/labels/0.png')
    # mmseg's metric would count the pixels as wrongly predicted ones.
    for command in (
        ['train.py', 'seg.py'],
        ['test.py', 'seg.py', weights('seg.py')],
    ):
        message = fail(*command, *AREAS)
        assert message.startswith('ValueError: areas/labels/0.png: ')
        assert 'labels of 2 classes are 0 to 1' in message
        assert message.endswith('there is 7')


def test_label_map_of_another_size(place, fail, weights):
    write_areas(place, [(64, 96, 'RGB')])
    label = Image.fromarray(np.zeros((50, 40), np.uint8))
    label.save(place / 'areas/labels/0.png')
    for command in (
        ['train.py', 'seg.py'],
        ['test.py', 'seg.py', weights('seg.py')],
    ):
        message = fail(*command, *AREAS)
        assert message.startswith('ValueError: areas/labels/0.png: ')
        assert message.endswith('has 50 x 40 pixels, but its image 64 x 96')


def test_no_images_to_segment(place, fail):
    message = fail('train.py', 'seg.py', *AREAS)
    assert message.startswith('ValueError: areas/images')
    assert message.endswith('it looks for files named *.png')


def test_checkpoint_of_other_classes(place, fail, run_tool):
    """Training drops the old head, a test must not measure a random one."""
    write_areas(place, [(64, 64, 'RGB')] * 3)
    run_tool('train.py', 'seg.py', '--no-validate', *AREAS)
    path = 'work_dirs/seg/iter_2.pth'
    run_tool('test.py', 'seg.py', path, *AREAS)
    checkpoint = load(path)
    key = 'decode_head.conv_seg.weight'
    weight = checkpoint['state_dict'][key]
    checkpoint['state_dict'][key] = weight.repeat(4, 1, 1, 1)
    torch.save(checkpoint, 'other.pth')
    message = fail('test.py', 'seg.py', 'other.pth', *AREAS)
    assert message.startswith(f'ValueError: other.pth: {key} is of shape (8, ')
    assert 'but the config makes it (2, ' in message
    assert message.endswith('was it trained for 2 classes?')
    run_tool(
        'train.py', 'seg.py', '--overwrite', *AREAS, 'load_from=other.pth'
    )


@pytest.mark.slow
def test_weights_that_do_not_fit(place, fail, run_tool):
    """Nothing is trained or measured with random weights for given ones."""
    write_areas(place, [(64, 64, 'RGB')] * 3)
    run_tool('train.py', 'seg.py', '--no-validate', *AREAS)
    checkpoint = load('work_dirs/seg/iter_2.pth')
    weights = checkpoint['state_dict']
    for name, old, new in (
        ('renamed.pth', 'backbone.', 'net.'),
        ('part.pth', 'mixer.', 'mix.'),
    ):
        renamed = {k.replace(old, new): x for k, x in weights.items()}
        torch.save({**checkpoint, 'state_dict': renamed}, name)
        train = ('train.py', 'seg.py', '--work-dir', name[:-4])
        for command in (
            ('test.py', 'seg.py', name, *AREAS),
            (*train, *AREAS, f'load_from={name}'),
            (*train, '--resume', name, *AREAS),
        ):
            message = fail(*command)
            assert message.startswith(f'ValueError: {name}: ')
            assert new in message
    run_tool(*train, '--allow-partial', *AREAS, f'load_from={name}')


def test_masks_cannot_be_augmented(place, fail):
    message = fail('test.py', 'det.py', 'any.pth', '--tta')
    assert message.startswith('ValueError: --tta: DetTTAModel merges boxes')
    assert 'mask_head' in message
