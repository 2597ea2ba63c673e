# Copyright (c) mmactive contributors. All rights reserved.
"""The order of the units, going on after a kill, and the tables."""

import json
import re
import signal
import sys

import pytest

from .conftest import TOOLS

TRAIN = """
import os, pathlib, signal, sys, time
work_dir = pathlib.Path(sys.argv[sys.argv.index('--work-dir') + 1])
last = work_dir / 'last_checkpoint'
assert '--resume' in sys.argv
starts = [word for word in sys.argv if word.startswith('pretrained=')]
with open('calls.txt', 'a') as file:
    print(work_dir.name, last.exists(), *starts, file=file)
def save(name):
    (work_dir / name).touch()
    last.write_text(str(work_dir / name))
def stop(*_):
    save('interrupted.pth')
    sys.exit(143)
killed = pathlib.Path('killed')
if 'detector' in work_dir.name and not killed.exists():
    killed.touch()
    signal.signal(signal.SIGTERM, stop)
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(60)
save('epoch_9.pth')
"""
TEST = """
import json, pathlib, sys
checkpoint = pathlib.Path(sys.argv[2])
assert checkpoint.name == 'epoch_9.pth' and checkpoint.exists()
metrics = {'accuracy/top1': 98.0, 'coco/bbox_mAP': 0.5, 'coco/segm_mAP': 0.4}
out = pathlib.Path(sys.argv[sys.argv.index('--out') + 1])
out.write_text(json.dumps(metrics))
"""
CONVERT = """
import pathlib, sys
for folder in ('.', 'coco', 'ade20k'):
    pathlib.Path(sys.argv[1], folder).mkdir(parents=True, exist_ok=True)
"""


@pytest.fixture
def tool(monkeypatch):
    """The tool as a module."""
    monkeypatch.syspath_prepend(TOOLS / 'analysis_tools')
    import small_table7

    monkeypatch.setattr(small_table7, 'PATIENCE', 0.1)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {number: signal.getsignal(number) for number in numbers}
    yield small_table7
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def run(tool, tmp_path, monkeypatch):
    """Runs the command with tools that only write files."""
    (tmp_path / 'tools/dataset_converters').mkdir(parents=True)
    for name, text in {
        'train.py': TRAIN,
        'test.py': TEST,
        'dataset_converters/digits.py': CONVERT,
        'dataset_converters/digit_scenes.py': CONVERT,
        'dataset_converters/pointed_digits.py': CONVERT,
    }.items():
        (tmp_path / 'tools' / name).write_text(text)
    monkeypatch.setattr(tool, 'TOOLS', tmp_path / 'tools')
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        arguments = ['--jobs', '1', '--results', 'results', *arguments]
        monkeypatch.setattr(sys, 'argv', ['small_table7.py', *arguments])
        with pytest.raises(SystemExit) as info:
            tool.main()
        return info.value.code

    return run


def test_order(tool):
    for name, suite in tool.SUITES.items():
        seeds = range(suite['num_seeds'])
        units = tool.list_units(
            *(name, suite['variants'], seeds, suite['tasks'])
        )
        table = len(suite['variants']) * len(suite['tasks'])
        assert len(units) == table * suite['num_seeds']
        # Each seed fills a whole table, classifiers first.
        assert [unit.seed for unit in units] == [
            seed for seed in seeds for _ in range(table)
        ]
        for place, unit in enumerate(units):
            assert unit.config.is_file()
            if unit.start is not None:
                assert unit.start in units[:place]
        assert {unit.start is None for unit in units} == {True, False}


def test_goes_on_after_a_kill(run, tmp_path, capsys):
    arguments = ('--variants', 'star', '--seeds', '0', '--tasks')
    arguments += ('classifier', 'detector')
    assert run(*arguments) == 128 + signal.SIGTERM
    names = [f'table7_star_seed0_{task}' for task in arguments[-2:]]
    results = tmp_path / 'results'
    assert [path.stem for path in results.iterdir()] == names[:1]
    assert run(*arguments) == 0
    assert '2 of 2' in capsys.readouterr().out
    work_dir = tmp_path / 'work_dirs/small_table7'
    start = f'pretrained={work_dir / names[0] / "epoch_9.pth"}'
    calls = (tmp_path / 'calls.txt').read_text().splitlines()
    # Nothing is trained twice, and what was killed is resumed.
    assert calls == [
        f'{names[0]} False',
        f'{names[1]} False {start}',
        f'{names[1]} True {start}',
    ]
    result = json.loads((results / f'{names[1]}.json').read_text())
    assert result['metrics'] == {'box AP': 50.0, 'mask AP': 40.0}
    assert result['train_seconds'] is None
    assert not list((work_dir / names[1]).glob('*.pth'))
    assert list((work_dir / names[0]).glob('*.pth'))

    # Without the classifier's checkpoint it comes again; its result stays.
    (work_dir / names[0] / 'metrics.json').unlink()
    (results / f'{names[1]}.json').unlink()
    before = (results / f'{names[0]}.json').read_bytes()
    assert run(*arguments[:-2], 'detector') == 0
    assert (results / f'{names[0]}.json').read_bytes() == before
    assert len((tmp_path / 'calls.txt').read_text().splitlines()) == 5


def test_check(run, tmp_path, capsys):
    arguments = ('--variants', 'star', '--seeds', '0', '--tasks', 'classifier')
    assert 'there is no result' in run('--check', *arguments)
    assert run(*arguments) == 0
    assert run('--check', *arguments) == 0
    assert 'the same' in capsys.readouterr().out
    path = tmp_path / 'results/table7_star_seed0_classifier.json'
    result = json.loads(path.read_text())
    result['metrics']['top-1'] = 98.1
    result['machine'] = 'another processor'
    path.write_text(json.dumps(result))
    assert run('--check', *arguments) == 1
    output = capsys.readouterr().out
    assert 'recorded: top-1 98.1 (another processor; PyTorch' in output
    assert 'choose another' in run(*arguments, '--cfg-options', 'a=1')


@pytest.mark.slow
def test_trains_the_same_anew(tool, tmp_path, monkeypatch, capsys):
    """What is written comes from trainings that can be repeated."""
    monkeypatch.syspath_prepend(TOOLS / 'dataset_converters')
    import digit_scenes
    import digits

    digits.write_digits(tmp_path / 'data/digits', seed=0)
    scenes = tmp_path / 'data/digit_scenes'
    digit_scenes.write_scenes(scenes, seed=0, numbers=dict(train=2, val=2))
    monkeypatch.setattr(tool, 'prepare_data', lambda args: None)
    monkeypatch.chdir(tmp_path)
    arguments = [
        *('--variants', 'star', '--seeds', '1', '--results', 'results'),
        *('--tasks', 'classifier', 'detector', '--cfg-options'),
        *('train_dataloader.dataset.indices=64', 'train_cfg.max_epochs=1'),
        'train_dataloader.batch_size=2',
    ]
    for first in ([], ['--check']):
        monkeypatch.setattr(sys, 'argv', ['', *first, *arguments])
        with pytest.raises(SystemExit) as info:
            tool.main()
        assert info.value.code == 0
    assert capsys.readouterr().out.count('the same') == 2
    losses = [
        [
            (row['step'], row['loss'])
            for row in map(json.loads, path.read_text().splitlines())
            if 'loss' in row
        ]
        for folder in ('.', 'check')
        for path in sorted(
            (tmp_path / 'work_dirs/small_table7' / folder).glob(
                '*detector/*/vis_data/scalars.json'
            )
        )
        if path.read_text()
    ]
    assert losses[0] == losses[1] != []


def test_several_at_a_time(run, tmp_path):
    (tmp_path / 'killed').touch()
    arguments = ('--jobs', '2', '--variants', 'star', 'zero-offset')
    tasks = ('--tasks', 'classifier', 'detector', '--seeds', '0')
    assert run(*arguments, *tasks) == 0
    assert len(list((tmp_path / 'results').iterdir())) == 4
    calls = (tmp_path / 'calls.txt').read_text().splitlines()
    # All that can be begun is, and the detectors wait for the classifiers.
    assert ['classifier' in call for call in calls[:2]] == [True, True]


def test_no_time(run, tmp_path):
    assert run('--hours', '0') == 0
    assert not (tmp_path / 'calls.txt').exists()


def test_failure(run, tmp_path, capsys):
    (tmp_path / 'tools/train.py').write_text('raise ValueError("bad data")')
    assert run('--variants', 'star', '--seeds', '0') == 1
    out = capsys.readouterr().out
    assert 'ValueError: bad data' in out
    assert out.count('failed') == 1  # What needs the classifier is not run.


METRICS = {
    ('zero-offset', 0): (98.0, 60.0, 61.0),
    ('zero-offset', 1): (99.0, 62.0, 60.0),
    ('star', 0): (99.0, 66.0, 60.5),
    ('star', 1): (99.6, 65.0, 60.7),
    ('star-one-offset', 0): (99.3, 64.9, 60.5),
}


def write_results(folder):
    folder.mkdir()
    for (variant, seed), (top, box, mask) in METRICS.items():
        for task, metrics in dict(
            classifier={'top-1': top},
            detector={'box AP': box, 'mask AP': mask},
        ).items():
            result = dict(
                *(dict(suite='table7', variant=variant, seed=seed).items(),),
                task=task,
                metrics=metrics,
                train_seconds=60,
                test_seconds=60 * (task == 'detector'),
                date=f'2026-01-0{seed + 1}',
                machine='a machine',
                versions=dict(torch='2.0'),
            )
            name = f'table7_{variant}_seed{seed}_{task}.json'
            (folder / name).write_text(json.dumps(result))


def read_tables(text):
    return [
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in text.splitlines()
        if line.startswith('|')
    ]


def test_report(tool, tmp_path, monkeypatch):
    write_results(tmp_path / 'results')
    page = tmp_path / 'page.md'
    places = [
        f'<!-- {name} -->\nold\n<!-- end of {name} -->' for name in tool.SUITES
    ]
    page.write_text('\nbetween\n'.join(['before', *places, 'after']))
    arguments = ['--report', page, '--results', tmp_path / 'results']
    monkeypatch.setattr(sys, 'argv', ['', *map(str, arguments)])
    tool.main()
    text = page.read_text()
    assert text.startswith('before\nbetween\n')
    assert text.endswith('\nbetween\nafter')
    assert 'old' not in text
    assert text.count('Nothing has been run so far.') == 2
    assert (
        'Trainings so far: 10 of 48; seeds so far: 0, 1; machine: a machine; '
        'minutes of one: classifier 1.0, detector 2.0; PyTorch: 2.0; dates: '
        '2026-01-01 to 2026-01-02.'
    ) in text

    rows = read_tables(text)
    values = {row[0][:1]: row[3:] for row in rows if len(row) == 8}
    # Deviations of samples: of two values, their distance over sqrt(2)
    assert values['1'] == [
        '98.5 ± 0.7 (2 seeds)',
        '61.0 ± 1.4 (2 seeds)',
        '60.5 ± 0.7 (2 seeds)',
        '',
        '',
    ]
    assert values['2'] == [''] * 5
    assert values['4'] == [
        *('99.3 (1 seed)', '64.9 (1 seed)', '60.5 (1 seed)', '', '')
    ]
    claims = [row for row in rows if len(row) == 5][2:]
    assert [row[1:] for row in claims[:5]] == [
        ['top-1', '+2.5', '+0.8 ± 0.3 (2 seeds)', "the paper's sign"],
        ['box AP', '+8.9', '+4.5 ± 2.1 (2 seeds)', "the paper's sign"],
        ['mask AP', '+6.6', '+0.1 ± 0.8 (2 seeds)', 'within the spread'],
        ['mIoU', '', '', ''],
        ['top-1 (pointed)', '', '', ''],
    ]
    assert [row[1:] for row in claims[15:18]] == [
        ['top-1', '-0.5', '+0.3 (1 seed)', 'the opposite sign'],
        ['box AP', '-2.5', '-1.1 (1 seed)', "the paper's sign"],
        ['mask AP', '-2.0', '+0.0 (1 seed)', 'none'],
    ]
    picture = (tmp_path / 'results/table7.svg').read_text()
    assert 'as 3, one offset' in picture

    page.write_text(text.replace('<!-- table7 -->', ''))
    with pytest.raises(SystemExit, match='expected <!-- table7 -->'):
        tool.main()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (
            ['--variants', 'none'],
            "--variants: table7 has zero-offset, .*'none'",
        ),
        (['--suite', 'photos', '--tasks', 'detector'], '--tasks: photos has'),
        (['--seeds', '-1'], '--seeds: expected numbers from 0'),
        (['--jobs', '0'], '--jobs: expected at least 1'),
        (['--cfg-options', 'a=1'], '--cfg-options: needs another --results'),
    ],
)
def test_arguments(tool, monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, 'argv', ['', *arguments])
    with pytest.raises(SystemExit):
        tool.parse_args()
    assert re.search(message, capsys.readouterr().err)
