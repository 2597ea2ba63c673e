# Copyright (c) mmactive contributors. All rights reserved.
"""The folder of a training: who has it, and where a run can go on."""

import errno
import fcntl
import os
import os.path as osp
import re
import shutil
import socket
import time
import warnings
from glob import escape, glob
from typing import Any, Dict, List, Optional, Tuple

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader

LOCK = '.training.lock'
POINTER = 'last_checkpoint'
INTERRUPTED = 'interrupted.pth'
# What `CheckpointHook` names 'epoch_1.pth', but no 'best_...' and nothing that
# was published ('epoch_1-<hash>.pth').
NUMBERED = re.compile(r'(?!best_)([^-]*?)(\d+)\.pth')

# Locks go with the last reference to the file.
_locks: Dict[str, Any] = {}


def prepare(cfg: Config, overwrite: bool = False) -> None:
    """Reserves the work dir of a training, before anything is written there.

    Args:
        cfg (Config): The config, with ``work_dir``, ``launcher`` and whether
            to ``resume``.
        overwrite (bool): Whether to remove the checkpoints that it has. False
            by default.

    Raises:
        FileExistsError: If it has checkpoints that are neither to be resumed
            nor removed.
        RuntimeError: If another process trains there.
    """
    main = is_main_process(cfg.launcher)
    if main:
        lock(cfg.work_dir)
    if overwrite:
        if main:
            for folder in (cfg.work_dir, get_checkpoint_dir(cfg)):
                remove_checkpoints(folder)
    elif not cfg.get('resume') and has_checkpoints(cfg):
        raise FileExistsError(
            f'{cfg.work_dir}: this work dir has checkpoints of a training; '
            '--resume goes on with it, --overwrite removes them and starts '
            'anew, --work-dir names another folder'
        )


def get_checkpoint_dir(cfg: Config) -> str:
    """Returns the folder that a config's checkpoints go to."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if hook.get('out_dir') is None:
        return cfg.work_dir
    name = osp.basename(cfg.work_dir.rstrip(osp.sep))
    return osp.join(hook['out_dir'], name)


def has_checkpoints(cfg: Config) -> bool:
    """Tells whether a training has left checkpoints in its work dir."""
    pointer = _read_pointer(cfg.work_dir)
    return bool(pointer or list_checkpoints(get_checkpoint_dir(cfg)))


def lock(work_dir: str) -> None:
    """Reserves a folder for this process, until it ends in whatever way.

    Args:
        work_dir (str): The folder. It is made if it is missing.

    Raises:
        RuntimeError: If another process trains there. The error says which.
    """
    path = osp.join(work_dir, LOCK)
    if osp.realpath(path) in _locks:
        return
    os.makedirs(work_dir, exist_ok=True)
    file = open(path, 'a+')  # noqa: SIM115
    try:
        # Unlike those of flock, these are not inherited by loading processes,
        # and NFS knows them.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            warnings.warn(
                f'{path}: this file system has no locks ({error}), so that '
                'nothing keeps a second training out.',
                stacklevel=2,
            )
            return
        file.seek(0)
        raise RuntimeError(
            f'{work_dir}: another training has this work dir: {file.read()}; '
            'choose another --work-dir'
        ) from None
    file.truncate(0)
    started = time.strftime('%Y-%m-%d %H:%M:%S')
    file.write(
        f'process {os.getpid()} on {socket.gethostname()}, since {started}'
    )
    file.flush()
    _locks[osp.realpath(path)] = file


def release(work_dir: str) -> None:
    """Lets other processes have a folder that this one has locked."""
    file = _locks.pop(osp.realpath(osp.join(work_dir, LOCK)), None)
    if file is not None:
        file.close()


def is_main_process(launcher: str) -> bool:
    """Tells whether this is the first of the processes of a run.

    mmengine knows that only after they have met.

    Args:
        launcher (str): As in ``--launcher``.
    """
    variables = dict(
        pytorch='RANK', slurm='SLURM_PROCID', mpi='OMPI_COMM_WORLD_RANK'
    )
    return os.environ.get(variables.get(launcher, ''), '0') == '0'


def list_checkpoints(work_dir: str) -> List[str]:
    """Lists the checkpoints of training in a folder, the furthest last.

    Args:
        work_dir (str): The folder. It may be missing.

    Returns:
        list[str]: Paths of files that are named 'epoch_1.pth', 'iter_1.pth' or
        alike. The one of an interrupted run is the last.
    """
    found: Dict[str, Tuple] = {}
    for path in glob(osp.join(escape(work_dir), '*.pth')):
        name = osp.basename(path)
        match = NUMBERED.fullmatch(name)
        if name == INTERRUPTED:
            found[path] = (1, '', 0)
        elif match:
            found[path] = (0, match[1], int(match[2]))
    return sorted(found, key=found.get)


def remove_checkpoints(work_dir: str) -> None:
    """Removes the checkpoints of training, and what points to them."""
    for path in (
        *list_checkpoints(work_dir),
        *glob(osp.join(escape(work_dir), 'best_*.pth')),
        osp.join(work_dir, POINTER),
    ):
        if osp.isdir(path):  # as DeepSpeed's are
            shutil.rmtree(path)
        elif osp.exists(path):
            os.remove(path)


def find_checkpoint(
    work_dir: str, out_dir: Optional[str] = None
) -> Optional[str]:
    """Finds where a run can go on: at its newest whole checkpoint.

    It is the one that was saved last, which ``last_checkpoint`` names, or one
    that is both younger and further: a process that is killed between the two
    leaves it. Says what it takes, and what it does not take and why.

    Args:
        work_dir (str): Folder of the training.
        out_dir (str, optional): Folder of its checkpoints, if it is another.
            URLs are left to mmengine.

    Returns:
        str | None: Path of the checkpoint, None if there never was one.

    Raises:
        FileNotFoundError: If there are none here, but ``last_checkpoint``
            names one in another folder. The error names it.
        RuntimeError: If none of them is whole.
    """
    pointer = _read_pointer(work_dir)
    if pointer is not None and '://' in pointer:
        return pointer
    folder = out_dir or work_dir
    candidates = list_checkpoints(folder)
    if not candidates and pointer is None:
        return None
    own = pointer and osp.join(folder, osp.basename(pointer))
    if not candidates:
        raise FileNotFoundError(
            f'{osp.join(work_dir, POINTER)}: it names {pointer!r}, but there '
            f'is no checkpoint in {folder!r}; to go on from another one, give '
            'its name: --resume CHECKPOINT'
        )
    if pointer and osp.abspath(pointer) != osp.abspath(own):
        print_log(
            f'{work_dir} has been moved or copied: its last_checkpoint names '
            f'{pointer!r}, what counts is {folder!r}',
            'current',
        )
    steps = {path: _read_step(path) for path in candidates}
    whole = [path for path in candidates if steps[path] is not None]
    if not whole:
        raise RuntimeError(
            f'{folder}: none of the {len(candidates)} checkpoints is whole: '
            f'{", ".join(map(osp.basename, candidates))}; --overwrite starts '
            'anew'
        )
    best = own if own in whole else max(whole, key=steps.get)
    for path in whole:
        younger = osp.getmtime(path) >= osp.getmtime(best)
        if younger and steps[path] > steps[best]:
            best = path
    print_log(f'Goes on from {best}, the newest whole checkpoint', 'current')
    return best


def _read_pointer(work_dir: str) -> Optional[str]:
    path = osp.join(work_dir, POINTER)
    if not osp.isfile(path):
        return None
    with open(path, errors='replace') as file:
        return file.read().strip() or None


def _read_step(path: str) -> Optional[float]:
    """Returns the iteration of a checkpoint, None if it is not whole.

    Of a folder, which is whole if it has that name, it is the time: all
    checkpoints of a training are folders then.
    """
    if osp.isdir(path):
        return osp.getmtime(path)
    try:
        checkpoint = CheckpointLoader.load_checkpoint(path, 'cpu')
        return int(checkpoint['meta']['iter'])
    except Exception as error:
        print_log(
            f'{path} is left out, since it is not whole: {error!r}', 'current'
        )
        return None
