# Copyright (c) mmactive contributors. All rights reserved.
from .activemlp import ActiveMLP

__all__ = ['ActiveMLP']
