// Copyright (c) mmactive contributors. All rights reserved.
// CUDA kernels of the ATM operator: the definition is in ../../axial_deform_gather.py.
//
// A column is a vector of neighbouring channels that share their offset, followed along one line
// of the axis. Columns never meet: whatever is gathered from or scattered to a column stays in
// it. The threads of a block form a grid: threadIdx.x is the column, so that a warp reads
// consecutive memory, and threadIdx.y shares out the tokens of the lines.
#include <cuda_pipeline_primitives.h>
#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/macros.h>

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <tuple>
#include <type_traits>

#include "../arguments.h"

namespace mmactive {
namespace {

constexpr int kMaxThreads = 256;

// The longest vectors of channels.
template <typename scalar_t>
constexpr int kMaxChannels = sizeof(scalar_t) == 8 ? 2 : 8;

// Tokens that a thread works on at a time, so that enough loads are in flight.
template <int kChannels>
constexpr int kTokens = std::min(8, 16 / kChannels);

// Neighbouring channels, moved by accesses of up to 16 bytes. Kept as words, as the compiler would
// otherwise take pairs of 16-bit channels apart whenever a vector is not read unconditionally.
template <typename scalar_t, int kChannels>
struct alignas(std::min<int>(16, sizeof(scalar_t) * kChannels)) Vector {
  using opmath_t = opmath_type<scalar_t>;
  using word_t = std::conditional_t<sizeof(scalar_t) * kChannels == 2, uint16_t, uint32_t>;

  word_t words[sizeof(scalar_t) * kChannels / sizeof(word_t)];

  __device__ void get(opmath_t (&values)[kChannels]) const {
    scalar_t channels[kChannels];
    memcpy(channels, words, sizeof(words));
#pragma unroll
    for (int c = 0; c < kChannels; ++c) values[c] = static_cast<opmath_t>(channels[c]);
  }

  __device__ void set(const opmath_t (&values)[kChannels]) {
    scalar_t channels[kChannels];
#pragma unroll
    for (int c = 0; c < kChannels; ++c) channels[c] = static_cast<scalar_t>(values[c]);
    memcpy(words, channels, sizeof(words));
  }
};

// What the kernels need to know about the tensors beside their addresses.
struct Geometry {
  Lines lines;
  int64_t groups;
  int64_t parts_per_group;  // vectors of channels that share an offset
  int64_t offset_stride;  // from the offsets of one token to those of the next
};

// The column of a thread, as the indices of its first token and the strides to its next one.
struct Column {
  bool exists;
  int64_t vector, stride;  // in input, output and their gradients, counted in vectors
  int64_t offset, offset_stride;

  __device__ Column(int64_t block, const Geometry& geometry) {
    const Lines& lines = geometry.lines;
    const int64_t parts = geometry.groups * geometry.parts_per_group;
    const int64_t index = block * blockDim.x + threadIdx.x;
    const Division line = divide(index, parts);
    const int64_t token = lines.first_token(line.quotient);
    exists = index < lines.count * parts;
    vector = token * parts + line.remainder;
    stride = lines.stride * parts;
    offset =
        token * geometry.offset_stride + divide(line.remainder, geometry.parts_per_group).quotient;
    offset_stride = lines.stride * geometry.offset_stride;
  }
};

// Reads every blockDim.y-th token of a column from `first` on, as far as they come before `end`.
template <typename T, int kCount>
__device__ void load_tokens(
    const T* __restrict__ column, int64_t stride, int first, int end, T (&values)[kCount]) {
  const T* token = column + first * stride;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    values[i] = T{};
    if (first < end) values[i] = *token;
    token += blockDim.y * stride;
    first += blockDim.y;
  }
}

template <typename T, int kCount>
__device__ void store_tokens(
    T* __restrict__ column, int64_t stride, int first, int end, const T (&values)[kCount]) {
  T* token = column + first * stride;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (first < end) *token = values[i];
    token += blockDim.y * stride;
    first += blockDim.y;
  }
}

// Starts to copy a vector from global to shared memory, around the registers.
template <typename T>
__device__ void copy_async(T* shared, const T* global) {
  if constexpr (sizeof(T) < 4) {
    *shared = *global;
  } else {
#pragma unroll
    for (size_t byte = 0; byte < sizeof(T); byte += alignof(T)) {
      __pipeline_memcpy_async(
          reinterpret_cast<char*>(shared) + byte, reinterpret_cast<const char*>(global) + byte,
          alignof(T));
    }
  }
}

// Locates the samples of the same tokens on a line of `length` tokens.
template <typename opmath_t, typename offset_t, int kCount>
__device__ void locate(
    const offset_t (&offsets)[kCount], int first, int length,
    Sample<opmath_t, int> (&samples)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    samples[i] = {opmath_t(first) + static_cast<opmath_t>(offsets[i]), length};
    first += blockDim.y;
  }
}

// In shared memory a line lies between rows for the neighbours that do not exist, so that no
// sample needs a branch: -2 and -1 before it, `length` behind it.
constexpr int kRowsBefore = 2;
constexpr int kPaddingRows = 3;

// Reads the neighbours of the samples, zeros outside of the line unless it `kIsPadded`.
template <bool kIsPadded, typename opmath_t, typename T, typename index_t, int kCount>
__device__ void load_neighbours(
    const T* line, index_t stride, const Sample<opmath_t, int> (&samples)[kCount], int length,
    T (&lower)[kCount], T (&upper)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const T* row = line + samples[i].lower * stride;
    lower[i] = upper[i] = T{};
    if (kIsPadded || samples[i].has_lower()) lower[i] = row[0];
    if (kIsPadded || samples[i].has_upper(length)) upper[i] = row[stride];
  }
}

// kStaged: a block copies its lines to shared memory first. Otherwise they are too long for that
// and a block computes a section of them.
template <typename scalar_t, typename offset_t, int kChannels, bool kStaged>
__global__ void __launch_bounds__(kMaxThreads, sizeof(scalar_t) == 8 ? 2 : 3) forward_kernel(
    const scalar_t* __restrict__ input, const offset_t* __restrict__ offset,
    scalar_t* __restrict__ output, const Geometry geometry) {
  using opmath_t = opmath_type<scalar_t>;
  using vector_t = Vector<scalar_t, kChannels>;
  constexpr int kCount = kTokens<kChannels>;
  extern __shared__ __align__(16) unsigned char shared_memory[];

  const int length = geometry.lines.length;
  const int width = blockDim.x;
  const int section = blockDim.y * kCount;
  const int sections = kStaged ? 1 : (length + section - 1) / section;
  const int begin = kStaged ? 0 : blockIdx.x % sections * section;
  const Column column(blockIdx.x / sections, geometry);
  const int end = !column.exists ? 0 : kStaged ? length : min(length, begin + section);
  const auto* source = reinterpret_cast<const vector_t*>(input) + column.vector;
  auto* target = reinterpret_cast<vector_t*>(output) + column.vector;
  offset += column.offset;

  offset_t offsets[kCount];
  load_tokens(offset, column.offset_stride, begin + threadIdx.y, end, offsets);

  auto* tile = reinterpret_cast<vector_t*>(shared_memory) + threadIdx.x + kRowsBefore * width;
  if constexpr (kStaged) {
    for (int row = threadIdx.y; row < kPaddingRows; row += blockDim.y) {
      tile[(row < kRowsBefore ? row - kRowsBefore : length) * width] = vector_t{};
    }
    const vector_t* from = source + threadIdx.y * column.stride;
    vector_t* to = tile + threadIdx.y * width;
#pragma unroll 4
    for (int token = threadIdx.y; token < end; token += blockDim.y) {
      copy_async(to, from);
      from += blockDim.y * column.stride;
      to += blockDim.y * width;
    }
    __pipeline_commit();
    __pipeline_wait_prior(0);
    __syncthreads();
  }

  for (int first = begin + threadIdx.y; first < end; first += section) {
    Sample<opmath_t, int> samples[kCount];
    locate(offsets, first, length, samples);
    load_tokens(offset, column.offset_stride, first + section, end, offsets);
    vector_t lower[kCount], upper[kCount];
    if constexpr (kStaged) {
      load_neighbours<true>(tile, width, samples, length, lower, upper);
    } else {
      load_neighbours<false>(source, column.stride, samples, length, lower, upper);
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      opmath_t x0[kChannels], x1[kChannels];
      lower[i].get(x0);
      upper[i].get(x1);
#pragma unroll
      for (int c = 0; c < kChannels; ++c) {
        x0[c] = (1 - samples[i].fraction) * x0[c] + samples[i].fraction * x1[c];
      }
      lower[i].set(x0);
    }
    store_tokens(target, column.stride, first, end, lower);
  }
}

// Every block owns whole lines. Their gradient of the input is summed up in shared memory or, if
// they are too long for that (not kStaged), in `grad_input`, which is zero at first. The threads
// of a column take turns to add to it, so the order of the summands never changes.
template <typename scalar_t, typename offset_t, int kChannels, bool kStaged>
__global__ void __launch_bounds__(kMaxThreads, sizeof(scalar_t) == 8 ? 1 : 2) backward_kernel(
    const scalar_t* __restrict__ grad_output, const scalar_t* __restrict__ input,
    const offset_t* __restrict__ offset,
    std::conditional_t<kStaged, scalar_t, opmath_type<scalar_t>>* grad_input,
    offset_t* __restrict__ grad_offset, const Geometry geometry) {
  using opmath_t = opmath_type<scalar_t>;
  using vector_t = Vector<scalar_t, kChannels>;
  using sum_t = Vector<opmath_t, kChannels>;
  constexpr int kCount = kTokens<kChannels>;
  extern __shared__ __align__(16) unsigned char shared_memory[];

  const int section = blockDim.y * kCount;
  const Column column(blockIdx.x, geometry);
  // A column that does not exist takes part in the turns with samples outside of an empty line.
  const int length = geometry.lines.length;
  const int end = column.exists ? length : 0;
  const auto* source = reinterpret_cast<const vector_t*>(input) + column.vector;
  const auto* grad = reinterpret_cast<const vector_t*>(grad_output) + column.vector;
  offset += column.offset;
  grad_offset += column.vector;  // one element for each vector

  offset_t offsets[kCount];
  load_tokens(offset, column.offset_stride, threadIdx.y, end, offsets);

  sum_t* sums;
  std::conditional_t<kStaged, int, int64_t> sum_stride;
  if constexpr (kStaged) {
    sum_stride = blockDim.x;
    sums = reinterpret_cast<sum_t*>(shared_memory) + threadIdx.x + kRowsBefore * sum_stride;
    for (int token = threadIdx.y; token < length; token += blockDim.y) {
      sums[token * sum_stride] = sum_t{};
    }
    __syncthreads();
  } else {
    sum_stride = column.stride;
    sums = reinterpret_cast<sum_t*>(grad_input) + column.vector;
  }

  for (int begin = 0; begin < length; begin += section) {
    const int first = begin + threadIdx.y;
    vector_t grads[kCount], lower[kCount], upper[kCount];
    Sample<opmath_t, int> samples[kCount];
    load_tokens(grad, column.stride, first, end, grads);
    locate(offsets, first, end, samples);
    load_neighbours<false>(source, column.stride, samples, end, lower, upper);
    load_tokens(offset, column.offset_stride, first + section, end, offsets);

    offset_t slopes[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      opmath_t g[kChannels], x0[kChannels], x1[kChannels];
      grads[i].get(g);
      lower[i].get(x0);
      upper[i].get(x1);
      opmath_t slope = 0 * samples[i].fraction;  // NaN for a NaN offset
#pragma unroll
      for (int c = 0; c < kChannels; ++c) slope += g[c] * (x1[c] - x0[c]);
      slopes[i] = static_cast<offset_t>(slope);
    }
    store_tokens(grad_offset, column.stride, first, end, slopes);

    for (unsigned turn = 0; turn < blockDim.y; ++turn) {
      if (turn == threadIdx.y) {
#pragma unroll
        for (int i = 0; i < kCount; ++i) {
          sum_t* const row = sums + samples[i].lower * sum_stride;
          const bool has_lower = kStaged || samples[i].has_lower();
          const bool has_upper = kStaged || samples[i].has_upper(end);
          // Both are read before either is written: one wait instead of two.
          sum_t lower_sum{}, upper_sum{};
          if (has_lower) lower_sum = row[0];
          if (has_upper) upper_sum = row[sum_stride];
          opmath_t g[kChannels], s0[kChannels], s1[kChannels];
          grads[i].get(g);
          lower_sum.get(s0);
          upper_sum.get(s1);
#pragma unroll
          for (int c = 0; c < kChannels; ++c) {
            s0[c] += (1 - samples[i].fraction) * g[c];
            s1[c] += samples[i].fraction * g[c];
          }
          lower_sum.set(s0);
          upper_sum.set(s1);
          if (has_lower) row[0] = lower_sum;
          if (has_upper) row[sum_stride] = upper_sum;
        }
      }
      __syncthreads();
    }
  }

  if constexpr (kStaged) {
    auto* target = reinterpret_cast<vector_t*>(grad_input) + column.vector;
    vector_t* to = target + threadIdx.y * column.stride;
#pragma unroll 4
    for (int token = threadIdx.y; token < end; token += blockDim.y) {
      opmath_t values[kChannels];
      vector_t result;
      sums[token * sum_stride].get(values);
      result.set(values);
      *to = result;
      to += blockDim.y * column.stride;
    }
  }
}

// What a block gets without asking. Several such blocks fit on a multiprocessor, so that some
// compute while others wait for memory.
constexpr int64_t kDefaultSharedBytes = 48 * 1024;

// How a kernel is spread over the GPU.
struct Launch {
  int64_t blocks;
  dim3 threads;
  int64_t shared_bytes;  // 0: not even one column fits into shared memory
  int64_t max_shared_bytes;  // what the device grants a block at most
};

int64_t device_attribute(cudaDeviceAttr attribute) {
  int device = 0, value = 0;
  STD_CUDA_CHECK(cudaGetDevice(&device));
  STD_CUDA_CHECK(cudaDeviceGetAttribute(&value, attribute, device));
  return value;
}

// Shapes a block for columns of vectors of `scalar_t`, which are kept as `shared_t` in shared
// memory.
template <int kChannels, typename scalar_t, typename shared_t>
Launch plan(const Geometry& geometry) {
  constexpr int64_t kSectorBytes = 32;
  constexpr int64_t access_bytes = kChannels * sizeof(scalar_t);
  constexpr int64_t vector_bytes = kChannels * sizeof(shared_t);
  const int64_t max_bytes = device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  const int64_t processors = device_attribute(cudaDevAttrMultiProcessorCount);
  const Lines& lines = geometry.lines;
  const int64_t columns = lines.count * geometry.groups * geometry.parts_per_group;
  const int64_t column_bytes = (lines.length + kPaddingRows) * vector_bytes;

  int64_t width = 32;
  // Blocks read whole sectors of device memory. Only where the lines would else not fit into
  // shared memory they read parts, and leave the rest in the cache for other blocks.
  while (width * column_bytes > kDefaultSharedBytes && width * access_bytes > kSectorBytes) {
    width /= 2;
  }
  while (width * column_bytes > max_bytes && width * vector_bytes > kSectorBytes) width /= 2;
  const bool is_staged = width * column_bytes <= max_bytes;
  if (!is_staged) width = 32;
  // Few columns: narrow blocks, to occupy all multiprocessors. Many: several tokens for each
  // thread, to divide the work of finding its column.
  int64_t tokens = 2 * kTokens<kChannels>;
  while (width > 8 && columns < 2 * processors * width) {
    width /= 2;
    tokens = kTokens<kChannels>;
  }
  const int64_t height = std::min((lines.length + tokens - 1) / tokens, kMaxThreads / width);
  return {
      (columns + width - 1) / width, dim3(width, height), is_staged ? width * column_bytes : 0,
      max_bytes};
}

template <typename... Parameters, typename... Arguments>
void launch(
    void (*kernel)(Parameters...), const Launch& plan, int32_t device, Arguments... arguments) {
  STD_TORCH_CHECK(
      plan.blocks <= std::numeric_limits<int>::max(), "input is too large for one CUDA grid");
  if (plan.shared_bytes > kDefaultSharedBytes) {
    // Always the maximum: another thread may launch the kernel between these two calls.
    STD_CUDA_CHECK(cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, plan.max_shared_bytes));
  }
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(plan.blocks);
  config.blockDim = plan.threads;
  config.dynamicSmemBytes = plan.shared_bytes;
  void* stream = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
  config.stream = static_cast<cudaStream_t>(stream);
  STD_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, arguments...));
}

// The longest vectors that divide the channels of a group and are aligned in the tensors.
int vector_length(
    int64_t group_size, ScalarType dtype, std::initializer_list<const void*> tensors) {
  const bool is_double = dtype == ScalarType::Double;
  const int64_t element_size = is_double ? 8 : dtype == ScalarType::Float ? 4 : 2;
  int length = is_double ? kMaxChannels<double> : kMaxChannels<float>;
  const auto is_aligned = [&](const void* tensor) {
    const int64_t bytes = std::min<int64_t>(16, length * element_size);
    return reinterpret_cast<uintptr_t>(tensor) % bytes == 0;
  };
  while (group_size % length != 0 || !std::all_of(tensors.begin(), tensors.end(), is_aligned)) {
    MMACTIVE_CHECK_VALUE(length > 1, "tensors must be aligned to their elements");
    length /= 2;
  }
  return length;
}

template <int kChannels, typename Function>
void dispatch_vector_length(int length, Function function) {
  if (length == kChannels) {
    function(std::integral_constant<int, kChannels>());
  } else if constexpr (kChannels > 1) {
    dispatch_vector_length<kChannels / 2>(length, function);
  }
}

// Calls `function` with a value of the dtypes of `input` and `offset`, of which float64 needs a
// float64 input, and the vector length as a constant.
template <typename Function>
void dispatch(const Tensor& input, const Tensor& offset, int length, Function function) {
  MMACTIVE_DISPATCH(input.scalar_type(), "axial_deform_gather", [&] {
    dispatch_vector_length<kMaxChannels<scalar_t>>(length, [&](auto constant) {
      if (sizeof(scalar_t) == 2 && offset.scalar_type() == ScalarType::Float) {
        function(scalar_t(), opmath_type<scalar_t>(), constant);
      } else {
        function(scalar_t(), scalar_t(), constant);
      }
    });
  });
}

Geometry make_geometry(const Shape& shape, ScalarType dtype, int64_t dim, int vector_length) {
  const Lines lines(shape, dim);
  // float32 counts no further; double would, but tokens of a line are ints.
  const int bits = dtype == ScalarType::Double ? 30 : 24;
  MMACTIVE_CHECK_VALUE(
      lines.length <= 1 << bits, "input must have at most 2**", bits, " tokens along dim, but got ",
      lines.length);
  return {lines, shape.groups, shape.group_size() / vector_length, shape.offset_stride};
}

Tensor axial_deform_gather(const Tensor& input, const Tensor& offset, int64_t dim) {
  Shape shape = check_arguments(input, offset, dim);
  const ScalarType dtype = input.scalar_type();
  const int32_t device = input.get_device_index();
  const torch::stable::accelerator::DeviceGuard guard(device);
  if (offset.scalar_type() == ScalarType::Double && dtype != ScalarType::Double) {
    return as_dtype(axial_deform_gather(as_dtype(input, ScalarType::Double), offset, dim), dtype);
  }
  const Tensor output = empty(shape.input_sizes(), dtype, input);
  if (shape.elements() == 0) return output;

  const Tensor source = as_contiguous(input), offsets = as_tokens(offset, shape);
  const int vector =
      vector_length(shape.group_size(), dtype, {source.const_data_ptr(), output.const_data_ptr()});
  const Geometry geometry = make_geometry(shape, dtype, dim, vector);

  dispatch(source, offsets, vector, [&](auto scalar, auto wide, auto constant) {
    using scalar_t = decltype(scalar);
    using offset_t = decltype(wide);
    constexpr int kChannels = decltype(constant)::value;
    Launch grid = plan<kChannels, scalar_t, scalar_t>(geometry);
    auto* kernel = forward_kernel<scalar_t, offset_t, kChannels, true>;
    if (grid.shared_bytes == 0) {
      kernel = forward_kernel<scalar_t, offset_t, kChannels, false>;
      const int64_t tokens = grid.threads.y * kTokens<kChannels>;
      grid.blocks *= (geometry.lines.length + tokens - 1) / tokens;
    }
    launch(
        kernel, grid, device, data<scalar_t>(source), data<offset_t>(offsets),
        mutable_data<scalar_t>(output), geometry);
  });
  return output;
}

std::tuple<Tensor, Tensor> axial_deform_gather_backward(
    const Tensor& grad_output, const Tensor& input, const Tensor& offset, int64_t dim) {
  Shape shape = check_arguments(input, offset, dim);
  check_grad_output(grad_output, input);
  const ScalarType dtype = input.scalar_type(), offset_dtype = offset.scalar_type();
  const int32_t device = input.get_device_index();
  const torch::stable::accelerator::DeviceGuard guard(device);
  if (offset_dtype == ScalarType::Double && dtype != ScalarType::Double) {
    const auto [grad_input, grad_offset] = axial_deform_gather_backward(
        as_dtype(grad_output, ScalarType::Double), as_dtype(input, ScalarType::Double), offset,
        dim);
    return {as_dtype(grad_input, dtype), grad_offset};
  }
  Tensor grad_input = empty(shape.input_sizes(), dtype, input);
  if (shape.elements() == 0) {
    return {grad_input, zeros(shape.offset_sizes(), offset.scalar_type(), offset)};
  }

  const Tensor grad = as_contiguous(grad_output), source = as_contiguous(input);
  Tensor offsets = as_tokens(offset, shape);
  const int vector = vector_length(
      shape.group_size(), dtype,
      {source.const_data_ptr(), grad.const_data_ptr(), grad_input.const_data_ptr()});
  // Several columns share an offset: each computes a part of its gradient, in full precision.
  const bool is_split = vector < shape.group_size();
  if (is_split) {
    offsets = as_contiguous(as_dtype(offsets, opmath_dtype(offset_dtype)));
    shape.offset_stride = shape.groups;
  }
  const Geometry geometry = make_geometry(shape, dtype, dim, vector);
  const auto [n, h, w, groups] = shape.offset_sizes();
  Tensor grad_offset = is_split
      ? empty<5>({n, h, w, groups, geometry.parts_per_group}, offsets.scalar_type(), offsets)
      : empty(shape.offset_sizes(), offset_dtype, offsets);

  dispatch(source, offsets, vector, [&](auto scalar, auto wide, auto constant) {
    using scalar_t = decltype(scalar);
    using offset_t = decltype(wide);
    using opmath_t = opmath_type<scalar_t>;
    constexpr int kChannels = decltype(constant)::value;
    const Launch grid = plan<kChannels, scalar_t, opmath_t>(geometry);
    const auto run = [&](auto* kernel, auto* sums) {
      launch(
          kernel, grid, device, data<scalar_t>(grad), data<scalar_t>(source),
          data<offset_t>(offsets), sums, mutable_data<offset_t>(grad_offset), geometry);
    };
    if (grid.shared_bytes > 0) {
      run(backward_kernel<scalar_t, offset_t, kChannels, true>, mutable_data<scalar_t>(grad_input));
    } else {
      grad_input = zeros(shape.input_sizes(), opmath_dtype(dtype), input);
      run(backward_kernel<scalar_t, offset_t, kChannels, false>,
          mutable_data<opmath_t>(grad_input));
    }
  });
  if (is_split) {
    const int64_t last = 4;
    grad_offset = as_dtype(torch::stable::sum(grad_offset, Sizes(&last, 1)), offset_dtype);
  }
  return {as_dtype(grad_input, dtype), grad_offset};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mmactive, CUDA, m) {
  m.impl("axial_deform_gather", TORCH_BOX(&axial_deform_gather));
  m.impl("axial_deform_gather_backward", TORCH_BOX(&axial_deform_gather_backward));
}

}  // namespace mmactive
