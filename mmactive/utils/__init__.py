# Copyright (c) mmactive contributors. All rights reserved.
"""Dependencies, diagnosis and checkpoints.

Nothing is imported here: ``python -m mmactive.utils.collect_env`` has to start
whatever is missing or broken.
"""


def register_all_modules(init_default_scope: bool = True) -> None:
    """Registers the models, as ``import mmactive`` does.

    ``mmengine.hub`` calls this function of every package.

    Args:
        init_default_scope (bool): Of no effect. The scope of a config here is
            that of the library which runs it. Defaults to True.
    """
    import mmactive.models  # noqa: F401
