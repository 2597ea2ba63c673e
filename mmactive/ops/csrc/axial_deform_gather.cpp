// Copyright (c) mmactive contributors. All rights reserved.
// Schemas of the ATM operator. Kernels of the same name live under cpu/ and
// cuda/; shape rules, autograd and autocast are in ../axial_deform_gather.py.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(mmactive, m) {
  m.def("axial_deform_gather(Tensor input, Tensor offset, int dim) -> Tensor");
  m.def(
      "axial_deform_gather_backward(Tensor grad_output, Tensor input, "
      "Tensor offset, int dim) -> (Tensor, Tensor)");
}
