# Copyright (c) mmactive contributors. All rights reserved.
import runpy
import xml.etree.ElementTree as ET

from mmactive.models import ActiveMLP

from .conftest import ROOT, TOOLS


def test_picture_of_the_documentation(tmp_path, run_tool):
    """It is what the tool draws, with the numbers of the paper's Table 1."""
    out = tmp_path / 'architecture.svg'
    run_tool('analysis_tools/plot_architecture.py', '--out', out)
    committed = ROOT / 'docs' / 'en' / 'architecture.svg'
    assert out.read_bytes() == committed.read_bytes()
    texts = [x.text for x in ET.parse(out).iter() if x.text]
    for stage in ('2 blocks', '3 blocks', '10 blocks', '320 channels'):
        assert stage in texts


def test_it_follows_the_code(monkeypatch):
    tool = runpy.run_path(str(TOOLS / 'analysis_tools/plot_architecture.py'))
    arch = dict(ActiveMLP.arch_settings['tiny'], depths=[1, 2, 17, 4])
    monkeypatch.setitem(ActiveMLP.arch_settings, 'tiny', arch)
    assert '17 blocks' in tool['draw']()
