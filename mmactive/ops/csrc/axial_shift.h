// Copyright (c) mmactive contributors. All rights reserved.
// Index arithmetic of the shift and its arguments, the same for every backend.
#pragma once

#include <algorithm>
#include <vector>

#include "arguments.h"

namespace mmactive {

// Some neighbouring tokens of a line; none if `end` is not behind `begin`.
struct Range {
  int64_t begin, end;
};

// The tokens of the source that a token of the result is the sum of. In the forward pass this is
// one, or none outside of the line. A gradient at the border is the sum over all that read there.
template <bool kIsGradient>
MMACTIVE_HOST_DEVICE Range source_of(int64_t token, int64_t shift, int64_t length, bool border) {
  const int64_t last = length - 1;
  if constexpr (kIsGradient) {
    const int64_t begin = border && token == 0 ? 0 : token - shift;
    const int64_t end = border && token == last ? length : token - shift + 1;
    return {begin > 0 ? begin : 0, end < length ? end : length};
  } else {
    int64_t source = token + shift;
    if (border) source = source < 0 ? 0 : source > last ? last : source;
    return source < 0 || source > last ? Range{0, 0} : Range{source, source + 1};
  }
}

// Checks the arguments, and brings shifts beyond the line next to its end.
inline Shape check_shift(const Tensor& input, std::vector<int64_t>& shifts, int64_t dim) {
  const Sizes x = input.sizes();
  MMACTIVE_CHECK_VALUE(x.size() == 4, "input must be (N, H, W, C), but got ", to_string(x));
  MMACTIVE_CHECK_VALUE(
      dim == 1 || dim == 2 || dim == -3 || dim == -2, "dim must be 1, 2, -3 or -2, but got ", dim);
  MMACTIVE_CHECK_VALUE(
      static_cast<int64_t>(shifts.size()) == x[3], "shifts must have a number for each of the ",
      x[3], " channels of input, but got ", shifts.size());
  check_dtype("input", input.scalar_type());
  const int64_t length = dim == 1 || dim == -3 ? x[1] : x[2];
  for (int64_t& shift : shifts) shift = std::clamp(shift, -length, length);
  return {x[0], x[1], x[2], x[3], 1, 1};
}

}  // namespace mmactive
