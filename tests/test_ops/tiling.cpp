// Copyright (c) mmactive contributors. All rights reserved.
// The index arithmetic of the CPU kernels, for tensors that no test has the memory for: it reads
// the shapes and strides of tensors on the meta device.
#include <torch/library.h>

#include "../../mmactive/ops/csrc/cpu/tiling.h"

namespace {

// The columns and groups of a tile.
std::tuple<int64_t, int64_t> tile_size(
    const at::Tensor& input, const at::Tensor& offsets, int64_t dim, int64_t element_size) {
  const mmactive::Tiling tiling(input, offsets, dim, element_size);
  return {tiling.columns, tiling.tile_groups};
}

// The columns and groups of tile `index` and, of its token at `row` and `column`, the places in
// the input, the offset and the gradient of the offset.
std::vector<int64_t> tile(
    const at::Tensor& input, const at::Tensor& offsets, int64_t dim, int64_t element_size,
    int64_t index, int64_t row, int64_t column) {
  const mmactive::Tiling tiling(input, offsets, dim, element_size);
  const mmactive::Tile tile(tiling, index);
  const int64_t token = tile.token(row, column);
  return {
      tile.columns, tile.shape.groups, tile.channel(token), tile.offset(token),
      tile.grad_offset(token)};
}

}  // namespace

TORCH_LIBRARY(mmactive_tiling, m) {
  m.def("size(Tensor input, Tensor offsets, int dim, int element_size) -> (int, int)", &tile_size);
  m.def(
      "tile(Tensor input, Tensor offsets, int dim, int element_size, int index, int row, "
      "int column) -> int[]",
      &tile);
}
