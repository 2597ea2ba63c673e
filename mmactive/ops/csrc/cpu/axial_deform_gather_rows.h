// Copyright (c) mmactive contributors. All rights reserved.
// What one token of a tile gathers, and what it scatters back.
//
// axial_deform_gather.cpp includes this file once for each instruction set, in a namespace of its
// own and with MMACTIVE_TARGET as the attribute that selects the set; hence no include guard. The
// vectors are those of GCC and Clang, which fit them to any instruction set.

#define MMACTIVE_INLINE MMACTIVE_TARGET __attribute__((always_inline)) inline

// Eight elements of two vectors.
#if defined(__clang__)
#define MMACTIVE_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define MMACTIVE_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Vector<int32_t, 8>{__VA_ARGS__})
#endif

template <typename element_t, int kSize>
struct VectorOf {
  typedef element_t type __attribute__((vector_size(kSize * sizeof(element_t))));
};

template <typename element_t, int kSize>
using Vector = typename VectorOf<element_t, kSize>::type;

// Samples that are located at a time.
template <typename opmath_t>
constexpr int kLanes = 32 / sizeof(opmath_t);

template <typename vector_t>
MMACTIVE_INLINE vector_t load(const void* source) {
  vector_t vector;
  std::memcpy(&vector, source, sizeof(vector));
  return vector;
}

template <typename vector_t>
MMACTIVE_INLINE void store(void* target, const vector_t& vector) {
  std::memcpy(target, &vector, sizeof(vector));
}

// Where the samples of up to kCapacity groups of a token lie in a tile.
template <typename opmath_t>
struct Samples {
  static constexpr int kCapacity = 64;

  alignas(64) int32_t index[kCapacity];  // of the lower neighbour's first channel
  alignas(64) opmath_t fraction[kCapacity];  // weight of the upper neighbour

  // Sample in ../axial_deform_gather.h for several groups at once. Samples outside of the line
  // move to where both neighbours are rows of zeros.
  MMACTIVE_INLINE void locate(
      const TileShape& tile, opmath_t token, const opmath_t* offset, int count) {
    constexpr int kCount = kLanes<opmath_t>;
    using real_t = Vector<opmath_t, kCount>;
    using index_t = Vector<int32_t, kCount>;
    const real_t length = real_t{} + static_cast<opmath_t>(tile.length);
    const real_t outside = real_t{} - 2;
    const index_t stride = index_t{} + static_cast<int32_t>(tile.stride);
    index_t first = index_t{};  // channel of the group, in the row of token 0
    for (int lane = 0; lane < kCount; ++lane) first[lane] = lane * tile.group_size;
    first += kRowsBefore * stride;

    for (int k = 0; k < count; k += kCount) {
      real_t offsets{};
      if (count - k >= kCount) {
        offsets = load<real_t>(offset + k);
      } else {
        for (int lane = 0; lane < count - k; ++lane) offsets[lane] = offset[k + lane];
      }
      const real_t position = offsets + token;
      real_t inside = position < length ? position : length;  // NaN: length
      inside = inside > -1 ? inside : outside;
      index_t lower = __builtin_convertvector(inside, index_t);  // rounded towards zero
      lower += __builtin_convertvector(__builtin_convertvector(lower, real_t) > inside, index_t);
      const real_t weight = inside - __builtin_convertvector(lower, real_t);
      store(fraction + k, position == position ? weight : position);
      store(index + k, lower * stride + first);
      first += static_cast<int32_t>(kCount * tile.group_size);
    }
  }
};

// Pairs of channels from four places.
MMACTIVE_INLINE Vector<float, 8> load_pairs(const float* source, const int32_t* index) {
  // Each pair moves as one number.
  return (Vector<float, 8>)Vector<double, 4>{
      load<double>(source + index[0]), load<double>(source + index[1]),
      load<double>(source + index[2]), load<double>(source + index[3])};
}

MMACTIVE_INLINE void store_pairs(
    float* target, const int32_t* index, const Vector<float, 8>& vector) {
  const auto pairs = (Vector<double, 4>)vector;
  for (int k = 0; k < 4; ++k) store<double>(target + index[k], pairs[k]);
}

// Weights of pairs 0 to 3, or 4 to 7, from those of eight pairs.
MMACTIVE_INLINE Vector<float, 8> repeat_twice(const Vector<float, 8>& v, int half) {
  return half == 0 ? MMACTIVE_SHUFFLE(v, v, 0, 0, 1, 1, 2, 2, 3, 3)
                   : MMACTIVE_SHUFFLE(v, v, 4, 4, 5, 5, 6, 6, 7, 7);
}

// A vector of the sums of four vectors.
MMACTIVE_INLINE Vector<float, 4> sum_each(
    Vector<float, 4> a, Vector<float, 4> b, Vector<float, 4> c, Vector<float, 4> d) {
  using vector_t = Vector<float, 4>;
  const vector_t ab = vector_t{a[0], b[0], a[1], b[1]} + vector_t{a[2], b[2], a[3], b[3]};
  const vector_t cd = vector_t{c[0], d[0], c[1], d[1]} + vector_t{c[2], d[2], c[3], d[3]};
  return vector_t{ab[0], ab[1], cd[0], cd[1]} + vector_t{ab[2], ab[3], cd[2], cd[3]};
}

MMACTIVE_INLINE Vector<float, 4> fold(const Vector<float, 4>& v) {
  return v;
}

MMACTIVE_INLINE Vector<float, 4> fold(const Vector<float, 8>& v) {
  using vector_t = Vector<float, 4>;
  return vector_t{v[0], v[1], v[2], v[3]} + vector_t{v[4], v[5], v[6], v[7]};
}

// kGroupSize: the channels of a group if there are fast kernels for that number, else 0.
template <typename opmath_t, int kGroupSize>
MMACTIVE_TARGET void gather(
    const TileShape& tile, const opmath_t* values, int64_t token, const opmath_t* offset,
    opmath_t* __restrict__ output) {
  const int64_t group_size = kGroupSize ? kGroupSize : tile.group_size;
  Samples<opmath_t> samples;
  for (int64_t begin = 0; begin < tile.groups; begin += samples.kCapacity) {
    const int count = std::min<int64_t>(samples.kCapacity, tile.groups - begin);
    samples.locate(tile, token, offset + begin, count);
    const opmath_t* lower = values + begin * group_size;
    const opmath_t* upper = lower + tile.stride;
    opmath_t* target = output + begin * group_size;

    int k = 0;
    if constexpr (kGroupSize == 2) {
      for (; k + 8 <= count; k += 8) {
        const auto fraction = load<Vector<float, 8>>(samples.fraction + k);
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
          const int32_t* index = samples.index + k + 4 * half;
          const auto weight = repeat_twice(fraction, half);
          store(
              target + 2 * k + 8 * half,
              (1 - weight) * load_pairs(lower, index) + weight * load_pairs(upper, index));
        }
      }
    } else if constexpr (kGroupSize > 0) {
      using vector_t = Vector<opmath_t, kGroupSize>;
#pragma GCC unroll 4
      for (; k < count; ++k) {
        const int64_t index = samples.index[k];
        const vector_t weight = samples.fraction[k] - vector_t{};
        store(
            target + k * kGroupSize,
            (1 - weight) * load<vector_t>(lower + index) + weight * load<vector_t>(upper + index));
      }
    }
    for (; k < count; ++k) {
      const int64_t index = samples.index[k];
      const opmath_t weight = samples.fraction[k];
      for (int64_t c = 0; c < group_size; ++c) {
        target[k * group_size + c] = (1 - weight) * lower[index + c] + weight * upper[index + c];
      }
    }
  }
}

template <typename opmath_t, int kGroupSize>
MMACTIVE_TARGET void scatter(
    const TileShape& tile, const opmath_t* values, int64_t token, const opmath_t* offset,
    const opmath_t* grad_output, opmath_t* grad_values, opmath_t* grad_offset) {
  const int64_t group_size = kGroupSize ? kGroupSize : tile.group_size;
  Samples<opmath_t> samples;
  for (int64_t begin = 0; begin < tile.groups; begin += samples.kCapacity) {
    const int count = std::min<int64_t>(samples.kCapacity, tile.groups - begin);
    samples.locate(tile, token, offset + begin, count);
    const opmath_t* lower = values + begin * group_size;
    const opmath_t* upper = lower + tile.stride;
    opmath_t* grad_lower = grad_values + begin * group_size;
    opmath_t* grad_upper = grad_lower + tile.stride;
    const opmath_t* grad = grad_output + begin * group_size;
    opmath_t* slope = grad_offset + begin;

    int k = 0;
    if constexpr (kGroupSize == 2) {
      for (; k + 8 <= count; k += 8) {
        const auto fraction = load<Vector<float, 8>>(samples.fraction + k);
        Vector<float, 8> products[2];
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
          const int32_t* index = samples.index + k + 4 * half;
          const auto weight = repeat_twice(fraction, half);
          const auto value = load<Vector<float, 8>>(grad + 2 * k + 8 * half);
          products[half] = value * (load_pairs(upper, index) - load_pairs(lower, index));
          store_pairs(grad_lower, index, load_pairs(grad_lower, index) + (1 - weight) * value);
          store_pairs(grad_upper, index, load_pairs(grad_upper, index) + weight * value);
        }
        const auto even = MMACTIVE_SHUFFLE(products[0], products[1], 0, 2, 4, 6, 8, 10, 12, 14);
        const auto odd = MMACTIVE_SHUFFLE(products[0], products[1], 1, 3, 5, 7, 9, 11, 13, 15);
        store(slope + k, even + odd + 0 * fraction);
      }
    } else if constexpr (kGroupSize > 0) {
      using vector_t = Vector<opmath_t, kGroupSize>;
      for (; k + 4 <= count; k += 4) {
        Vector<float, 4> products[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
          const int64_t index = samples.index[k + i];
          const vector_t weight = samples.fraction[k + i] - vector_t{};
          const auto value = load<vector_t>(grad + (k + i) * kGroupSize);
          products[i] =
              fold(value * (load<vector_t>(upper + index) - load<vector_t>(lower + index)));
          store(grad_lower + index, load<vector_t>(grad_lower + index) + (1 - weight) * value);
          store(grad_upper + index, load<vector_t>(grad_upper + index) + weight * value);
        }
        store(
            slope + k,
            sum_each(products[0], products[1], products[2], products[3]) +
                0 * load<Vector<float, 4>>(samples.fraction + k));
      }
    }
    for (; k < count; ++k) {
      const int64_t index = samples.index[k];
      const opmath_t weight = samples.fraction[k];
      opmath_t sum = 0 * weight;  // NaN for a NaN offset
#pragma GCC ivdep
      for (int64_t c = 0; c < group_size; ++c) {
        const opmath_t value = grad[k * group_size + c];
        sum += value * (upper[index + c] - lower[index + c]);
        grad_lower[index + c] += (1 - weight) * value;
        grad_upper[index + c] += weight * value;
      }
      slope[k] = sum;
    }
  }
}

template <typename opmath_t>
RowKernels<opmath_t> row_kernels(int64_t group_size) {
  if constexpr (std::is_same_v<opmath_t, float>) {
    switch (group_size) {
      case 2: return {gather<float, 2>, scatter<float, 2>};
      case 4: return {gather<float, 4>, scatter<float, 4>};
      case 8: return {gather<float, 8>, scatter<float, 8>};
    }
  }
  return {gather<opmath_t, 0>, scatter<opmath_t, 0>};
}

#undef MMACTIVE_SHUFFLE
#undef MMACTIVE_INLINE
