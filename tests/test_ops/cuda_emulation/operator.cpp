// Copyright (c) mmactive contributors. All rights reserved.
// The CUDA operator as the operator `mmactive_emulation` for tensors of the CPU.
#include <emulation.h>
#include <torch/library.h>

#undef TORCH_LIBRARY_IMPL
#define TORCH_LIBRARY_IMPL(ns, key, m) _TORCH_LIBRARY_IMPL(mmactive_emulation, CPU, m, __COUNTER__)

namespace mmactive {
namespace {
alignas(16) unsigned char shared_memory[emulation::kSharedBytes];
}  // namespace
}  // namespace mmactive

#include "../../../mmactive/ops/csrc/cuda/axial_deform_gather.cu"

namespace {

void set_gpu(int64_t processors, int64_t shared_bytes, int64_t order) {
  emulation::gpu = {processors, shared_bytes, order};
  emulation::shared_memory = mmactive::shared_memory;
  emulation::max_threads = mmactive::kMaxThreads;
}

// The index arithmetic, for numbers that no test has the memory for.
std::tuple<int64_t, int64_t, int64_t, int64_t> lines(
    int64_t batch, int64_t height, int64_t width, int64_t dim, int64_t line) {
  const mmactive::Lines lines(batch, height, width, dim);
  return {lines.count, lines.length, lines.stride, lines.first_token(line)};
}

std::vector<int64_t> column(
    const at::Tensor& input, const at::Tensor& offsets, int64_t dim, int64_t vector_length,
    int64_t threads, int64_t block, int64_t thread) {
  blockDim = dim3(threads);
  threadIdx = dim3(thread);
  const mmactive::Column column(
      block, mmactive::make_geometry(input, offsets, dim, vector_length));
  return {
      column.exists, column.vector, column.stride, column.offset, column.offset_stride};
}

// The number of blocks and their columns.
std::tuple<int64_t, int64_t> grid(const at::Tensor& input, const at::Tensor& offsets, int64_t dim) {
  const auto plan = mmactive::plan<1, float, float>(
      mmactive::make_geometry(input, offsets, dim, 1));
  return {plan.blocks, plan.threads.x};
}

}  // namespace

TORCH_LIBRARY(mmactive_emulation, m) {
  m.def("axial_deform_gather(Tensor input, Tensor offset, int dim) -> Tensor");
  m.def(
      "axial_deform_gather_backward(Tensor grad_output, Tensor input, Tensor offset, int dim) -> "
      "(Tensor, Tensor)");
  m.def("set_gpu(int processors, int shared_bytes, int order) -> ()", &set_gpu);
  m.def("lines(int batch, int height, int width, int dim, int line) -> (int, int, int, int)", &lines);
  m.def(
      "column(Tensor input, Tensor offsets, int dim, int vector_length, int threads, int block, "
      "int thread) -> int[]",
      &column);
  m.def("grid(Tensor input, Tensor offsets, int dim) -> (int, int)", &grid);
}
