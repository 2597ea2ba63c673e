// Copyright (c) mmactive contributors. All rights reserved.
// The CUDA operators as operators of `mmactive_emulation` for tensors of the CPU.
#include <emulation.h>

#include <tuple>
#include <vector>

#include "../../../mmactive/ops/csrc/arguments.h"

#undef STABLE_TORCH_LIBRARY_IMPL
#define STABLE_TORCH_LIBRARY_IMPL(ns, key, m) \
  _STABLE_TORCH_LIBRARY_IMPL(mmactive_emulation, CPU, m, __COUNTER__)

namespace mmactive {
namespace {
alignas(16) unsigned char shared_memory[emulation::kSharedBytes];
}  // namespace
}  // namespace mmactive

#include "../../../mmactive/ops/csrc/cuda/axial_deform_gather.cu"
#include "../../../mmactive/ops/csrc/cuda/axial_shift.cu"

namespace {

void set_gpu(int64_t processors, int64_t shared_bytes, int64_t order) {
  emulation::gpu = {processors, shared_bytes, order};
  emulation::shared_memory = mmactive::shared_memory;
  emulation::max_threads = mmactive::kMaxThreads;
}

// The index arithmetic, for numbers that no test has the memory for.
mmactive::Geometry geometry(
    const std::vector<int64_t>& s, bool is_double, int64_t dim, int64_t vector_length) {
  const mmactive::Shape shape{s[0], s[1], s[2], s[3], s[4], s[5]};
  return mmactive::make_geometry(
      shape, is_double ? mmactive::ScalarType::Double : mmactive::ScalarType::Float, dim,
      vector_length);
}

std::tuple<int64_t, int64_t, int64_t, int64_t> lines(
    std::vector<int64_t> shape, int64_t dim, int64_t line) {
  const mmactive::Lines lines = geometry(shape, true, dim, 1).lines;
  return {lines.count, lines.length, lines.stride, lines.first_token(line)};
}

std::vector<int64_t> column(
    std::vector<int64_t> shape, int64_t dim, int64_t vector_length, int64_t threads, int64_t block,
    int64_t thread) {
  blockDim = dim3(threads);
  threadIdx = dim3(thread);
  const mmactive::Column column(block, geometry(shape, false, dim, vector_length));
  return {column.exists, column.vector, column.stride, column.offset, column.offset_stride};
}

// The number of blocks and their columns.
std::tuple<int64_t, int64_t> grid(std::vector<int64_t> shape, bool is_double, int64_t dim) {
  const auto plan = mmactive::plan<1, float, float>(geometry(shape, is_double, dim, 1));
  return {plan.blocks, plan.threads.x};
}

}  // namespace

// A shape is N, H, W, C, G and what lies between the offsets of two tokens.
STABLE_TORCH_LIBRARY(mmactive_emulation, m) {
  m.def("axial_deform_gather(Tensor input, Tensor offset, int dim) -> Tensor");
  m.def(
      "axial_deform_gather_backward(Tensor grad_output, Tensor input, Tensor offset, int dim) -> "
      "(Tensor, Tensor)");
  m.def("axial_shift(Tensor input, int[] shifts, int dim, bool border) -> Tensor");
  m.def("axial_shift_backward(Tensor grad, int[] shifts, int dim, bool border) -> Tensor");
  m.def("set_gpu(int processors, int shared_bytes, int order) -> ()");
  m.def("lines(int[] shape, int dim, int line) -> (int, int, int, int)");
  m.def(
      "column(int[] shape, int dim, int vector_length, int threads, int block, int thread) -> "
      "int[]");
  m.def("grid(int[] shape, bool is_double, int dim) -> (int, int)");
}

_STABLE_TORCH_LIBRARY_IMPL(mmactive_emulation, CompositeExplicitAutograd, m, helpers) {
  m.impl("set_gpu", TORCH_BOX(&set_gpu));
  m.impl("lines", TORCH_BOX(&lines));
  m.impl("column", TORCH_BOX(&column));
  m.impl("grid", TORCH_BOX(&grid));
}
