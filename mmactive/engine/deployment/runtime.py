# Copyright (c) mmactive contributors. All rights reserved.
"""Runs what has been exported."""

import json
import os.path as osp
import time
from typing import Any, Dict, List, Optional, Union

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.structures import InstanceData, PixelData
from torch import Tensor

from mmactive.registry import MODELS

# The key under which a file says what it is
METADATA = 'mmactive'


class OnnxModel:
    """Runs a model in ONNX Runtime, on the CPU.

    Args:
        model (str | bytes): Path or content of an ``.onnx`` file.
        num_threads (int): Number of threads; 0 means one for each core.
            Defaults to 0.

    Raises:
        RuntimeError: If ONNX Runtime cannot read it.

    Attributes:
        metadata (dict): What the tool that exported it says of it.
    """

    def __init__(self, model: Union[str, bytes], num_threads: int = 0) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(
                model, options, providers=['CPUExecutionProvider']
            )
        except Exception as error:
            name = model if isinstance(model, str) else 'the exported model'
            raise RuntimeError(
                f'{name}: ONNX Runtime cannot read it: '
                f'{str(error).splitlines()[0]}'
            ) from error
        custom = self.session.get_modelmeta().custom_metadata_map
        self.metadata = json.loads(custom.get(METADATA, '{}'))
        self.output_names = [x.name for x in self.session.get_outputs()]

    def __call__(self, images: Tensor) -> Dict[str, Tensor]:
        """Runs the model.

        Args:
            images (Tensor): (N, C, H, W), float32.

        Returns:
            dict[str, Tensor]: Its outputs by name.
        """
        name = self.session.get_inputs()[0].name
        outputs = self.session.run(None, {name: images.cpu().numpy()})
        return dict(zip(self.output_names, map(torch.from_numpy, outputs)))


class AotiModel:
    """Runs an AOTInductor package.

    Args:
        path (str): Path of a ``.pt2`` file.

    Raises:
        RuntimeError: If PyTorch cannot load it.

    Attributes:
        metadata (dict): What the tool that exported it says of it.
    """

    def __init__(self, path: str) -> None:
        from torch._inductor import aoti_load_package

        try:
            self.model = aoti_load_package(path)
        except Exception as error:
            raise RuntimeError(
                f'{path}: PyTorch cannot load it: {str(error).splitlines()[0]}'
            ) from error
        self.metadata = json.loads(self.model.get_metadata()[METADATA])
        self.output_names = self.metadata['outputs']
        self.device = self.metadata['device']

    def __call__(self, images: Tensor) -> Dict[str, Tensor]:
        """Runs the model, see :meth:`OnnxModel.__call__`.

        Raises:
            ValueError: If the images have another shape than those for which
                the model was compiled. It would not notice.
        """
        wanted = [self.metadata.get('batch'), *self.metadata.get('size', [])]
        actual = [len(images), *images.shape[2:]]
        if any(x and x != y for x, y in zip(wanted, actual)):
            raise ValueError(
                f'images: the model was compiled for batches of '
                f'{wanted[0] or "any number"} and '
                f'{" x ".join(map(str, wanted[1:])) or "any"} pixels, but got '
                f'{tuple(images.shape)}'
            )
        outputs = self.model(images.to(self.device))
        if isinstance(outputs, Tensor):
            outputs = [outputs]
        return {
            name: output.cpu()
            for name, output in zip(self.output_names, outputs)
        }


def load_exported(
    path: str, num_threads: int = 0
) -> Union[OnnxModel, AotiModel]:
    """Loads what ``tools/deployment/export.py`` has written.

    Args:
        path (str): An ``.onnx`` or a ``.pt2`` file.
        num_threads (int): Number of threads of ONNX Runtime; 0 means one for
            each core. Defaults to 0.

    Returns:
        OnnxModel | AotiModel: What runs it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it has another suffix.
        RuntimeError: If it does not load.
    """
    if not osp.isfile(path):
        raise FileNotFoundError(f'model: there is no file {path!r}')
    suffix = osp.splitext(path)[1]
    if suffix == '.onnx':
        return OnnxModel(path, num_threads)
    if suffix == '.pt2':
        return AotiModel(path)
    raise ValueError(
        f'model: expected an .onnx or .pt2 file, but got {path!r}'
    )


@MODELS.register_module()
class ExportedModel(BaseModel):
    """Tests an exported model by the dataset and the evaluator of a config.

    Args:
        path (str): The ``.onnx`` or ``.pt2`` file.
        data_preprocessor (dict, optional): That of the model; it is used if
            the exported one takes normalized images. Defaults to None.
        num_threads (int): Number of threads of ONNX Runtime; 0 means one for
            each core. Defaults to 0.

    Raises:
        ValueError: If ``tools/deployment/export.py`` has not written it.

    Attributes:
        seconds (list[float]): How long each call of the exported model took.
    """

    def __init__(
        self,
        path: str,
        data_preprocessor: Optional[dict] = None,
        num_threads: int = 0,
    ) -> None:
        super().__init__(data_preprocessor)
        self.exported = load_exported(path, num_threads)
        if 'task' not in self.exported.metadata:
            raise ValueError(
                f'{path}: expected what tools/deployment/export.py has '
                'written, but the file does not say of which task it is'
            )
        self.seconds: List[float] = []

    def forward(self, *args: Any, **kwargs: Any) -> None:
        """Is not there: this model does not train."""
        raise NotImplementedError('an exported model can be tested only')

    def test_step(self, data: dict) -> list:
        """Predicts a batch as the model in PyTorch does.

        Args:
            data (dict): A batch of the test dataloader.

        Returns:
            list: Data samples with predictions.
        """
        predict = dict(
            classification=self._classify,
            detection=self._detect,
            segmentation=self._segment,
        )[self.exported.metadata['task']]
        return [
            predict(image, sample)
            for image, sample in zip(self.prepare(data), data['data_samples'])
        ]

    def prepare(self, data: dict) -> List[Tensor]:
        """Makes what the exported model takes of a batch.

        Args:
            data (dict): A batch of a dataloader.

        Returns:
            list[Tensor]: Images (C, H, W), float32.
        """
        if not self.exported.metadata['normalized']:
            return [image.float() for image in data['inputs']]
        # One by one, since a batch would be padded to its largest image.
        return [
            self.data_preprocessor(dict(inputs=[image], data_samples=None))[
                'inputs'
            ][0]
            for image in data['inputs']
        ]

    def _run(self, image: Tensor) -> Dict[str, Tensor]:
        """Runs one image (C, H, W); returns its outputs."""
        images = image[None].contiguous()
        start = time.perf_counter()
        outputs = self.exported(images)
        self.seconds.append(time.perf_counter() - start)
        return {name: output[0] for name, output in outputs.items()}

    def _classify(self, image: Tensor, sample: Any) -> Any:
        scores = self._run(image)['scores']
        return sample.set_pred_score(scores).set_pred_label(scores.argmax())

    def _detect(self, image: Tensor, sample: Any) -> Any:
        outputs = self._run(image)
        found = outputs['labels'] >= 0
        objects = InstanceData(
            bboxes=outputs['boxes'][found],
            scores=outputs['scores'][found],
            labels=outputs['labels'][found],
        )
        scale = objects.bboxes.new_tensor(sample.scale_factor).repeat(2)
        objects.bboxes = objects.bboxes / scale
        if 'masks' in outputs:
            masks = outputs['masks'][found].float()
            height, width = sample.img_shape
            masks = masks[None, :, :height, :width]
            if len(objects) and sample.ori_shape != sample.img_shape:
                masks = F.interpolate(
                    masks, size=sample.ori_shape, mode='bilinear'
                )
            objects.masks = masks[0] >= 0.5
        sample.pred_instances = objects
        return sample

    def _segment(self, image: Tensor, sample: Any) -> Any:
        logits = self._run(image)['logits']
        height, width = sample.img_shape
        logits = F.interpolate(
            logits[None, :, :height, :width],
            size=sample.ori_shape,
            mode='bilinear',
            align_corners=self.exported.metadata['align_corners'],
        )[0]
        labels = logits.argmax(dim=0, keepdim=True)
        sample.pred_sem_seg = PixelData(data=labels)
        sample.seg_logits = PixelData(data=logits)
        return sample


def make_exported_cfg(cfg: Config, path: str, num_threads: int = 0) -> dict:
    """Makes the config of what stands for the model of a config.

    Args:
        cfg (Config): The config.
        path (str): The ``.onnx`` or ``.pt2`` file.
        num_threads (int): See :class:`ExportedModel`. Defaults to 0.

    Returns:
        dict: That of an :class:`ExportedModel`.
    """
    preprocessor = cfg.model.get('data_preprocessor')
    if preprocessor is None:
        # mmpretrain's classifiers say of which type theirs is.
        preprocessor = dict(
            dict(type='mmpretrain.ClsDataPreprocessor'),
            **(cfg.get('data_preprocessor') or {}),
        )
    return dict(
        type='mmactive.ExportedModel',
        path=path,
        data_preprocessor=preprocessor,
        num_threads=num_threads,
    )
