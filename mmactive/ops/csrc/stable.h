// Copyright (c) mmactive contributors. All rights reserved.
// What PyTorch's stable ABI leaves to its users. The extension keeps to that ABI
// (torch/csrc/stable, torch/headeronly), as of the version that setup.py sets as
// TORCH_TARGET_VERSION, so that one library serves every later PyTorch. ATen and c10 are not to be
// included.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/Dispatch_v2.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>

// PyTorch 2.10's headers have it without the text of the error.
#ifndef STABLE_TORCH_ERROR_CODE_CHECK
#define STABLE_TORCH_ERROR_CODE_CHECK TORCH_ERROR_CODE_CHECK
#endif

namespace mmactive {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Sizes = torch::headeronly::IntHeaderOnlyArrayRef;

// In Python this exception is a ValueError, and from PyTorch 2.15 on a RuntimeError, as all are that
// come through the stable ABI. The operators' Python functions raise errors of their own before.
#define MMACTIVE_CHECK_VALUE(condition, ...)                                          \
  do {                                                                                \
    if (C10_UNLIKELY_OR_CONST(!(condition))) {                                        \
      throw std::invalid_argument(STD_TORCH_CHECK_MSG(condition, "", ##__VA_ARGS__)); \
    }                                                                                 \
  } while (0)

// Calls a lambda in which `scalar_t` is one of the dtypes that the operators take.
#define MMACTIVE_DISPATCH(dtype, name, ...)                                              \
  THO_DISPATCH_V2(                                                                       \
      dtype, name, AT_WRAP(__VA_ARGS__), AT_EXPAND(AT_FLOATING_TYPES), ScalarType::Half, \
      ScalarType::BFloat16)

// What the operators compute with.
template <typename scalar_t>
using opmath_type = std::conditional_t<std::is_same_v<scalar_t, double>, double, float>;

inline ScalarType opmath_dtype(ScalarType dtype) {
  return dtype == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

inline std::string to_string(Sizes sizes) {
  std::string text = "[";
  for (const int64_t size : sizes) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

inline bool is_on_same_device(const Tensor& a, const Tensor& b) {
  return a.is_cpu() == b.is_cpu() && a.is_cuda() == b.is_cuda() &&
      a.get_device_index() == b.get_device_index();
}

inline std::string device_name(const Tensor& tensor) {
  if (tensor.is_cpu()) return "cpu";
  return (tensor.is_cuda() ? "cuda:" : "device ") + std::to_string(tensor.get_device_index());
}

template <typename scalar_t>
const scalar_t* data(const Tensor& tensor) {
  return static_cast<const scalar_t*>(tensor.const_data_ptr());
}

template <typename scalar_t>
scalar_t* mutable_data(const Tensor& tensor) {
  return static_cast<scalar_t*>(tensor.mutable_data_ptr());
}

inline Tensor as_contiguous(const Tensor& tensor) {
  return tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor);
}

inline Tensor as_dtype(const Tensor& tensor, ScalarType dtype) {
  return tensor.scalar_type() == dtype ? tensor : torch::stable::to(tensor, dtype);
}

// An uninitialized, contiguous tensor on the device of another one, without the detour of
// torch::stable::empty through the dispatcher, which small tensors would feel.
template <size_t kDim>
Tensor empty(const std::array<int64_t, kDim>& sizes, ScalarType dtype, const Tensor& like) {
  std::array<int64_t, kDim> strides;
  int64_t stride = 1;
  for (size_t i = kDim; i-- > 0;) {
    strides[i] = stride;
    stride *= sizes[i] > 1 ? sizes[i] : 1;
  }
  int32_t device_type, device_index;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device_type));
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(like.get(), &device_index));
  const auto code = torch::stable::detail::to<int32_t>(torch::stable::detail::from(dtype));
  AtenTensorHandle handle;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(
      kDim, sizes.data(), strides.data(), code, device_type, device_index, &handle));
  return Tensor(handle);
}

inline Tensor zeros(Sizes sizes, ScalarType dtype, const Tensor& like) {
  return torch::stable::new_zeros(like, sizes, dtype);
}

}  // namespace mmactive
