// Copyright (c) mmactive contributors. All rights reserved.
// CUDA kernels of the shift: the definition is in ../../axial_shift.py.
//
// threadIdx.x is the channel, so that a warp reads consecutive memory, and a thread keeps to its
// channel and hence to its shift.
#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/macros.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "../axial_shift.h"

namespace mmactive {
namespace {

constexpr int kShiftThreads = 256;
constexpr int kShiftTokens = 4;  // of a thread
constexpr int kShiftChannels = 512;  // of a launch

// Shifts of the channels of a launch. As an argument of the kernel they need no memory that would
// have to be copied to the device.
struct Shifts {
  int32_t values[kShiftChannels];
};

template <typename scalar_t, bool kIsGradient>
__global__ void __launch_bounds__(kShiftThreads) shift_kernel(
    const scalar_t* __restrict__ source, scalar_t* __restrict__ target, const Lines lines,
    int64_t tokens, int64_t channels, int count, bool border, const Shifts shifts) {
  const int64_t stride = lines.stride * channels;
  const int64_t first = int64_t(blockIdx.x) * blockDim.y * kShiftTokens + threadIdx.y;
  for (int channel = threadIdx.x; channel < count; channel += blockDim.x) {
    const int64_t shift = shifts.values[channel];
#pragma unroll
    for (int i = 0; i < kShiftTokens; ++i) {
      const int64_t token = first + i * blockDim.y;
      if (token >= tokens) break;
      const int64_t row = divide(token, lines.stride).quotient;
      const int64_t position = divide(row, lines.length).remainder;
      const Range range = source_of<kIsGradient>(position, shift, lines.length, border);
      const int64_t element = token * channels + channel;
      opmath_type<scalar_t> sum = 0;
      for (int64_t j = range.begin; j < range.end; ++j) {
        sum += static_cast<opmath_type<scalar_t>>(source[element + (j - position) * stride]);
      }
      target[element] = static_cast<scalar_t>(sum);
    }
  }
}

template <bool kIsGradient>
Tensor shift(const Tensor& input, std::vector<int64_t> shifts, int64_t dim, bool border) {
  const Shape shape = check_shift(input, shifts, dim);
  const int32_t device = input.get_device_index();
  const torch::stable::accelerator::DeviceGuard guard(device);
  const Tensor output = empty(shape.input_sizes(), input.scalar_type(), input);
  if (shape.elements() == 0) return output;
  const Tensor source = as_contiguous(input);
  const Lines lines(shape, dim);
  MMACTIVE_CHECK_VALUE(
      lines.length <= std::numeric_limits<int32_t>::max(),
      "input must have fewer than 2**31 tokens along dim, but got ", lines.length);
  const int64_t tokens = shape.batch * shape.height * shape.width;

  void* stream = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
  for (int64_t first = 0; first < shape.channels; first += kShiftChannels) {
    const int count = std::min<int64_t>(kShiftChannels, shape.channels - first);
    Shifts part{};
    std::copy_n(shifts.begin() + first, count, part.values);
    cudaLaunchConfig_t config{};
    const int width = std::min((count + 31) / 32 * 32, kShiftThreads);
    config.blockDim = dim3(width, kShiftThreads / width);
    const int64_t section = config.blockDim.y * kShiftTokens;
    const int64_t blocks = (tokens + section - 1) / section;
    STD_TORCH_CHECK(
        blocks <= std::numeric_limits<int>::max(), "input is too large for one CUDA grid");
    config.gridDim = dim3(blocks);
    config.stream = static_cast<cudaStream_t>(stream);
    const auto run = [&](auto scalar) {
      using scalar_t = decltype(scalar);
      STD_CUDA_CHECK(cudaLaunchKernelEx(
          &config, shift_kernel<scalar_t, kIsGradient>, data<scalar_t>(source) + first,
          mutable_data<scalar_t>(output) + first, lines, tokens, shape.channels, count, border,
          part));
    };
    MMACTIVE_DISPATCH(source.scalar_type(), "axial_shift", [&] { run(scalar_t()); });
  }
  return output;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mmactive, CUDA, m) {
  m.impl("axial_shift", TORCH_BOX(&shift<false>));
  m.impl("axial_shift_backward", TORCH_BOX(&shift<true>));
}

}  // namespace mmactive
