# Copyright (c) mmactive contributors. All rights reserved.
"""mmengine's runner, with errors that name the data at fault."""

import os.path as osp
from typing import Any, Iterator, List, Optional, Union

from mmengine.dataset import BaseDataset, Compose
from mmengine.runner import BaseLoop
from mmengine.runner import Runner as MMEngineRunner
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

HEADS = ('head', 'bbox_head', 'mask_head', 'decode_head', 'auxiliary_head')


class Runner(MMEngineRunner):
    """Runs a config.

    Says what is wrong where mmengine and the libraries stop with an error that
    does not tell: a data set without images or with a broken annotation file,
    an image or label map that cannot be processed, and numbers of classes that
    do not agree.
    """

    @staticmethod
    def build_dataloader(
        dataloader: Union[DataLoader, dict],
        seed: Optional[int] = None,
        diff_rank_seed: bool = False,
    ) -> DataLoader:
        """Builds a dataloader.

        Args:
            dataloader (DataLoader | dict): The dataloader or its config.
            seed (int, optional): Seed of the sampler. Defaults to None.
            diff_rank_seed (bool): Whether processes have different seeds.
                Defaults to False.

        Returns:
            DataLoader: The dataloader.

        Raises:
            ValueError: If the dataset has no images or its annotation file
                cannot be read. The error names the file or folder.
        """
        try:
            loader = MMEngineRunner.build_dataloader(
                dataloader, seed, diff_rank_seed
            )
        except (ValueError, KeyError) as error:
            source = ', '.join(list_sources(dataloader['dataset']))
            raise ValueError(f'{source}: {explain(error)}') from error
        for dataset in iter_leaves(loader.dataset):
            if isinstance(dataset, BaseDataset):
                dataset.pipeline = CheckedPipeline(dataset)
        return loader

    def build_train_loop(self, loop: Union[BaseLoop, dict]) -> BaseLoop:
        """Builds the loop of training, and checks the number of classes.

        Raises:
            ValueError: If a head has another number of classes than the
                dataset. The error names both.
        """
        loop = super().build_train_loop(loop)
        check_num_classes(self.model, loop.dataloader.dataset)
        for dataset in iter_leaves(loop.dataloader.dataset):
            if isinstance(dataset, BaseDataset):
                # Only mmseg's datasets have it. Evaluation takes labels that
                # are no class for ignored ones.
                ignore_index = getattr(dataset, 'ignore_index', None)
                dataset.pipeline.ignore_index = ignore_index
        return loop

    def build_test_loop(self, loop: Union[BaseLoop, dict]) -> BaseLoop:
        """Builds the loop of testing, and checks the number of classes.

        Raises:
            ValueError: If a head has another number of classes than the
                dataset. The error names both.
        """
        loop = super().build_test_loop(loop)
        check_num_classes(self.model, loop.dataloader.dataset)
        return loop


class CheckedPipeline(Compose):
    """A dataset's pipeline, with errors that name the file.

    Args:
        dataset (BaseDataset): The dataset. Its pipeline has been built.

    Attributes:
        num_classes (int): Number of classes, 0 if unknown.
        ignore_index (int | None): Label of no class, if labels are to be
            checked.
    """

    def __init__(self, dataset: BaseDataset) -> None:
        super().__init__(dataset.pipeline.transforms)
        self.ignore_index = None
        self.num_classes = len(dataset.metainfo.get('classes') or ())

    def __call__(self, data: dict) -> Optional[dict]:
        """Processes an image.

        Args:
            data (dict): What the dataset knows of it.

        Returns:
            dict | None: The result, None if the dataset is to try another.

        Raises:
            RuntimeError: If that fails. The error names the files.
            ValueError: If a label of a training image is no class.
        """
        files = [data.get(key) for key in ('img_path', 'seg_map_path')]
        files = [file for file in files if file]
        try:
            result = super().__call__(data)
        except Exception as error:
            if any(file in str(error) for file in files):
                raise
            # Transforms have added what they know of it.
            height, width = data.get('ori_shape', ('?', '?'))[:2]
            raise RuntimeError(
                f'{", ".join(files)} of {height} x {width} pixels: '
                f'{type(error).__name__}: {error}'
            ) from error
        check = self.ignore_index is not None and self.num_classes > 0
        if check and result is not None:
            self._check_labels(result['data_samples'].gt_sem_seg.data, files)
        return result

    def _check_labels(self, labels: Tensor, files: List[str]) -> None:
        ignored = labels == self.ignore_index
        wrong = labels[(labels >= self.num_classes) & ~ignored]
        if len(wrong) > 0:
            raise ValueError(
                f'{files[-1]}: the labels of {self.num_classes} classes are 0 '
                f'to {self.num_classes - 1}, and {self.ignore_index} for '
                f'none, but there is {int(wrong.max())}'
            )


def list_sources(dataset: Any) -> Iterator[str]:
    """Lists the annotation files or image folders of a dataset's config."""
    if not isinstance(dataset, dict):
        yield type(dataset).__name__
    elif 'dataset' in dataset:
        yield from list_sources(dataset['dataset'])
    elif 'datasets' in dataset:
        for child in dataset['datasets']:
            yield from list_sources(child)
    else:
        prefix = dataset.get('data_prefix') or ''
        if isinstance(prefix, dict):
            prefix = prefix.get('img_path', prefix.get('img', ''))
        name = dataset.get('ann_file') or prefix
        yield osp.join(dataset.get('data_root') or '', name)


def explain(error: Exception) -> str:
    """Says what an error of building a dataset means."""
    if 'need at least one array' in str(error):
        # mmengine joins the records of all images.
        return (
            'the dataset has no image that it could use; training leaves out '
            'images without objects of its classes'
        )
    return f'{type(error).__name__}: {error}'


def iter_leaves(dataset: Dataset) -> Iterator[Dataset]:
    """Yields the datasets that load images, without the wrappers of them."""
    if hasattr(dataset, 'dataset'):
        yield from iter_leaves(dataset.dataset)
    elif hasattr(dataset, 'datasets'):
        for child in dataset.datasets:
            yield from iter_leaves(child)
    else:
        yield dataset


def check_num_classes(model: nn.Module, dataset: Dataset) -> None:
    """Checks that the heads have the dataset's number of classes.

    Args:
        model (nn.Module): The model, or a wrapper of it.
        dataset (Dataset): The dataset. Without ``metainfo['classes']`` there
            is nothing to check.

    Raises:
        ValueError: If a head does not agree. The error names both.
    """
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    if classes is None:
        return
    # Of distributed training and of test-time augmentation
    while hasattr(model, 'module'):
        model = model.module
    for name, module in model.named_modules():
        parts = [part for part in name.split('.') if not part.isdigit()]
        num_classes = getattr(module, 'num_classes', None)
        is_head = bool(parts) and parts[-1] in HEADS
        if is_head and num_classes not in (None, len(classes)):
            raise ValueError(
                f'model.{name}.num_classes is {num_classes}, but '
                f'{type(dataset).__name__} has {len(classes)} classes: '
                f'{", ".join(map(str, classes[:3]))} ...'
            )
