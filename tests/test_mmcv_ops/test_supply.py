# Copyright (c) mmactive contributors. All rights reserved.
"""When mmcv._ext is supplied, in processes of their own."""

import subprocess
import sys

import pytest

pytest.importorskip('mmcv')

# Takes away a compiled mmcv._ext. A finder that says that there is none
# cannot be written: one that finds nothing is passed over.
NO_EXTENSION = """
import importlib.machinery as machinery, sys
find = machinery.PathFinder.find_spec
machinery.PathFinder.find_spec = staticmethod(
    lambda name, *args: None if name == 'mmcv._ext' else find(name, *args))
"""


def run(code):
    result = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result


def test_missing_extension_is_supplied():
    code = """
import mmactive, mmcv, mmcv._ext, mmcv.ops, mmcv.utils.ext_loader as loader
from mmcv.ops import get_compiler_version
print(mmcv._ext.__file__, get_compiler_version())
"""
    result = run(NO_EXTENSION + code)
    assert 'mmactive/mmcv_ops/extension.py' in result.stdout
    assert 'torchvision' in result.stdout
    assert result.stderr == ''


def test_is_looked_up_in_python_3_14():
    """Which has no pkgutil.find_loader any more, that the libraries call."""
    code = """
import pkgutil
vars(pkgutil).pop('find_loader', None)
import mmactive
from mmcv.utils.ext_loader import check_ops_exist
from mmengine.utils.dl_utils.misc import mmcv_full_available
print(check_ops_exist(), mmcv_full_available())
"""
    for prefix in ('', NO_EXTENSION):
        assert run(prefix + code).stdout == 'True True\n'


def test_other_operators_name_themselves():
    code = """
import mmactive, torch
from mmcv.ops import box_iou_rotated
try:
    box_iou_rotated(torch.rand(1, 5), torch.rand(1, 5))
except NotImplementedError as error:
    print(error)
"""
    message = run(NO_EXTENSION + code).stdout
    assert '`box_iou_rotated`' in message
    assert 'MMCV_WITH_OPS=1' in message


def test_loaded_extension_is_left_alone():
    """Also one of someone else's that is no compiled file."""
    code = """
import sys, types
from importlib.machinery import ModuleSpec
other = sys.modules['mmcv._ext'] = types.ModuleType('mmcv._ext')
other.__spec__ = ModuleSpec('mmcv._ext', None)
other.__getattr__ = lambda name: None
import mmactive, mmcv.ops
assert sys.modules['mmcv._ext'] is other
"""
    assert run(code).stderr == ''


def test_broken_extension_is_left_alone(tmp_path):
    file = tmp_path / '_ext.py'
    file.write_text("raise ImportError('undefined symbol: c10')")
    code = f"""
import mmcv, sys
mmcv.__path__.insert(0, {str(tmp_path)!r})
import mmactive
assert 'mmcv._ext' not in sys.modules
"""
    assert 'does not load (undefined symbol: c10)' in run(code).stderr


def test_torchvision_is_imported_for_operators_alone():
    code = """
import sys
sys.modules['torchvision'] = None
import mmactive, mmcv
try:
    import mmcv.ops
except ModuleNotFoundError as error:
    assert error.name == 'torchvision'
else:
    raise AssertionError
"""
    run(NO_EXTENSION + code)


def test_import_order():
    """A library that failed to import before mmactive cannot do so again."""
    pytest.importorskip('mmdet')
    code = """
for name in ('mmcv.ops', 'mmdet.models'):
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        assert error.name == 'mmcv._ext'
    else:
        raise AssertionError
import mmactive, mmcv.ops
"""
    message = run(NO_EXTENSION + code).stderr
    assert 'mmdet failed to import before mmactive' in message
