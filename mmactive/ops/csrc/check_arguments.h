// Copyright (c) mmactive contributors. All rights reserved.
// The checks of every backend of the ATM operator. The Python function has made them with kinder
// words already; these keep direct calls of the dispatcher from reading stray memory.
#pragma once

#include <ATen/core/Tensor.h>

namespace mmactive {

inline void check_dtype(const char* name, const at::Tensor& tensor) {
  const auto dtype = tensor.scalar_type();
  TORCH_CHECK_TYPE(
      dtype == at::kFloat || dtype == at::kDouble || dtype == at::kBFloat16 || dtype == at::kHalf,
      name, " must be of dtype float32, float64, bfloat16 or float16, but got ", dtype);
}

inline void check_arguments(const at::Tensor& input, const at::Tensor& offset, int64_t dim) {
  TORCH_CHECK_VALUE(
      input.dim() == 4 && offset.dim() == 4 &&
          input.sizes().slice(0, 3) == offset.sizes().slice(0, 3),
      "input must be (N, H, W, C) and offset (N, H, W, G), but got ", input.sizes(), " and ",
      offset.sizes());
  TORCH_CHECK_VALUE(
      dim == 1 || dim == 2 || dim == -3 || dim == -2, "dim must be 1, 2, -3 or -2, but got ", dim);
  TORCH_CHECK_VALUE(
      offset.size(3) ? input.size(3) % offset.size(3) == 0 : input.size(3) == 0,
      "offset must have a number of groups that divides the ", input.size(3),
      " channels of input, but got ", offset.size(3));
  check_dtype("input", input);
  check_dtype("offset", offset);
  TORCH_CHECK_TYPE(
      c10::promoteTypes(input.scalar_type(), offset.scalar_type()) == offset.scalar_type(),
      "offset must be at least as wide as input, ", input.scalar_type(), ", but got ",
      offset.scalar_type());
  TORCH_CHECK_VALUE(
      input.device() == offset.device(), "offset must be on the device of input, ",
      input.device(), ", but got ", offset.device());
}

inline void check_grad_output(const at::Tensor& grad_output, const at::Tensor& input) {
  TORCH_CHECK_VALUE(
      grad_output.sizes() == input.sizes(), "grad_output must have the shape of input, ",
      input.sizes(), ", but got ", grad_output.sizes());
  TORCH_CHECK_TYPE(
      grad_output.scalar_type() == input.scalar_type(),
      "grad_output must have the dtype of input, ", input.scalar_type(), ", but got ",
      grad_output.scalar_type());
  TORCH_CHECK_VALUE(
      grad_output.device() == input.device(), "grad_output must be on the device of input, ",
      input.device(), ", but got ", grad_output.device());
}

}  // namespace mmactive
