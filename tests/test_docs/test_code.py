# Copyright (c) mmactive contributors. All rights reserved.
"""All code in the documentation runs, or is parsed by what it calls.

A page's Python runs from top to bottom, in a folder with stand-ins for the
files that it names. Command lines are parsed by the tools' own parsers: what
the tools do is tested by ``tests/test_tools``. Some pages have a test of their
own, which runs everything.
"""

import importlib.util
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import MODELS, DefaultScope
from PIL import Image

from mmactive import __main__ as mmactive_main
from mmactive import registry
from mmactive.models.backbones.pyramid import Pyramid

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ('README.md', 'CONTRIBUTING.md')),
    *sorted((ROOT / 'docs' / 'en').rglob('*.md')),
]
RUN_ELSEWHERE = {
    'deployment.md': 'test_tools/test_deployment.py',
    'new_backbone.md': 'test_models/test_new_backbone.py',
    'new_experiment.md': 'test_tools/test_new_experiment.py',
    'useful_tools.md': 'test_tools/test_useful_tools.py',
}
# Neither run nor parsed: output, and directives of Sphinx, which runs them.
NO_CODE = ('', 'text', 'bibtex')
SHELLS = ('bash', 'shell')


def find_blocks(page):
    """Lists a page's blocks: number of the line, language, text."""
    text = page.read_text()
    fences = re.finditer(r'^( *)```([^\n]*)\n(.*?)^\1```$', text, re.M | re.S)
    return [
        (text.count('\n', 0, m.start()) + 1, m[2].strip(), dedent(m[3]))
        for m in fences
    ]


BLOCKS = [
    (page, *block)
    for page in PAGES
    for block in find_blocks(page)
    if page.name not in RUN_ELSEWHERE
]


def test_all_blocks_are_covered():
    """A block of another kind needs a test."""
    known = {'python', 'cpp', *SHELLS, *NO_CODE}
    for page, line, language, _ in BLOCKS:
        is_directive = language.startswith('{')
        assert is_directive or language in known, f'{page}:{line}'
    for page, test in RUN_ELSEWHERE.items():
        assert page in (ROOT / 'tests' / test).read_text()
    assert len(BLOCKS) > 40


def list_commands():
    """Lists the command lines: where they stand, and their words."""
    commands = []
    for page, line, language, text in BLOCKS:
        if language in SHELLS:
            for command in text.replace('\\\n', ' ').splitlines():
                words = shlex.split(command, comments=True)
                if words:
                    commands.append((f'{page.name}:{line}', words))
    for page in PAGES:
        # Those within a sentence
        for command in re.findall(
            r'(?<!`)`((?:python |pip |make |bash |tools/[^` ]* (?!-))'
            r'[^`]*)`(?!`)',
            page.read_text(),
        ):
            commands.append((page.name, shlex.split(command)))
    return commands


COMMANDS = list_commands()


@pytest.mark.parametrize(
    'words',
    [words for _, words in COMMANDS],
    ids=[f'{place}-{" ".join(words)}' for place, words in COMMANDS],
)
def test_command(words, tmp_path, monkeypatch):
    words = [word.removesuffix('...') for word in words]
    while re.match(r'[A-Z_]+=', words[0]):
        words.pop(0)
    for word in words:
        if word.startswith('configs/'):
            assert (ROOT / word).is_file(), word
    program = words.pop(0)
    if program == 'make':
        rules = (ROOT / 'Makefile').read_text()
        for word in words:
            name, is_variable, _ = word.partition('=')
            pattern = rf'^{name} \?=' if is_variable else rf'^{name}:'
            assert re.search(pattern, rules, re.M), word
    elif program == 'pip':
        assert words[0] == 'install'
        for option, value in zip(words, words[1:]):
            assert option != '-r' or (ROOT / value).is_file(), value
    elif program == 'bash':
        subprocess.run(['bash', '-n', ROOT / words[0]], check=True)
    elif program.endswith('.sh'):
        check_script(ROOT / program, words, tmp_path, monkeypatch)
    elif program.startswith('tools/'):  # in a sentence
        parse(ROOT / program, words, monkeypatch)
    else:
        assert program == 'python', f'{program} is covered by no test'
        check_python(words, monkeypatch)


def check_python(words, monkeypatch):
    """Parses the arguments of ``python``."""
    if words == ['-m', 'mmactive'] or 'TOOL.py' in words[-1]:
        return  # a sentence about it
    if words[:2] == ['-m', 'mmactive']:
        tool = Path(mmactive_main.find_tool(words[2]))
        assert tool.is_absolute(), f'{tool} is no installed tool'
        parse(tool, words[3:], monkeypatch)
    elif words[0] == '-m':
        assert importlib.util.find_spec(words[1]) is not None
        if words[1] == 'pytest':
            assert (ROOT / words[2]).is_file()
    else:
        parse(ROOT / words[0], words[1:], monkeypatch)


def parse(tool, arguments, monkeypatch):
    """Parses arguments as a tool in Python does."""
    if tool.name == 'test_versions.py':  # looks for one, else
        arguments = [*arguments, '--wheel', __file__]
    monkeypatch.setattr(sys, 'argv', [str(tool), *arguments])
    monkeypatch.setattr(sys, 'path', [str(tool.parent), *sys.path])
    scope = runpy.run_path(str(tool))
    if 'parse_args' not in scope:
        # It has no options.
        assert not arguments, f'{tool} takes no {arguments}'
        return
    args = scope['parse_args']()
    configs = [word for word in arguments if word.startswith('configs/')]
    if len(configs) == 1 and hasattr(args, 'config'):
        assert [str(args.config)] == configs


def check_script(script, words, tmp_path, monkeypatch):
    """Parses what a script would start instead of torchrun and srun."""
    for name in ('python', 'srun'):
        (tmp_path / name).write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        (tmp_path / name).chmod(0o755)
    path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
    started = subprocess.run(
        [script, *words],
        env={**os.environ, 'PATH': path, 'PYTHON': 'python'},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.splitlines()
    tools = [str(ROOT / f'tools/{name}.py') for name in ('train', 'test')]
    (start,) = (i for i, word in enumerate(started) if word in tools)
    parse(Path(started[start]), started[start + 1 :], monkeypatch)


def save_model(path, config):
    """Saves an untrained model of a config, as training does."""
    cfg = get_config(f'mmactive::{config}')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = dict(
        dataset_meta=dict(
            classes=tuple(map(str, range(1000))), palette=[[0, 0, 0]] * 1000
        )
    )
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)


def prepare_inference(folder):
    # Resized to a given length, it stays small.
    Image.effect_noise((320, 20), 90).convert('RGB').save('image.jpg')
    for name, config in (
        ('activemlp-xtiny_8xb128_in1k/epoch_300', 'imagenet'),
        ('mask-rcnn_activemlp-xtiny_fpn_1x_coco/epoch_12', 'coco'),
        (
            'fpn_activemlp-xtiny_8xb4-40k_ade20k-512x512/iter_40000',
            'ade20k',
        ),
    ):
        save_model(
            folder / f'work_dirs/{name}.pth',
            f'{config}/{name.partition("/")[0]}.py',
        )
    shutil.copy(
        folder / 'work_dirs/activemlp-xtiny_8xb128_in1k/epoch_300.pth',
        folder / 'published.pth',
    )


def prepare_checkpoints(folder):
    save_model(
        folder / 'work_dirs/activemlp-xtiny_digits/epoch_10.pth',
        'digits/activemlp-xtiny_digits.py',
    )


def prepare_converting(folder):
    path = folder / 'checkpoints/activemlp-tiny_in1k.pth'
    save_model(path, 'imagenet/activemlp-tiny_8xb128_in1k.py')
    checkpoint = torch.load(path)
    cfg = get_config('mmactive::imagenet/activemlp-tiny_8xb128_in1k.py')
    checkpoint['meta']['model'] = cfg.model.to_dict()
    torch.save(checkpoint, path)


PREPARE = {
    'checkpoints.md': prepare_checkpoints,
    'converting.md': prepare_converting,
    'inference.md': prepare_inference,
}
WITH_PYTHON = [
    page
    for page in PAGES
    if any(p == page and kind == 'python' for p, _, kind, _ in BLOCKS)
]


def make_comments_assertions(code):
    """Makes what a comment says of a line's value an assertion."""
    code = re.sub(
        r'^(offsets\[.*\.shape)\s+# (\([^)]*\)).*$',
        r'assert \1 == \2, \1',
        code,
        flags=re.M,
    )
    return re.sub(
        r'^(\[tuple.*\])\n# (\[.*\])$',
        r'assert \1 == \2, \1',
        code,
        flags=re.M,
    )


def run_config(code, folder):
    """Builds the model of a config."""
    if '_base_' not in code:  # one of the reader's
        code = "_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'\n" + (
            code
        )
    (folder / 'config.py').write_text(code)
    cfg = Config.fromfile(folder / 'config.py')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    assert isinstance(model.backbone, Pyramid)
    if hasattr(model.neck, 'in_channels'):
        assert model.backbone.arch['dims'] == model.neck.in_channels


@pytest.mark.parametrize('page', WITH_PYTHON, ids=lambda page: page.name)
def test_python(page, tmp_path, monkeypatch, no_default_scope):
    blocks = [
        (line, text)
        for other, line, kind, text in BLOCKS
        if other == page and kind == 'python'
    ]
    for name in ('timm', 'mmpretrain', 'mmdet', 'mmseg'):
        if any(f'import {name}' in text for _, text in blocks):
            pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)
    PREPARE.get(page.name, lambda folder: None)(tmp_path)
    scope = {'__name__': page.stem}
    for line, text in blocks:
        text = text.replace('FOLDER_OF_THIS_REPOSITORY', str(ROOT))
        if '_base_' in text or 'custom_imports' in text:
            run_config(text, tmp_path)
            continue
        code = '\n' * line + make_comments_assertions(text)
        exec(compile(code, str(page), 'exec'), scope)
        for name in re.findall(r"'mmactive\.(\w+)'", text):
            assert any(
                table.get(f'mmactive.{name}') is not None
                for table in vars(registry).values()
                if isinstance(table, registry.Registry)
            ), name


@pytest.mark.skipif(
    shutil.which(os.getenv('CXX', 'c++')) is None, reason='no C++ compiler'
)
def test_cpp(tmp_path):
    """The registration of a kernel compiles."""
    ((page, _, _, text),) = (block for block in BLOCKS if block[2] == 'cpp')
    assert page.name == 'new_kernel.md'
    source = tmp_path / 'kernel.cpp'
    source.write_text(
        '#include <torch/csrc/stable/library.h>\n'
        '#include <torch/csrc/stable/tensor.h>\n'
        'using torch::stable::Tensor;\n'
        'Tensor my_operator(const Tensor& input) { return input; }\n' + text
    )
    sys.path.insert(0, str(ROOT / 'tests' / 'test_ops'))
    from compiler import compile_library

    compile_library(source, tmp_path, '-fsyntax-only')
