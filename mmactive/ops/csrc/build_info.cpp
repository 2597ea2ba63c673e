// Copyright (c) mmactive contributors. All rights reserved.
// What this library was built for, as text in the file: `mmactive.utils.collect_env` finds it by
// its first word, also in a library that does not load into the PyTorch at hand.

#define MMACTIVE_STRING(x) #x
#define MMACTIVE_VALUE(x) MMACTIVE_STRING(x)

extern const char mmactive_build_info[];

__attribute__((used)) const char mmactive_build_info[] =
    "MMACTIVE_BUILD_INFO torch=" MMACTIVE_VALUE(MMACTIVE_TORCH_VERSION)
    ";headers=" MMACTIVE_VALUE(MMACTIVE_HEADERS_VERSION)
    ";cuda=" MMACTIVE_VALUE(MMACTIVE_CUDA_VERSION)
    ";compiler=" __VERSION__;
