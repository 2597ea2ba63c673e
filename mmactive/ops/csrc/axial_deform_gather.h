// Copyright (c) mmactive contributors. All rights reserved.
// Index and interpolation arithmetic of the ATM operator, the same for every backend. Needs
// neither PyTorch nor CUDA.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <type_traits>

#if defined(__CUDACC__)
#define MMACTIVE_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define MMACTIVE_HOST_DEVICE inline
#endif

namespace mmactive {

// Where a sampling position falls between two neighbours on the axis.
template <typename opmath_t, typename index_t>
struct Sample {
  index_t lower = -2;  // the lower neighbour; -1: only the upper one exists; -2: neither does
  opmath_t fraction = 0;  // weight of the upper neighbour; NaN for a NaN position

  Sample() = default;

  // Without branches, so that a compiler can interleave or vectorize several samples.
  MMACTIVE_HOST_DEVICE Sample(opmath_t position, index_t length) {
    const bool outside = position <= opmath_t(-1) || position >= static_cast<opmath_t>(length);
    const opmath_t inside = outside ? opmath_t(-2) : position;  // finite or NaN
    const opmath_t floor = std::floor(inside);
    lower = std::isnan(inside) ? index_t(-2) : static_cast<index_t>(floor);
    fraction = inside - floor;
  }

  MMACTIVE_HOST_DEVICE bool has_lower() const { return lower >= 0; }

  MMACTIVE_HOST_DEVICE bool has_upper(index_t length) const {
    using unsigned_t = std::make_unsigned_t<index_t>;  // -1 is beyond any length
    return static_cast<unsigned_t>(lower + 1) < static_cast<unsigned_t>(length);
  }
};

// The sizes of an input (N, H, W, C) and of its offsets (N, H, W, G).
struct Shape {
  int64_t batch, height, width, channels, groups;
  int64_t offset_stride;  // from the offsets of one token to those of the next

  std::array<int64_t, 4> input_sizes() const { return {batch, height, width, channels}; }
  std::array<int64_t, 4> offset_sizes() const { return {batch, height, width, groups}; }
  int64_t elements() const { return batch * height * width * channels; }
  int64_t group_size() const { return channels / groups; }  // channels that share an offset
};

struct Division {
  int64_t quotient, remainder;
};

// Divides two non-negative numbers. A GPU divides 32-bit numbers several times faster than 64-bit
// ones, and columns seldom count more.
MMACTIVE_HOST_DEVICE Division divide(int64_t dividend, int64_t divisor) {
  if (divisor == 1) return {dividend, 0};
  const int64_t quotient = (dividend | divisor) >> 32 == 0
      ? static_cast<uint32_t>(dividend) / static_cast<uint32_t>(divisor)
      : dividend / divisor;
  return {quotient, dividend - quotient * divisor};
}

// The tokens of an (N, H, W, ...) tensor as lines along an axis, counted in the order in which
// their first tokens lie in memory. Token n, h, w has number (n * H + h) * W + w.
struct Lines {
  int64_t count;  // lines
  int64_t length;  // tokens of a line
  int64_t stride;  // from one token of a line to the next

  // `dim` is 1 or 2, or -3 or -2.
  Lines(const Shape& shape, int64_t dim) {
    const bool vertical = dim == 1 || dim == -3;
    count = shape.batch * (vertical ? shape.width : shape.height);
    length = vertical ? shape.height : shape.width;
    stride = vertical ? shape.width : 1;
  }

  MMACTIVE_HOST_DEVICE int64_t first_token(int64_t line) const {
    const Division image = divide(line, stride);
    return image.quotient * length * stride + image.remainder;
  }
};

}  // namespace mmactive
