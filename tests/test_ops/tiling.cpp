// Copyright (c) mmactive contributors. All rights reserved.
// The index arithmetic of the CPU kernels, for tensors that no test has the memory for. A shape is
// N, H, W, C, G and what lies between the offsets of two tokens.
#include <tuple>
#include <vector>

#include "../../mmactive/ops/csrc/cpu/tiling.h"

namespace {

mmactive::Tiling make(const std::vector<int64_t>& s, int64_t dim, int64_t element_size) {
  return {{s[0], s[1], s[2], s[3], s[4], s[5]}, dim, element_size};
}

// The columns and groups of a tile.
std::tuple<int64_t, int64_t> tile_size(
    std::vector<int64_t> shape, int64_t dim, int64_t element_size) {
  const mmactive::Tiling tiling = make(shape, dim, element_size);
  return {tiling.columns, tiling.tile_groups};
}

// The columns and groups of tile `index` and, of its token at `row` and `column`, the places in
// the input, the offset and the gradient of the offset.
std::vector<int64_t> tile(
    std::vector<int64_t> shape, int64_t dim, int64_t element_size, int64_t index, int64_t row,
    int64_t column) {
  const mmactive::Tiling tiling = make(shape, dim, element_size);
  const mmactive::Tile tile(tiling, index);
  const int64_t token = tile.token(row, column);
  return {
      tile.columns, tile.shape.groups, tile.channel(token), tile.offset(token),
      tile.grad_offset(token)};
}

}  // namespace

STABLE_TORCH_LIBRARY(mmactive_tiling, m) {
  m.def("size(int[] shape, int dim, int element_size) -> (int, int)");
  m.def("tile(int[] shape, int dim, int element_size, int index, int row, int column) -> int[]");
}

STABLE_TORCH_LIBRARY_IMPL(mmactive_tiling, CompositeExplicitAutograd, m) {
  m.impl("size", TORCH_BOX(&tile_size));
  m.impl("tile", TORCH_BOX(&tile));
}
