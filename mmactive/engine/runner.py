# Copyright (c) mmactive contributors. All rights reserved.
"""mmengine's runner, with errors that name the data at fault."""

from typing import Optional, Union

from mmengine.dataset import BaseDataset
from mmengine.evaluator import Evaluator
from mmengine.runner import BaseLoop
from mmengine.runner import Runner as MMEngineRunner
from torch.utils.data import DataLoader

from .checks.checkpoint import loading
from .checks.data import (
    CheckedPipeline,
    check_dataset,
    check_evaluator,
    check_same_classes,
    checked_loading,
    compare_classes,
    iter_leaves,
)
from .checks.heads import check_batch_augments, check_num_classes


class Runner(MMEngineRunner):
    """Runs a config.

    Says what is wrong where mmengine and the libraries stop with an error that
    does not tell: a data set without images or with a broken annotation file,
    an image or label map that cannot be processed, numbers of classes that do
    not agree, and a checkpoint of other heads.
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
            ValueError: If the dataset has no images or none with labels, or if
                there is something wrong with its annotation file. The error
                names the file or folder.
            FileNotFoundError: If an image has no label map.
        """
        with checked_loading() as files:
            loader = MMEngineRunner.build_dataloader(
                dataloader, seed, diff_rank_seed
            )
        for dataset in iter_leaves(loader.dataset):
            if isinstance(dataset, BaseDataset):
                check_dataset(dataset, files)
                dataset.pipeline = CheckedPipeline(dataset)
        return loader

    def load_checkpoint(self, filename: str, *args, **kwargs) -> dict:
        """Loads a checkpoint into the model, all of it or as a start.

        Args:
            filename (str): File or URL.
            args (tuple): As mmengine's.
            kwargs (dict): As mmengine's.

        Returns:
            dict: The checkpoint.

        Raises:
            ValueError: If the weights do not fit
                (:mod:`mmactive.engine.checks.checkpoint`), or if in a test a
                label stands for another class than it was trained for. The
                error names both.
        """
        with loading(all_models=True):
            checkpoint = super().load_checkpoint(filename, *args, **kwargs)
        if not isinstance(self._train_loop, BaseLoop):
            meta = checkpoint.get('meta', {}).get('dataset_meta') or {}
            for dataset in iter_leaves(self.test_dataloader.dataset):
                compare_classes(dataset, meta.get('classes') or (), filename)
        return checkpoint

    def _init_model_weights(self) -> None:
        """Initializes the weights, from checkpoints that fit."""
        allow_partial = self.cfg.get('allow_partial', False)
        with loading(all_models=True, allow_partial=allow_partial):
            super()._init_model_weights()

    def build_train_loop(self, loop: Union[BaseLoop, dict]) -> BaseLoop:
        """Builds the loop of training, and checks the number of classes.

        Raises:
            ValueError: If a head has another number of classes than the
                dataset, or than a classifier's preprocessor. The error names
                both.
        """
        loop = super().build_train_loop(loop)
        check_num_classes(self.model, loop.dataloader.dataset)
        check_batch_augments(self.model)
        return loop

    def build_evaluator(
        self, evaluator: Union[dict, list, Evaluator]
    ) -> Evaluator:
        """Builds an evaluator, and checks the annotation files it reads.

        Raises:
            ValueError: If there is something wrong with an annotation file.
                The error names it.
        """
        with checked_loading():
            return super().build_evaluator(evaluator)

    def build_val_loop(self, loop: Union[BaseLoop, dict]) -> BaseLoop:
        """Builds the loop of validation, and checks classes and metrics.

        Raises:
            ValueError: If a head has another number of classes than the
                dataset, if labels stand for other classes than in training,
                or if metrics cannot be calculated. The error names both.
        """
        loop = super().build_val_loop(loop)
        dataset = loop.dataloader.dataset
        if isinstance(self._train_loop, BaseLoop):
            check_same_classes(dataset, self._train_loop.dataloader.dataset)
        check_num_classes(self.model, dataset)
        check_evaluator(loop.evaluator, dataset)
        return loop

    def build_test_loop(self, loop: Union[BaseLoop, dict]) -> BaseLoop:
        """Builds the loop of testing, and checks classes and metrics.

        Raises:
            ValueError: If a head has another number of classes than the
                dataset, or if metrics cannot be calculated. The error names
                both.
        """
        loop = super().build_test_loop(loop)
        check_num_classes(self.model, loop.dataloader.dataset)
        check_evaluator(loop.evaluator, loop.dataloader.dataset)
        return loop
