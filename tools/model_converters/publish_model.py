# Copyright (c) mmactive contributors. All rights reserved.
"""Makes a checkpoint to publish of one that training has saved.

What only a training needs is left out: states of optimizer, schedulers and
generators, logs, and weights beside the averaged ones. The first eight digits
of the SHA-256 of the file go into its name. The suffix of OUT is the format:
.safetensors, or PyTorch's.

    python tools/model_converters/publish_model.py epoch_300.pth tiny.pth
"""

import argparse
import os.path as osp
import pickle

from torch import Tensor

from mmactive.utils.checkpoint import dump_published, load
from mmactive.utils.files import write_atomically


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('src', metavar='IN', help='checkpoint to publish')
    parser.add_argument(
        'dst',
        metavar='OUT',
        help='file to write, into whose name the checksum goes',
    )
    parser.add_argument(
        '--save-keys',
        nargs='+',
        default=['meta', 'state_dict'],
        metavar='KEY',
        help='what to keep of IN; default: meta state_dict',
    )
    parser.add_argument(
        '--no-ema',
        action='store_true',
        help='take the weights of the last iteration where IN has averaged '
        'ones as well',
    )
    return parser.parse_args()


def select_weights(checkpoint: dict, no_ema: bool) -> dict:
    """Finds the weights to publish.

    Args:
        checkpoint (dict): What the file holds. mmengine's ``EMAHook`` saves
            the averaged weights as ``state_dict``, those of the last
            iteration as ``ema_state_dict``.
        no_ema (bool): Whether to take the latter.

    Returns:
        dict: The checkpoint, with the weights as ``state_dict``.

    Raises:
        ValueError: If there are none, or none beside averaged ones.
    """
    if not isinstance(checkpoint, dict):
        raise ValueError(
            f'expected a dict of weights, got a {type(checkpoint).__name__}'
        )
    if all(isinstance(x, Tensor) for x in checkpoint.values()):
        checkpoint = dict(state_dict=checkpoint)
    if not checkpoint.get('state_dict'):
        raise ValueError(
            "expected a checkpoint with weights in 'state_dict', but it has "
            f'{list(map(str, checkpoint))[:8]}; '
            'tools/model_converters/to_mmactive.py converts published ones'
        )
    if not no_ema:
        return checkpoint
    if 'ema_state_dict' not in checkpoint:
        raise ValueError('--no-ema: it has no averaged weights')
    state_dict = checkpoint['state_dict']
    for name, x in checkpoint['ema_state_dict'].items():
        if name.startswith('module.'):
            state_dict[name[len('module.') :]] = x
    return checkpoint


def main() -> None:
    """Runs the command."""
    args = parse_args()
    try:
        checkpoint = select_weights(load(args.src, 'cpu'), args.no_ema)
        missing = [key for key in args.save_keys if key not in checkpoint]
        if missing and args.save_keys != ['meta', 'state_dict']:
            raise ValueError(
                f'--save-keys: expected some of {list(checkpoint)}, got '
                f'{missing}'
            )
        path, content = dump_published(checkpoint, args.dst, args.save_keys)
    except ValueError as error:
        raise SystemExit(f'{args.src}: {error}') from None
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise SystemExit(str(error)) from None
    write_atomically(path, content)
    dropped = sorted(checkpoint.keys() - set(args.save_keys))
    before, after = osp.getsize(osp.expanduser(args.src)), len(content)
    print(f'Left out: {", ".join(map(str, dropped)) or "nothing"}')
    print(f'{before / 1e6:.1f} MB read, {after / 1e6:.1f} MB written: {path}')


if __name__ == '__main__':
    main()
