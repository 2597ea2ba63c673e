# Copyright (c) mmactive contributors. All rights reserved.
"""Dependencies, diagnosis and checkpoints.

Nothing is imported here: ``python -m mmactive.utils.collect_env`` has to start
whatever is missing or broken.
"""
