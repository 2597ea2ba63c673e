# Copyright (c) mmactive contributors. All rights reserved.
"""Makes the models of this package known to the libraries by their names.

A model's name is that of its config, as ``model-index.yml`` and the metafiles
list them. The libraries look names up in their own files only.
"""

import os.path as osp
from functools import wraps
from pathlib import Path
from typing import Any, Iterator, List

from .import_hook import call_when_imported

# Folders of configs by the library that runs them
FOLDERS = dict(
    mmpretrain='configs/imagenet',
    mmdet='configs/coco',
    mmseg='configs/ade20k',
)


def find_root() -> Path:
    """Returns the folder of ``model-index.yml`` and ``configs``.

    Returns:
        Path: The source folder, or what an installed package has of it.
    """
    package = Path(__file__).resolve().parents[1]
    source = package.parent
    is_source = (source / 'model-index.yml').is_file()
    return source if is_source else package / '.mim'


def load_models(scope: str) -> List[dict]:
    """Loads the metadata of a library's models.

    Args:
        scope (str): 'mmpretrain', 'mmdet' or 'mmseg'.

    Returns:
        list[dict]: Items of the metafiles, with an absolute ``Config`` and
        with ``Weights``, which are None where none are published.
    """
    from mmengine.fileio import load

    root = find_root()
    models = []
    for path in load(root / 'model-index.yml')['Import']:
        if not path.startswith(f'{FOLDERS[scope]}/'):
            continue
        for model in load(root / path)['Models']:
            config = str(root / model['Config'])
            models.append({'Weights': None, **model, 'Config': config})
    return models


def register() -> None:
    """Makes the three libraries find the models.

    This is done when a library is imported, so that nobody waits for those
    that are not used.
    """
    call_when_imported('mmengine.infer', _extend_inferencers)
    call_when_imported('mmpretrain.apis.model', _extend_model_hub)


def _extend_inferencers() -> None:
    """Lets mmdet's and mmseg's inferencers find models of this package."""
    from mmengine.infer import BaseInferencer

    get_own = BaseInferencer._get_models_from_metafile

    @wraps(get_own)
    def get_models(dir: str) -> Iterator[dict]:
        yield from get_own(dir)
        # Of an installed library it is <package>/.mim, else the source folder.
        for scope in FOLDERS:
            package = osp.basename(osp.dirname(dir))
            if scope == package or osp.isdir(osp.join(dir, scope)):
                yield from load_models(scope)

    BaseInferencer._get_models_from_metafile = staticmethod(get_models)


def _extend_model_hub() -> None:
    """Lets mmpretrain's ``get_model`` and ``list_models`` find models."""
    from mmpretrain.apis.model import ModelHub

    register_own = ModelHub._register_mmpretrain_models
    done: List[bool] = []

    def register_models(cls: Any) -> None:
        # Theirs first: they refuse a name that is taken, such as that of a
        # config here that inherits theirs.
        register_own()
        if done:
            return
        done.append(True)
        from modelindex.models.Model import Model

        for item in load_models('mmpretrain'):
            name = item['Name'].lower()
            if name not in cls._models_dict:
                cls._models_dict[name] = Model.from_dict(item)

    ModelHub._register_mmpretrain_models = classmethod(register_models)
