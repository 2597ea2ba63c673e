// Copyright (c) mmactive contributors. All rights reserved.
// CPU kernels of the ATM operator: the definition is in ../../axial_deform_gather.py.
//
// A tile is a few neighbouring lines of the axis, or some of the channels of one. It is copied to
// a buffer that stays in the cache, in at least float32, with rows of zeros at both ends, and all
// that its tokens gather comes from there. In the backward pass its gradient is summed up in a
// second such buffer. Tiles share nothing, and one thread works through a tile in order, so the
// result is the same for any number of threads.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <tuple>
#include <type_traits>

#include "../arguments.h"
#include "tiling.h"

// How vectors are passed to a function does not matter where all of them are inlined.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace mmactive {
namespace {

template <typename opmath_t>
struct RowKernels {
  // Computes `output`, one token, from `values`, its line's first row.
  void (*gather)(
      const TileShape& tile, const opmath_t* values, int64_t token, const opmath_t* offset,
      opmath_t* output);
  // Adds to `grad_values`, which is laid out like `values`, and computes `grad_offset`.
  void (*scatter)(
      const TileShape& tile, const opmath_t* values, int64_t token, const opmath_t* offset,
      const opmath_t* grad_output, opmath_t* grad_values, opmath_t* grad_offset);
};

namespace baseline {
#define MMACTIVE_TARGET
#include "axial_deform_gather_rows.h"
#undef MMACTIVE_TARGET
}  // namespace baseline

#if defined(__x86_64__)
namespace avx2 {
#define MMACTIVE_TARGET __attribute__((target("avx2,fma")))
#include "axial_deform_gather_rows.h"
#undef MMACTIVE_TARGET
}  // namespace avx2
#endif

#if defined(__x86_64__)
// As PyTorch does, which ATEN_CPU_CAPABILITY=default keeps from it.
bool use_avx2() {
  const char* capability = std::getenv("ATEN_CPU_CAPABILITY");
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      (capability == nullptr || std::strcmp(capability, "default") != 0);
}
#endif

template <typename opmath_t>
RowKernels<opmath_t> choose_kernels(int64_t group_size) {
#if defined(__x86_64__)
  static const bool has_avx2 = use_avx2();
  if (has_avx2) return avx2::row_kernels<opmath_t>(group_size);
#endif
  return baseline::row_kernels<opmath_t>(group_size);
}

// Uninitialized memory, aligned to cache lines.
template <typename element_t>
class Buffer {
 public:
  // Aligned by hand: glibc's aligned `operator new` does without its cache of small blocks, and
  // small calls feel it.
  explicit Buffer(int64_t size) : memory_(new std::byte[size * sizeof(element_t) + kAlignment]) {
    const auto address = reinterpret_cast<std::uintptr_t>(memory_.get());
    begin_ = reinterpret_cast<element_t*>((address + kAlignment - 1) / kAlignment * kAlignment);
  }

  element_t* get() const { return begin_; }

 private:
  static constexpr size_t kAlignment = 64;

  std::unique_ptr<std::byte[]> memory_;
  element_t* begin_;
};

template <typename from_t, typename to_t>
void convert(const from_t* source, int64_t size, to_t* target) {
  for (int64_t i = 0; i < size; ++i) target[i] = static_cast<to_t>(source[i]);
}

// Elements as opmath_t: where they are, or converted to `scratch`.
template <typename opmath_t, typename element_t>
const opmath_t* read_row(const element_t* source, int64_t size, opmath_t* scratch) {
  if constexpr (std::is_same_v<opmath_t, element_t>) {
    return source;
  } else {
    convert(source, size, scratch);
    return scratch;
  }
}

// Lets `compute` write elements as opmath_t and converts them if need be.
template <typename opmath_t, typename element_t, typename Function>
void write_row(element_t* target, int64_t size, opmath_t* scratch, Function compute) {
  if constexpr (std::is_same_v<opmath_t, element_t>) {
    compute(target);
  } else {
    compute(scratch);
    convert(scratch, size, target);
  }
}

template <typename element_t>
void prefetch(const element_t* source, int64_t size) {
  constexpr int64_t kCacheLine = 64 / sizeof(element_t);
  for (int64_t i = 0; i < size; i += kCacheLine) __builtin_prefetch(source + i);
}

// A tile's rows, those of the line between those of zeros.
template <typename opmath_t>
class Rows {
 public:
  explicit Rows(const Tiling& tiling) : size_(tiling.row_size()), buffer_(tiling.buffer_size()) {
    std::fill_n(buffer_.get(), kRowsBefore * size_, opmath_t(0));
    std::fill_n((*this)[tiling.lines.length], kRowsBehind * size_, opmath_t(0));
  }

  // The row of a token of the line.
  opmath_t* operator[](int64_t i) const { return buffer_.get() + (kRowsBefore + i) * size_; }

  // All rows of one line.
  opmath_t* line(int64_t column, const Tile& tile) const {
    return buffer_.get() + column * tile.channels();
  }

 private:
  int64_t size_;
  Buffer<opmath_t> buffer_;
};

// How many tokens ahead memory is asked for what is read in strides.
constexpr int64_t kAhead = 4;

template <typename scalar_t, typename offset_t>
void forward_kernel(
    const Tiling& tiling, const scalar_t* input, const offset_t* offset, scalar_t* output) {
  using opmath_t = opmath_type<scalar_t>;
  const auto kernels = choose_kernels<opmath_t>(tiling.group_size);
  const int64_t length = tiling.lines.length;
  tiling.for_each_range([&](int64_t begin, int64_t end) {
    const Rows<opmath_t> values(tiling);
    const Buffer<opmath_t> offset_row(tiling.tile_groups), output_row(tiling.row_size());
    for (int64_t index = begin; index < end; ++index) {
      const Tile tile(tiling, index), next(tiling, std::min(index + 1, end - 1));
      const int64_t size = tile.columns * tile.channels();
      for (int64_t i = 0; i < length; ++i) {
        convert(input + tile.channel(tile.token(i, 0)), size, values[i]);
      }
      for (int64_t i = 0; i < length; ++i) {
        prefetch(input + next.channel(next.token(i, 0)), size);
        for (int64_t column = 0; column < tile.columns; ++column) {
          const int64_t token = tile.token(i, column);
          const int64_t later = tile.token(std::min(i + kAhead, length - 1), column);
          prefetch(offset + tile.offset(later), tile.shape.groups);
          const opmath_t* offsets =
              read_row(offset + tile.offset(token), tile.shape.groups, offset_row.get());
          write_row(
              output + tile.channel(token), tile.channels(), output_row.get(),
              [&](opmath_t* target) {
                kernels.gather(tile.shape, values.line(column, tile), i, offsets, target);
              });
        }
      }
    }
  });
}

template <typename scalar_t, typename offset_t>
void backward_kernel(
    const Tiling& tiling, const scalar_t* grad_output, const scalar_t* input,
    const offset_t* offset, scalar_t* grad_input, offset_t* grad_offset) {
  using opmath_t = opmath_type<scalar_t>;
  const auto kernels = choose_kernels<opmath_t>(tiling.group_size);
  const int64_t length = tiling.lines.length;
  tiling.for_each_range([&](int64_t begin, int64_t end) {
    const Rows<opmath_t> values(tiling), sums(tiling);
    const Buffer<opmath_t> offset_row(tiling.tile_groups), slope_row(tiling.tile_groups),
        grad_row(tiling.row_size());
    for (int64_t index = begin; index < end; ++index) {
      const Tile tile(tiling, index), next(tiling, std::min(index + 1, end - 1));
      const int64_t size = tile.columns * tile.channels();
      for (int64_t i = 0; i < length; ++i) {
        convert(input + tile.channel(tile.token(i, 0)), size, values[i]);
      }
      std::fill_n(sums[0], length * tile.shape.stride, opmath_t(0));
      for (int64_t i = 0; i < length; ++i) {
        prefetch(input + next.channel(next.token(i, 0)), size);
        for (int64_t column = 0; column < tile.columns; ++column) {
          const int64_t token = tile.token(i, column);
          const int64_t later = tile.token(std::min(i + kAhead, length - 1), column);
          prefetch(offset + tile.offset(later), tile.shape.groups);
          prefetch(grad_output + tile.channel(later), tile.channels());
          const opmath_t* offsets =
              read_row(offset + tile.offset(token), tile.shape.groups, offset_row.get());
          const opmath_t* grads =
              read_row(grad_output + tile.channel(token), tile.channels(), grad_row.get());
          write_row(
              grad_offset + tile.grad_offset(token), tile.shape.groups, slope_row.get(),
              [&](opmath_t* slopes) {
                kernels.scatter(
                    tile.shape, values.line(column, tile), i, offsets, grads,
                    sums.line(column, tile), slopes);
              });
        }
      }
      for (int64_t i = 0; i < length; ++i) {
        convert(sums[i], size, grad_input + tile.channel(tile.token(i, 0)));
      }
    }
  });
}

// Calls `function` with a value of the dtypes of `input` and `offset`, of which float64 needs a
// float64 input.
template <typename Function>
void dispatch(const Tensor& input, const Tensor& offset, Function function) {
  MMACTIVE_DISPATCH(input.scalar_type(), "axial_deform_gather", [&] {
    if (sizeof(scalar_t) == 2 && offset.scalar_type() == ScalarType::Float) {
      function(scalar_t(), opmath_type<scalar_t>());
    } else {
      function(scalar_t(), scalar_t());
    }
  });
}

Tensor axial_deform_gather(const Tensor& input, const Tensor& offset, int64_t dim) {
  Shape shape = check_arguments(input, offset, dim);
  const ScalarType dtype = input.scalar_type();
  if (offset.scalar_type() == ScalarType::Double && dtype != ScalarType::Double) {
    return as_dtype(axial_deform_gather(as_dtype(input, ScalarType::Double), offset, dim), dtype);
  }
  const Tensor output = empty(shape.input_sizes(), dtype, input);
  if (shape.elements() == 0) return output;

  const Tensor source = as_contiguous(input), offsets = as_tokens(offset, shape);
  dispatch(source, offsets, [&](auto scalar, auto wide) {
    using scalar_t = decltype(scalar);
    using offset_t = decltype(wide);
    forward_kernel(
        Tiling(shape, dim, sizeof(opmath_type<scalar_t>)), data<scalar_t>(source),
        data<offset_t>(offsets), mutable_data<scalar_t>(output));
  });
  return output;
}

std::tuple<Tensor, Tensor> axial_deform_gather_backward(
    const Tensor& grad_output, const Tensor& input, const Tensor& offset, int64_t dim) {
  Shape shape = check_arguments(input, offset, dim);
  check_grad_output(grad_output, input);
  const ScalarType dtype = input.scalar_type();
  if (offset.scalar_type() == ScalarType::Double && dtype != ScalarType::Double) {
    const auto [grad_input, grad_offset] = axial_deform_gather_backward(
        as_dtype(grad_output, ScalarType::Double), as_dtype(input, ScalarType::Double), offset,
        dim);
    return {as_dtype(grad_input, dtype), grad_offset};
  }
  const Tensor grad_input = empty(shape.input_sizes(), dtype, input);
  if (shape.elements() == 0) {
    return {grad_input, zeros(shape.offset_sizes(), offset.scalar_type(), offset)};
  }
  const Tensor grad_offset = empty(shape.offset_sizes(), offset.scalar_type(), offset);

  const Tensor grads = as_contiguous(grad_output), source = as_contiguous(input),
               offsets = as_tokens(offset, shape);
  dispatch(source, offsets, [&](auto scalar, auto wide) {
    using scalar_t = decltype(scalar);
    using offset_t = decltype(wide);
    backward_kernel(
        Tiling(shape, dim, sizeof(opmath_type<scalar_t>)), data<scalar_t>(grads),
        data<scalar_t>(source), data<offset_t>(offsets), mutable_data<scalar_t>(grad_input),
        mutable_data<offset_t>(grad_offset));
  });
  return {grad_input, grad_offset};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mmactive, CPU, m) {
  m.impl("axial_deform_gather", TORCH_BOX(&axial_deform_gather));
  m.impl("axial_deform_gather_backward", TORCH_BOX(&axial_deform_gather_backward));
}

}  // namespace mmactive
