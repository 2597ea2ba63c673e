// Copyright (c) mmactive contributors. All rights reserved.
#pragma once

#include <emulation.h>
