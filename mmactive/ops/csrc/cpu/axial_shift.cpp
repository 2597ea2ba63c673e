// Copyright (c) mmactive contributors. All rights reserved.
// CPU kernels of the shift: the definition is in ../../axial_shift.py.
//
// A token of the result is put together from as many tokens of the source as there are shifts,
// each under a mask of its channels. Where nothing is summed up, bytes are moved.
#include <cstring>
#include <map>
#include <vector>

#include "../axial_shift.h"

// The compiler adds a version for longer vectors, and the processor chooses.
#if defined(__x86_64__) && defined(__gnu_linux__)
#define MMACTIVE_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define MMACTIVE_CLONES
#endif

namespace mmactive {
namespace {

// The channels of one shift.
struct Group {
  int64_t shift;
  int64_t first;  // the first of its channels
  std::vector<unsigned char> mask;  // the bytes of its channels, and of those between them
};

std::vector<Group> make_groups(const std::vector<int64_t>& shifts, int64_t element_size) {
  std::map<int64_t, std::vector<int64_t>> channels;
  for (size_t c = 0; c < shifts.size(); ++c) channels[shifts[c]].push_back(c);
  std::vector<Group> groups;
  for (const auto& [shift, members] : channels) {
    const int64_t first = members.front(), size = members.back() + 1 - first;
    Group group{shift, first, std::vector<unsigned char>(size * element_size, 0)};
    for (const int64_t c : members) {
      std::fill_n(group.mask.begin() + (c - first) * element_size, element_size, 0xff);
    }
    groups.push_back(std::move(group));
  }
  return groups;
}

// Copies bytes under a mask to where there are zeros.
MMACTIVE_CLONES void copy_masked(
    const unsigned char* __restrict__ mask, const unsigned char* __restrict__ source,
    unsigned char* __restrict__ target, int64_t size) {
  for (int64_t i = 0; i < size; ++i) target[i] |= mask[i] & source[i];
}

// Sums up channels of several tokens that lie `stride` apart.
template <typename scalar_t>
void sum_masked(
    const Group& group, const scalar_t* source, int64_t stride, int64_t tokens, scalar_t* target) {
  const int64_t size = group.mask.size() / sizeof(scalar_t);
  for (int64_t c = 0; c < size; ++c) {
    if (!group.mask[c * sizeof(scalar_t)]) continue;
    opmath_type<scalar_t> sum = 0;
    for (int64_t i = 0; i < tokens; ++i) {
      sum += static_cast<opmath_type<scalar_t>>(source[i * stride + c]);
    }
    target[c] = static_cast<scalar_t>(sum);
  }
}

template <typename scalar_t, bool kIsGradient>
void shift_kernel(
    const scalar_t* source, const std::vector<int64_t>& shifts, const Shape& shape, int64_t dim,
    bool border, scalar_t* target) {
  const Lines lines(shape, dim);
  const auto groups = make_groups(shifts, sizeof(scalar_t));
  const int64_t channels = shape.channels, stride = lines.stride * channels;
  const int64_t tokens = shape.batch * shape.height * shape.width;
  torch::stable::parallel_for(0, tokens, 1 + 32768 / channels, [&](int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; ++token) {
      const int64_t position = token / lines.stride % lines.length;
      const scalar_t* line = source + token * channels - position * stride;
      std::memset(target + token * channels, 0, channels * sizeof(scalar_t));
      for (const Group& group : groups) {
        const Range range = source_of<kIsGradient>(position, group.shift, lines.length, border);
        const int64_t count = range.end - range.begin;
        if (count <= 0) continue;
        const scalar_t* from = line + range.begin * stride + group.first;
        scalar_t* to = target + token * channels + group.first;
        if (count == 1) {
          copy_masked(
              group.mask.data(), reinterpret_cast<const unsigned char*>(from),
              reinterpret_cast<unsigned char*>(to), group.mask.size());
        } else {
          sum_masked(group, from, stride, count, to);
        }
      }
    }
  });
}

template <bool kIsGradient>
Tensor shift(const Tensor& input, std::vector<int64_t> shifts, int64_t dim, bool border) {
  const Shape shape = check_shift(input, shifts, dim);
  const Tensor output = empty(shape.input_sizes(), input.scalar_type(), input);
  if (shape.elements() == 0) return output;
  const Tensor source = as_contiguous(input);
  const auto run = [&](auto scalar) {
    using scalar_t = decltype(scalar);
    shift_kernel<scalar_t, kIsGradient>(
        data<scalar_t>(source), shifts, shape, dim, border, mutable_data<scalar_t>(output));
  };
  MMACTIVE_DISPATCH(source.scalar_type(), "axial_shift", [&] { run(scalar_t()); });
  return output;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(mmactive, CPU, m) {
  m.impl("axial_shift", TORCH_BOX(&shift<false>));
  m.impl("axial_shift_backward", TORCH_BOX(&shift<true>));
}

}  // namespace mmactive
