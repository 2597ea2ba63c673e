# Copyright (c) mmactive contributors. All rights reserved.
"""What is checked before and while a config runs, by what is checked."""
