// Copyright (c) mmactive contributors. All rights reserved.
// Schemas of the shift. Kernels of the same name live under cpu/ and cuda/; shape rules and
// autograd are in ../axial_shift.py.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY_FRAGMENT(mmactive, m) {
  m.def("axial_shift(Tensor input, int[] shifts, int dim, bool border) -> Tensor");
  m.def("axial_shift_backward(Tensor grad_output, int[] shifts, int dim, bool border) -> Tensor");
}
