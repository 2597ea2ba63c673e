# Copyright (c) mmactive contributors. All rights reserved.
"""One rule for weights that do not fit, wherever they are loaded.

mmengine loads what fits, warns of the rest, and a right load warns as well.
Here a module that a checkpoint is meant for gets all of its parameters, or
there is an error. What may differ is told in one line of information:

- parameters that a library resizes, and buffers that it computes;
- where training starts, heads for another number of classes, the norms that a
  dense model has for each output, and modules of which the checkpoint has
  nothing;
- with ``allow_partial``, everything.

With ``adapt_in_channels`` the first convolution is made to fit images of other
channels.
"""

import contextlib
import copy
import logging
import re
from collections import OrderedDict
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Dict, Iterator, List, Optional, Set, Tuple

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel, BaseTTAModel, is_model_wrapper
from torch import Tensor, nn

from mmactive.utils import mmengine_loader

# Buffers that are trained; others are computed.
STATISTICS = ('running_mean', 'running_var')


@dataclass(frozen=True)
class Loading:
    """What is being loaded, and for what.

    Attributes:
        starts (bool, optional): Whether training starts from it, so that
            parts may be fresh. Defaults to None, unknown: as False, but a
            classifier of mmpretrain with a head for other classes gets a
            warning only, since ``mmpretrain.get_model`` makes them on purpose.
        allow_partial (bool): Whether anything may be fresh. Defaults to False.
        adapt_in_channels (bool): Whether the weights of the first convolution
            are adapted to the number of channels of the images. Defaults to
            False.
        all_models (bool): Whether to check models without a module of mmactive
            as well. Defaults to False: those of others in the same process
            are loaded as mmengine does.
    """

    starts: Optional[bool] = None
    allow_partial: bool = False
    adapt_in_channels: bool = False
    all_models: bool = False


_NOTHING = Loading()
_current = ContextVar('loading', default=_NOTHING)


@contextlib.contextmanager
def loading(**changes: Any) -> Iterator[None]:
    """Sets attributes of :class:`Loading` for a while.

    Args:
        changes (dict): The attributes. ``allow_partial`` and
            ``adapt_in_channels`` stay as they are where they are set already.
    """
    before = _current.get()
    for name in ('allow_partial', 'adapt_in_channels'):
        if getattr(before, name):
            changes[name] = True
    token = _current.set(replace(before, **changes))
    try:
        yield
    finally:
        _current.reset(token)


def loading_by(cfg: dict, starts: bool, **changes: Any) -> Any:
    """Sets what the config of a run says of loading, for a while.

    Args:
        cfg (dict): The config; ``allow_partial`` and ``adapt_in_channels`` are
            read. The latter is for the start of a training: what has been
            trained has the channels of its images.
        starts (bool): Whether training starts from what is loaded.
        changes (dict): Other attributes of :class:`Loading`.

    Returns:
        ContextManager: That of :func:`loading`.
    """
    return loading(
        starts=starts,
        allow_partial=cfg.get('allow_partial', False),
        adapt_in_channels=starts and cfg.get('adapt_in_channels', False),
        **changes,
    )


@dataclass
class Fit:
    """How the weights of a checkpoint fit a module.

    Attributes:
        total (list[str]): Names of parameters and statistics.
        missing (list[str]): Those that the checkpoint does not have.
        unexpected (list[str]): What the module does not have.
        shapes (dict[str, tuple]): Those of another shape in the checkpoint,
            with this shape and the module's.
        errors (list[str]): What else went wrong.
    """

    total: List[str] = field(default_factory=list)
    missing: List[str] = field(default_factory=list)
    unexpected: List[str] = field(default_factory=list)
    shapes: Dict[str, Tuple[tuple, ...]] = field(default_factory=dict)
    errors: List[str] = field(default_factory=list)

    def count(self) -> str:
        """Says how many of how many fit."""
        absent = {*self.missing, *self.shapes}
        came = sum(name not in absent for name in self.total)
        return f'{came} of {len(self.total)} parameters'


def load_state_dict(
    module: nn.Module,
    state_dict: dict,
    strict: bool = False,
    logger: Any = None,
) -> None:
    """Loads weights, takes the place of mmengine's function.

    Args:
        module (nn.Module): What to load them into.
        state_dict (dict): Weights by name.
        strict (bool): Whether nothing may differ. Defaults to False.
        logger (logging.Logger | str, optional): Where the line goes that says
            what was loaded. Defaults to None, standard output.

    Raises:
        ValueError: If not every parameter came, or some are not finite or of
            another kind. The error names the file.
    """
    source = mmengine_loader.last_name
    if not isinstance(state_dict, dict):
        raise ValueError(
            f'{source}: expected a dict of weights, got a '
            f'{type(state_dict).__name__}'
        )
    modules = dict(_named_modules(module))
    _check_values(modules, state_dict, source)
    adapted = ''
    if _current.get().adapt_in_channels:
        adapted = _find_other_in_channels(modules, state_dict)
    if adapted:
        state_dict = copy.copy(state_dict)
        state_dict[adapted] = adapt_in_channels(
            state_dict[adapted], _find_first_conv(modules)[1].in_channels
        )
    fit = _load(modules, state_dict)
    problems = _find_problems(modules, state_dict, fit, strict)
    heads = [name for name in problems if _find_new_head(modules, name, fit)]
    is_classifier = type(modules['']).__module__.startswith('mmpretrain.')
    only_heads = len(heads) == len(problems)
    level = logging.INFO
    if _current.get().starts is None and is_classifier and only_heads:
        level = logging.WARNING if problems else level
    elif problems and only_heads:
        raise ValueError(f'{source}: {_explain_heads(modules, fit, heads)}')
    elif problems:
        raise ValueError(f'{source}: {_explain(modules, state_dict, fit)}')
    text = f'{source}: {_summarize(modules, fit)}'
    if adapted:
        text += f'; adapted: {adapted.rpartition(".")[0]}'
    # The hook of averaged weights loads the same before the runner does.
    if _last_line[0] != (level, text):
        print_log(text, logger=logger or 'current', level=level)
    _last_line[0] = level, text


def adapt_in_channels(weight: Tensor, in_channels: int) -> Tensor:
    """Adapts a convolution to images of other channels, as timm does.

    For one channel its weights are the sum over those that it had, else they
    are repeated in turn and scaled, so that an image of equal channels gives
    about what it did.

    Args:
        weight (Tensor): Of shape (out_channels, C, kH, kW).
        in_channels (int): Number of channels D of the images.

    Returns:
        Tensor: Of shape (out_channels, D, kH, kW), at least float32.
    """
    before = weight.size(1)
    weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
    if in_channels == 1:
        return weight.sum(dim=1, keepdim=True)
    indices = torch.arange(in_channels, device=weight.device) % before
    return weight[:, indices] * (before / in_channels)


def _find_first_conv(
    modules: Dict[str, nn.Module],
) -> Tuple[str, Optional[nn.Conv2d]]:
    """Finds the weight that images meet first, and its module."""
    for prefix, module in modules.items():
        if isinstance(module, nn.Conv2d):
            return f'{prefix}weight', module
    return '', None


def _find_other_in_channels(
    modules: Dict[str, nn.Module], state_dict: dict
) -> str:
    """Names the first convolution's weight if but its channels are others."""
    name, conv = _find_first_conv(modules)
    loaded = state_dict.get(name)
    if loaded is None or conv.groups != 1 or loaded.dim() != 4:
        return ''
    own = conv.weight.shape
    differs = loaded.size(1) not in (0, own[1])
    rest = own[:1] + own[2:] == loaded.shape[:1] + loaded.shape[2:]
    return name if differs and rest else ''


_last_line = [(logging.INFO, '')]


def select(checkpoint: Any, prefix: str, source: str) -> dict:
    """Selects a part of a checkpoint.

    Args:
        checkpoint (dict): What the file holds.
        prefix (str): What the names of the part begin with.
        source (str): The file.

    Returns:
        dict[str, Tensor]: The weights, by names without the prefix, and
        without that of distributed training before it.

    Raises:
        ValueError: If it has no such part. The error says what it has.
    """
    if not isinstance(checkpoint, dict):
        raise ValueError(
            f'{source}: expected a dict of weights, got a '
            f'{type(checkpoint).__name__}'
        )
    weights = {
        re.sub(r'^module\.', '', str(name)): weight
        for name, weight in checkpoint.get('state_dict', checkpoint).items()
    }
    prefix = f'{prefix.rstrip(".")}.'
    selected = {
        name[len(prefix) :]: weight
        for name, weight in weights.items()
        if _in(name, prefix)
    }
    if not selected:
        parts = dict.fromkeys(name.partition('.')[0] for name in weights)
        published = _find_published(weights)
        hint = ''
        if published:
            hint = (
                f'; it has the published names of {published}, which '
                'tools/model_converters/to_mmactive.py converts'
            )
        raise ValueError(
            f'{source}: no name in it begins with the prefix {prefix!r}, but '
            f'with {_join(list(map(repr, parts)))}{hint}'
        )
    return selected


def is_checked(module: nn.Module) -> bool:
    """Tells whether the rule holds for a module.

    Returns:
        bool: True for modules of mmactive, models with one, and everything
        within :class:`mmactive.engine.Runner`.
    """
    return _current.get().all_models or _has_ours(module)


def _has_ours(module: nn.Module) -> bool:
    """Tells whether a module of mmactive, or derived from one, is in it."""
    return any(
        cls.__module__.partition('.')[0] == __name__.partition('.')[0]
        for child in module.modules()
        for cls in type(child).__mro__
    )


def _named_modules(
    module: nn.Module, prefix: str = ''
) -> Iterator[Tuple[str, nn.Module]]:
    """Yields modules by the names of their weights, without wrappers'."""
    while is_model_wrapper(module) or isinstance(module, BaseTTAModel):
        module = module.module
    yield prefix, module
    for name, child in module._modules.items():
        if child is not None:
            yield from _named_modules(child, f'{prefix}{name}.')


def _named_weights(
    modules: Dict[str, nn.Module],
) -> Iterator[Tuple[str, Tensor]]:
    """Yields what is trained: parameters, and statistics of batches."""
    for prefix, module in modules.items():
        for name, value in module._parameters.items():
            if value is not None:
                yield prefix + name, value
        for name, value in module._buffers.items():
            if value is not None and name in STATISTICS:
                yield prefix + name, value


def _check_values(
    modules: Dict[str, nn.Module], state_dict: dict, source: str
) -> None:
    """Refuses weights that are no finite numbers of the right kind.

    float16, bfloat16, float32 and float64 stand for each other.

    Raises:
        ValueError: If there are any. The error names file and parameter.
    """
    for name in state_dict:
        if not isinstance(name, str):
            raise ValueError(f'{source}: the name {name!r} is no text')
    for name, value in _named_weights(modules):
        loaded = state_dict.get(name, value)
        if not isinstance(loaded, Tensor):
            raise ValueError(
                f'{source}: {name} is a {type(loaded).__name__}, expected a '
                'tensor'
            )
        same_kind = (
            loaded.is_floating_point() == value.is_floating_point()
            and loaded.is_complex() == value.is_complex()
        )
        if not same_kind:
            raise ValueError(
                f'{source}: {name} is of dtype {loaded.dtype}, expected '
                f'{value.dtype}'
            )
        if loaded is not value and not loaded.isfinite().all():
            count = int((~loaded.isfinite()).sum())
            raise ValueError(
                f'{source}: {count} of the {loaded.numel()} numbers of {name} '
                'are NaN or infinite'
            )


def _load(modules: Dict[str, nn.Module], state_dict: dict) -> Fit:
    """Loads what fits, as :meth:`torch.nn.Module.load_state_dict` does."""
    fit = Fit([name for name, _ in _named_weights(modules)])
    metadata = getattr(state_dict, '_metadata', None) or {}
    missing: List[str] = []
    errors: List[str] = []

    def load(prefix: str, weights: dict) -> None:
        module = modules[prefix]
        module._load_from_state_dict(
            *(weights, prefix, metadata.get(prefix[:-1], {}), True),
            *(missing, fit.unexpected, errors),
        )
        for name, child in module._modules.items():
            if child is not None:
                inner = f'{prefix}{name}.'
                inside = {k: x for k, x in weights.items() if _in(k, inner)}
                load(inner, inside)
        # Hooks can tell that what is missing need not be there.
        keys = nn.modules.module._IncompatibleKeys(missing, fit.unexpected)
        for hook in module._load_state_dict_post_hooks.values():
            hook(module, keys)

    load('', OrderedDict(state_dict))
    names = set(fit.total)
    fit.missing = [name for name in missing if name in names]
    for error in map(str.strip, errors):
        found = MISMATCH.match(error)
        if found is None:
            fit.errors.append(error)
        elif found[1] in names:
            sizes = (re.findall(r'\d+', size) for size in found.groups()[1:])
            fit.shapes[found[1]] = tuple(tuple(map(int, x)) for x in sizes)
    return fit


def _in(name: str, prefix: str) -> bool:
    return name.startswith(prefix)


# What PyTorch says of a parameter of another shape
MISMATCH = re.compile(
    r'size mismatch for (\S+): .*?torch\.Size\(\[(.*?)\]\)'
    r'.*?torch\.Size\(\[(.*?)\]\)'
)


def _find_problems(
    modules: Dict[str, nn.Module], state_dict: dict, fit: Fit, strict: bool
) -> List[str]:
    """Lists what differs and may not.

    Returns:
        list[str]: Names of parameters, or errors of other kinds.
    """
    absent = [*fit.missing, *fit.shapes]
    if fit.total and len(absent) == len(fit.total):
        return absent
    if strict:
        return [*absent, *fit.unexpected, *fit.errors]
    state = _current.get()
    if state.allow_partial:
        return []
    problems = [*fit.errors]
    for group, names in _group(modules, fit, state.starts).items():
        # Nothing starts from a checkpoint that leaves out the backbone.
        is_meant = group in ('', 'backbone.') or any(
            _in(name, group) for name in state_dict
        )
        if not state.starts:
            problems += [name for name in absent if name in names]
        elif is_meant:
            problems += _find_misfits(modules, state_dict, fit, group, names)
        if is_meant and _has_ours(modules[group]):
            problems += _find_surplus(modules, fit, group)
    return problems


def _group(
    modules: Dict[str, nn.Module], fit: Fit, starts: Optional[bool]
) -> Dict[str, Set[str]]:
    """Tells the parts of a model, each of which a checkpoint may be meant for.

    Returns:
        dict[str, set[str]]: Names of parameters by the prefix of their part,
        which is empty where there are no parts.
    """
    groups: Dict[str, Set[str]] = {}
    for name in fit.total:
        part = f'{name.partition(".")[0]}.'
        is_part = starts and isinstance(modules[''], BaseModel)
        is_part = is_part and part in modules
        groups.setdefault(part if is_part else '', set()).add(name)
    return groups


def _find_misfits(
    modules: Dict[str, nn.Module],
    state_dict: dict,
    fit: Fit,
    group: str,
    names: set,
) -> List[str]:
    """Lists what a part should have got and has not.

    In mmactive's networks that is everything but the norms of outputs. Other
    networks are often extended (by deformable convolutions, or attention),
    so that they may also have kinds of parameters that the checkpoint, all of
    which is used, has none of.
    """
    misfits = [
        name
        for name in fit.shapes
        if name in names and not _find_new_head(modules, name, fit)
    ]
    missing = [
        name
        for name in fit.missing
        if name in names and not _is_output_norm(modules, name)
    ]
    inside = {key[len(group) :].partition('.')[0] for key in names}
    all_used = not any(
        key[len(group) :].partition('.')[0] in inside
        for key in fit.unexpected
        if _in(key, group)
    )
    if all_used and not _has_ours(modules[group]):
        kinds = set(map(_get_kind, state_dict))
        missing = [name for name in missing if _get_kind(name) in kinds]
    return misfits + missing


def _find_surplus(
    modules: Dict[str, nn.Module], fit: Fit, group: str
) -> List[str]:
    """Lists what a checkpoint has more of than a network, such as blocks."""
    ours = [
        prefix
        for prefix, module in modules.items()
        if _in(prefix, group) and hasattr(module, 'arch_settings')
    ]
    kinds = set(map(_get_kind, fit.total))
    return [
        name
        for name in fit.unexpected
        if any(_in(name, prefix) for prefix in ours)
        and _get_kind(name) in kinds
        and not _is_output_norm(modules, name)
    ]


def _get_kind(name: str) -> str:
    """Drops the numbers of stages and blocks from a name."""
    return re.sub(r'\d+', '#', name)


def _is_output_norm(modules: Dict[str, nn.Module], name: str) -> bool:
    """Tells the norms of outputs: a classifier has but the last of them."""
    parent = re.fullmatch(r'(|.*\.)norm\d+\.\w+', name)
    return bool(parent) and hasattr(modules.get(parent[1]), 'out_indices')


def _find_new_head(
    modules: Dict[str, nn.Module], name: str, fit: Fit
) -> Optional[int]:
    """Returns the number of classes if that is why a shape differs."""
    if name not in fit.shapes:
        return None
    loaded, own = fit.shapes[name]
    while loaded[1:] == own[1:] and name:
        name = name.rpartition('.')[0]
        number = getattr(modules.get(f'{name}.'), 'num_classes', None)
        if number is not None:
            return number
    return None


def _explain_heads(
    modules: Dict[str, nn.Module], fit: Fit, heads: List[str]
) -> str:
    """Explains weights of a head for other classes."""
    first = heads[0]
    loaded, own = fit.shapes[first]
    others = f' (so are {_join(heads[1:])})' if heads[1:] else ''
    return (
        f'{first} is of shape {loaded}, but the config makes it {own}{others};'
        f' {fit.count()} fit: was it trained for '
        f'{_find_new_head(modules, first, fit)} classes?'
    )


def _explain(modules: Dict[str, nn.Module], state_dict: dict, fit: Fit) -> str:
    """Explains weights that do not fit."""
    shapes = [
        f'{name} {loaded} instead of {own}'
        for name, (loaded, own) in fit.shapes.items()
    ]
    lists = {
        'missing': fit.missing,
        'unexpected': fit.unexpected,
        'of another shape': shapes,
        'failed': fit.errors,
    }
    lines = [f'{fit.count()} of {type(modules[""]).__name__} fit']
    lines += [
        f'  {key}: {_join(names)}' for key, names in lists.items() if names
    ]
    lines.append(f'Likely cause: {_guess_cause(modules, state_dict, fit)}.')
    lines.append(
        'To take what fits: allow_partial=True in init_cfg, or --allow-partial'
    )
    return '\n'.join(lines)


def _join(names: List[str]) -> str:
    """Names three, and the number of the others."""
    others = f' and {len(names) - 3} more' if len(names) > 3 else ''
    return ', '.join(names[:3]) + others


def _summarize(modules: Dict[str, nn.Module], fit: Fit) -> str:
    """Says what was loaded, and what differs, in a line."""
    text = f'{fit.count()} of {type(modules[""]).__name__} loaded'
    lists = {'fresh': [*fit.missing, *fit.shapes], 'unused': fit.unexpected}
    for key, names in lists.items():
        parts = [name.rpartition('.')[0] or name for name in names]
        if parts:
            text += f'; {key}: {_join(list(dict.fromkeys(parts)))}'
    return text


def _guess_cause(
    modules: Dict[str, nn.Module], state_dict: dict, fit: Fit
) -> str:
    """Guesses why weights do not fit."""
    nested = [k for k, x in state_dict.items() if isinstance(x, dict) and x]
    published = _find_published(
        state_dict[nested[0]] if nested else state_dict
    )
    if published:
        return (
            f'it has the published names of {published}, which '
            'tools/model_converters/to_mmactive.py converts'
        )
    if list(fit.shapes) == [_find_other_in_channels(modules, state_dict)]:
        ((loaded, own),) = fit.shapes.values()
        return (
            f'it is for images of {loaded[1]} channels, but the model for '
            f'{own[1]}: adapt_in_channels=True in init_cfg or in the config '
            'adapts it'
        )
    variant = _find_variant(modules, state_dict)
    if variant:
        return variant
    prefix = _find_prefix(modules, state_dict, fit)
    if prefix:
        return prefix
    if nested and len(fit.missing) == len(fit.total):
        return f'its weights lie under {_join(list(map(repr, nested)))}'
    return (
        'it is of another network, of another version of this one, or for '
        'images of another size'
    )


def _find_published(weights: dict) -> Optional[str]:
    """Names the network if a checkpoint has the names of its authors."""
    from mmactive.models.conversion import convert

    weights = {re.sub(r'^module\.', '', k): x for k, x in weights.items()}
    try:
        return convert(weights)[-1]
    except Exception:
        # Whatever the reason is, they are none that can be converted.
        return None


def _find_variant(
    modules: Dict[str, nn.Module], state_dict: dict
) -> Optional[str]:
    """Names the variant of a network that a checkpoint holds."""
    for prefix, module in modules.items():
        settings = getattr(module, 'arch_settings', None)
        if not isinstance(settings, dict) or not _has_ours(module):
            continue
        weights = {
            name[len(prefix) :]: x.shape
            for name, x in state_dict.items()
            if _in(name, prefix) and isinstance(x, Tensor)
        }
        own = _get_shapes(module)
        found = {}
        for arch in settings:
            try:
                with torch.device('meta'):
                    shapes = _get_shapes(type(module)(arch))
            except Exception:
                # A network may need more than its variant.
                continue
            found[arch] = shapes
        name = type(module).__name__.lower()
        theirs = [a for a, x in found.items() if x.items() <= weights.items()]
        mine = [a for a, x in found.items() if x == own]
        # Deeper variants hold all that shallow ones have.
        theirs.sort(key=lambda arch: len(found[arch]))
        if theirs and theirs[-1:] != mine[:1]:
            own_name = f'{name}-{mine[0]}' if mine else f'another {name}'
            return f'it is {name}-{theirs[-1]}, but the model has {own_name}'
    return None


def _get_shapes(module: nn.Module) -> Dict[str, torch.Size]:
    """Returns the shapes of a network's parameters, but of outputs' norms."""
    modules = dict(_named_modules(module))
    return {
        name: x.shape
        for name, x in _named_weights(modules)
        if not _is_output_norm(modules, name)
    }


def _find_prefix(
    modules: Dict[str, nn.Module], state_dict: dict, fit: Fit
) -> Optional[str]:
    """Finds the prefix by which names differ from those of the model."""
    parts = {f'{name.partition(".")[0]}.' for name in fit.total}
    for part in ['', *sorted(parts & modules.keys())]:
        names = [n[len(part) :] for n in fit.total if _in(n, part)]
        if len(names) < len(fit.total) / 2:
            continue
        candidates = {
            key[: -len(name)]
            for name in (names[0], names[-1])
            for key in state_dict
            if key.endswith(name)
        }
        for prefix in sorted(candidates - {part}):
            found = sum(prefix + name in state_dict for name in names)
            if found > 0.9 * len(names):
                return (
                    f'its names begin with {prefix!r}'
                    + (f' instead of {part!r}' if part else '')
                    + (f': set init_cfg.prefix to {prefix!r}' * (not part))
                )
    return None
