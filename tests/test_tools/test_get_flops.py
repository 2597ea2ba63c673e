# Copyright (c) mmactive contributors. All rights reserved.
import re

import pytest
from reference_activemlp import COUNTS

from .conftest import CONFIGS, ROOT

TOOL = 'analysis_tools/get_flops.py'


@pytest.fixture
def get_flops(run_tool, capsys):
    """Returns the printed shape, multiply-adds in G and parameters."""

    def run(*args):
        capsys.readouterr()
        run_tool(TOOL, *args)
        output = capsys.readouterr().out
        shape = re.search(r'Input shape: \((.*)\)', output).group(1)
        macs = re.search(r'Flops: ([\d.]+) G', output).group(1)
        params = re.search(r'Params: .*\(([\d,]+)\)', output).group(1)
        return shape, float(macs), int(params.replace(',', ''))

    return run


@pytest.mark.parametrize('arch', COUNTS)
def test_counts_of_the_paper(arch, get_flops):
    config = ROOT / 'configs' / 'imagenet' / f'activemlp-{arch}_8xb128_in1k.py'
    params, macs, _ = COUNTS[arch]
    assert get_flops(config, '--shape', 224) == ('3, 224, 224', macs, params)


@pytest.mark.parametrize('task', CONFIGS)
def test_shape(task, get_flops, workspace):
    config = f'{task}.py'
    wide = get_flops(config, '--shape', 64, 128)
    assert wide[0] == '3, 64, 128'
    square = get_flops(config, '--shape', 64)
    assert square == get_flops(config, '--shape', 64, 64)
    assert square[1] < wide[1]
    assert square[2] == wide[2]
    # Arithmetic for real gives the same counts.
    assert get_flops(config, '--shape', 64, '--device', 'cpu') == square


def test_options_reach_the_config(get_flops, workspace):
    option = 'model.backbone.in_channels=1'
    shape, _, _ = get_flops('classifier.py', '--cfg-options', option)
    assert shape == '1, 224, 224'


def test_bad_input_is_named(run_tool, workspace, capsys):
    with pytest.raises(FileNotFoundError, match=r"config: .*'no\.py'"):
        run_tool(TOOL, 'no.py')
    for shape in ([1, 2, 3], [0]):
        with pytest.raises(SystemExit):
            run_tool(TOOL, 'classifier.py', '--shape', *shape)
        assert '--shape: expected one or two' in capsys.readouterr().err
