# Copyright (c) mmactive contributors. All rights reserved.
"""Runs a tool of the libraries with ``mmactive`` imported.

``python -m mmactive .../mmdet/.mim/tools/train.py CONFIG`` lets it find
configs that inherit from ``mmactive::...``, the models, mmcv's operators where
it has none of its own, and a safe reader of checkpoints.
"""

import os.path as osp
import runpy
import sys


def main() -> None:
    """Runs the file that the first argument names."""
    if len(sys.argv) < 2:
        sys.exit('usage: python -m mmactive SCRIPT.py [ARGUMENTS]')
    del sys.argv[0]
    sys.path[0] = osp.dirname(osp.abspath(sys.argv[0]))
    runpy.run_path(sys.argv[0], run_name='__main__')


if __name__ == '__main__':
    main()
