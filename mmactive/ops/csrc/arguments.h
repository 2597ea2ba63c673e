// Copyright (c) mmactive contributors. All rights reserved.
// What every backend of the ATM operator makes of its arguments first. The Python function has
// checked them with kinder words already; these checks keep direct calls of the dispatcher from
// reading stray memory.
#pragma once

#include "axial_deform_gather.h"
#include "stable.h"

namespace mmactive {

inline void check_dtype(const char* name, ScalarType dtype) {
  MMACTIVE_CHECK_VALUE(
      dtype == ScalarType::Float || dtype == ScalarType::Double || dtype == ScalarType::BFloat16 ||
          dtype == ScalarType::Half,
      name, " must be of dtype float32, float64, bfloat16 or float16, but got ", dtype);
}

inline void check_device(const char* name, const Tensor& tensor, const Tensor& input) {
  MMACTIVE_CHECK_VALUE(
      is_on_same_device(tensor, input), name, " must be on the device of input, ",
      device_name(input), ", but got ", device_name(tensor));
}

// The distance between the offsets of neighbouring tokens, as in a slice of a packed (N, H, W, 2G)
// tensor; 0 if there is no such distance, or a token's offsets do not lie side by side.
inline int64_t token_stride(Sizes sizes, Sizes strides) {
  if (sizes[3] > 1 && strides[3] != 1) return 0;
  int64_t token = 0, expected = 0;
  for (int i = 2; i >= 0; --i) {
    if (sizes[i] == 1) continue;
    if (token == 0) token = expected = strides[i];
    if (strides[i] != expected || strides[i] == 0) return 0;
    expected *= sizes[i];
  }
  return token == 0 ? sizes[3] : token;
}

inline Shape check_arguments(const Tensor& input, const Tensor& offset, int64_t dim) {
  const Sizes x = input.sizes(), o = offset.sizes();
  MMACTIVE_CHECK_VALUE(
      x.size() == 4 && o.size() == 4 && x[0] == o[0] && x[1] == o[1] && x[2] == o[2],
      "input must be (N, H, W, C) and offset (N, H, W, G), but got ", to_string(x), " and ",
      to_string(o));
  MMACTIVE_CHECK_VALUE(
      dim == 1 || dim == 2 || dim == -3 || dim == -2, "dim must be 1, 2, -3 or -2, but got ", dim);
  MMACTIVE_CHECK_VALUE(
      o[3] ? x[3] % o[3] == 0 : x[3] == 0, "offset must have a number of groups that divides the ",
      x[3], " channels of input, but got ", o[3]);
  const ScalarType dtype = input.scalar_type(), offset_dtype = offset.scalar_type();
  check_dtype("input", dtype);
  check_dtype("offset", offset_dtype);
  MMACTIVE_CHECK_VALUE(
      offset_dtype == dtype || offset_dtype == ScalarType::Double ||
          (offset_dtype == ScalarType::Float && dtype != ScalarType::Double),
      "offset must be at least as wide as input, ", dtype, ", but got ", offset_dtype);
  check_device("offset", offset, input);
  return {x[0], x[1], x[2], x[3], o[3], token_stride(o, offset.strides())};
}

inline void check_grad_output(const Tensor& grad_output, const Tensor& input) {
  const Sizes g = grad_output.sizes(), x = input.sizes();
  MMACTIVE_CHECK_VALUE(
      std::equal(g.begin(), g.end(), x.begin(), x.end()),
      "grad_output must have the shape of input, ", to_string(x), ", but got ", to_string(g));
  MMACTIVE_CHECK_VALUE(
      grad_output.scalar_type() == input.scalar_type(),
      "grad_output must have the dtype of input, ", input.scalar_type(), ", but got ",
      grad_output.scalar_type());
  check_device("grad_output", grad_output, input);
}

// The offsets such that `shape.offset_stride` leads from token to token: as they are, or a copy.
inline Tensor as_tokens(const Tensor& offset, Shape& shape) {
  if (shape.offset_stride != 0) return offset;
  shape.offset_stride = shape.groups;
  return torch::stable::contiguous(offset);
}

}  // namespace mmactive
