// Copyright (c) mmactive contributors. All rights reserved.
// How the CPU kernels cut tensors into tiles, and where these lie: all that has to count beyond
// 32 bits. Knows the shapes and strides of the tensors only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "../axial_deform_gather.h"
#include "../stable.h"

namespace mmactive {

// Rows of zeros in a tile. A sample outside of the line has both neighbours there.
constexpr int kRowsBefore = 2;
constexpr int kRowsBehind = 2;

// What a token needs to know about its tile.
struct TileShape {
  int64_t length;  // tokens of a line
  int64_t groups;  // offsets of a token
  int64_t group_size;  // channels that share an offset
  int64_t stride;  // elements of a row, i.e. from one token of a line to the next
};

// How the tensors are cut into tiles.
struct Tiling {
  Lines lines;
  int64_t channels, groups, group_size;
  int64_t offset_stride;
  int64_t columns;  // neighbouring lines of a tile
  int64_t tile_groups;  // groups of a tile: all, or some of one line
  int64_t column_tiles, group_tiles;

  Tiling(const Shape& shape, int64_t dim, int64_t element_size)
      : lines(shape, dim),
        channels(shape.channels),
        groups(shape.groups),
        group_size(shape.group_size()),
        offset_stride(shape.offset_stride) {
    // A part of the second-level cache, in rows that are worth a memory access.
    constexpr int64_t kTileBytes = 256 * 1024, kMaxRowBytes = 1024, kMinRowBytes = 64;
    const int64_t length = kRowsBefore + lines.length + kRowsBehind;
    const int64_t row = std::clamp(kTileBytes / length, kMinRowBytes, kMaxRowBytes) / element_size;
    columns = std::clamp<int64_t>(row / channels, 1, lines.stride);
    tile_groups = channels * element_size * length <= kTileBytes
        ? groups
        : std::clamp<int64_t>(row / group_size, 1, groups);
    column_tiles = (lines.stride + columns - 1) / columns;
    group_tiles = (groups + tile_groups - 1) / tile_groups;
    MMACTIVE_CHECK_VALUE(
        element_size > 4 || lines.length <= 1 << 24,
        "input must have at most 2**24 tokens along dim, which float32 can count, but got ",
        lines.length);
    MMACTIVE_CHECK_VALUE(
        length * row_size() <= std::numeric_limits<int32_t>::max(),
        "input must have fewer than 2**31 elements along dim in a group, but got ", lines.length,
        " tokens and ", group_size, " channels in a group");
  }

  // Elements of a tile's row.
  int64_t row_size() const { return columns * tile_groups * group_size; }

  // Elements of a tile's buffer.
  int64_t buffer_size() const { return (kRowsBefore + lines.length + kRowsBehind) * row_size(); }

  // Calls `function(begin, end)` in parallel for ranges of tiles.
  template <typename Function>
  void for_each_range(const Function& function) const {
    constexpr int64_t kGrain = 32768;
    const int64_t tiles = lines.count / lines.stride * column_tiles * group_tiles;
    torch::stable::parallel_for(0, tiles, 1 + kGrain / (lines.length * row_size()), function);
  }
};

// One tile of many.
struct Tile {
  const Tiling& tiling;
  TileShape shape;
  int64_t columns;
  int64_t first_token;  // number of the first line's first token
  int64_t first_group;

  Tile(const Tiling& tiling, int64_t index) : tiling(tiling) {
    const Division part = divide(index, tiling.group_tiles);
    const Division image = divide(part.quotient, tiling.column_tiles);
    const int64_t column = image.remainder * tiling.columns;
    columns = std::min(tiling.columns, tiling.lines.stride - column);
    first_token = image.quotient * tiling.lines.length * tiling.lines.stride + column;
    first_group = part.remainder * tiling.tile_groups;
    shape = {
        tiling.lines.length, std::min(tiling.tile_groups, tiling.groups - first_group),
        tiling.group_size, tiling.row_size()};
  }

  int64_t channels() const { return shape.groups * shape.group_size; }

  int64_t token(int64_t row, int64_t column) const {
    return first_token + row * tiling.lines.stride + column;
  }

  // Where the channels and the offsets of a token begin.
  int64_t channel(int64_t token) const {
    return token * tiling.channels + first_group * shape.group_size;
  }

  int64_t offset(int64_t token) const { return token * tiling.offset_stride + first_group; }

  int64_t grad_offset(int64_t token) const { return token * tiling.groups + first_group; }
};

}  // namespace mmactive
