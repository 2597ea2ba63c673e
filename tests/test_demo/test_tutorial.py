# Copyright (c) mmactive contributors. All rights reserved.
"""demo/mmactive_tutorial.ipynb runs from top to bottom."""

import pytest

from .conftest import DEMO

NOTEBOOK = DEMO / 'mmactive_tutorial.ipynb'


@pytest.mark.parametrize(
    'stride', [45, pytest.param(1, marks=pytest.mark.slow)]
)
def test_runs(stride, tmp_path):
    """Training on a few digits, or on all as it does."""
    nbformat = pytest.importorskip('nbformat')
    nbclient = pytest.importorskip('nbclient')
    for name in ('ipykernel', 'matplotlib_inline', 'sklearn', 'timm'):
        pytest.importorskip(name)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == 'code']
    assert not any(cell.outputs or cell.execution_count for cell in code)
    parameters, *_ = code
    assert parameters.metadata.tags == ['parameters']
    parameters.source = f'stride = {stride}'
    nbclient.NotebookClient(
        notebook,
        timeout=900,
        kernel_name='python3',
        resources=dict(metadata=dict(path=str(tmp_path))),
    ).execute()
    outputs = [
        ''.join(
            str(output.get('text') or output.get('data'))
            for output in c.outputs
        )
        for c in code
    ]
    assert 'activemlp-xtiny_8xb128_in1k' in outputs[1]
    assert '(1, 64, 56, 80)' in outputs[2]
    accuracy = float(outputs[6].split("'accuracy/top1': ")[1].split('}')[0])
    assert 0 <= accuracy <= 100
    if stride == 1:
        assert accuracy > 50
    assert 'image/png' in outputs[7]
