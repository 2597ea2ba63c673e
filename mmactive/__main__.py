# Copyright (c) mmactive contributors. All rights reserved.
"""Runs a tool of the libraries with ``mmactive`` imported.

``python -m mmactive mmdet/train.py CONFIG`` lets it find configs that inherit
from ``mmactive::...``, the models, mmcv's operators where it has none of its
own, and a safe reader of checkpoints.
"""

import os.path as osp
import runpy
import sys
from importlib.util import find_spec


def find_tool(name: str) -> str:
    """Finds a tool.

    Args:
        name (str): A path, or ``LIBRARY/PATH`` as seen from the folder of
            tools that an installed library brings along.

    Returns:
        str: The path of the file.
    """
    library, _, path = name.partition('/')
    if osp.isfile(name) or not library.isidentifier():
        return name
    spec = find_spec(library)
    for folder in (spec and spec.submodule_search_locations) or ():
        tool = osp.join(folder, '.mim', 'tools', path)
        if osp.isfile(tool):
            return tool
    return name


def main() -> None:
    """Runs the file that the first argument names."""
    if len(sys.argv) < 2:
        sys.exit('usage: python -m mmactive SCRIPT.py [ARGUMENTS]')
    del sys.argv[0]
    tool = find_tool(sys.argv[0])
    if not osp.isfile(tool):
        sys.exit(
            f'{tool}: no such file, neither here nor among the tools of an '
            'installed library'
        )
    sys.argv[0] = tool
    sys.path[0] = osp.dirname(osp.abspath(tool))
    runpy.run_path(tool, run_name='__main__')


if __name__ == '__main__':
    main()
