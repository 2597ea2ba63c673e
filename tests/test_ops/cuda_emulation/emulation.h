// Copyright (c) mmactive contributors. All rights reserved.
// Runs CUDA kernels on a CPU, slowly, for tests on machines without a GPU: the sources are
// compiled as plain C++ with the folder of this file first on the include path.
//
// The threads of a block are fibers that run one after another from barrier to barrier. Their
// order and the limits of the pretended GPU can be set, so that a test sees whether a result
// depends on them. Shared memory starts out as NaN and is checked for stray writes. Asynchronous
// copies happen as late as they may, and never where nobody waits for them.
#pragma once

#include <torch/csrc/stable/c/shim.h>
#include <torch/headeronly/util/Exception.h>
#include <torch/headeronly/util/shim_utils.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#define __global__
#define __device__
#define __shared__
#define __align__(bytes)
#define __launch_bounds__(...)

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

constexpr size_t kStackBytes = 128 * 1024;
constexpr size_t kSharedBytes = 256 * 1024;
constexpr size_t kDefaultSharedBytes = 48 * 1024;  // what a kernel gets without asking

struct Gpu {
  int64_t processors = 132;
  int64_t shared_bytes = 227 * 1024;
  int64_t order = 0;  // of the threads: 0 upwards, 1 downwards, else a seed
};

using Copies = std::vector<std::function<void()>>;

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  Copies copies;  // asynchronous ones that are not committed
  std::vector<Copies> committed;
  bool is_running = false;
};

inline Gpu gpu;
inline unsigned char* shared_memory;  // of the kernels under test, kSharedBytes
inline unsigned max_threads;  // of the kernels under test, their __launch_bounds__
inline std::map<const void*, size_t> granted_shared_bytes;  // by cudaFuncSetAttribute
inline std::vector<Fiber> fibers;
inline ucontext_t scheduler;
inline size_t current;
inline std::function<void()> body;

inline void run_fiber() {
  body();
  fibers[current].is_running = false;
}

inline void run_block(size_t shared_bytes) {
  const size_t count = blockDim.x * blockDim.y * blockDim.z;
  if (fibers.size() < count) fibers = std::vector<Fiber>(count);
  std::memset(shared_memory, 0xff, kSharedBytes);
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  if (gpu.order == 1) std::reverse(order.begin(), order.end());
  if (gpu.order > 1) std::shuffle(order.begin(), order.end(), std::mt19937(gpu.order));

  for (size_t i = 0; i < count; ++i) {
    getcontext(&fibers[i].context);
    fibers[i].context.uc_stack = {fibers[i].stack.get(), 0, kStackBytes};
    fibers[i].context.uc_link = &scheduler;
    fibers[i].copies.clear();
    fibers[i].committed.clear();
    fibers[i].is_running = true;
    makecontext(&fibers[i].context, run_fiber, 0);
  }
  // As on a GPU, threads that have returned do not hold up a barrier.
  for (bool is_running = true; is_running;) {
    is_running = false;
    for (const size_t i : order) {
      if (!fibers[i].is_running) continue;
      current = i;
      threadIdx = dim3(i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y);
      swapcontext(&scheduler, &fibers[i].context);
      is_running |= fibers[i].is_running;
    }
  }
  STD_TORCH_CHECK(
      std::all_of(
          shared_memory + shared_bytes, shared_memory + kSharedBytes,
          [](unsigned char byte) { return byte == 0xff; }),
      "a kernel wrote behind its shared memory");
}

}  // namespace emulation

inline void __syncthreads() {
  swapcontext(&emulation::fibers[emulation::current].context, &emulation::scheduler);
}

inline void __pipeline_memcpy_async(void* target, const void* source, size_t bytes) {
  STD_TORCH_CHECK(bytes == 4 || bytes == 8 || bytes == 16);
  STD_TORCH_CHECK(reinterpret_cast<uintptr_t>(target) % bytes == 0);
  STD_TORCH_CHECK(reinterpret_cast<uintptr_t>(source) % bytes == 0);
  emulation::fibers[emulation::current].copies.push_back(
      [=] { std::memcpy(target, source, bytes); });
}

inline void __pipeline_commit() {
  auto& fiber = emulation::fibers[emulation::current];
  fiber.committed.push_back(std::move(fiber.copies));
  fiber.copies.clear();
}

// Waits for all that was committed but the last `prior` times.
inline void __pipeline_wait_prior(size_t prior) {
  auto& committed = emulation::fibers[emulation::current].committed;
  while (committed.size() > prior) {
    for (const auto& copy : committed.front()) copy();
    committed.erase(committed.begin());
  }
}

using std::min;

// The part of CUDA's host interface that the operator uses.
using cudaError_t = int;
using cudaStream_t = void*;
constexpr cudaError_t cudaSuccess = 0;
constexpr cudaError_t cudaErrorInvalidConfiguration = 9;
enum cudaDeviceAttr { cudaDevAttrMaxSharedMemoryPerBlockOptin, cudaDevAttrMultiProcessorCount };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
};

inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrMultiProcessorCount ? emulation::gpu.processors
                                                       : emulation::gpu.shared_bytes;
  return cudaSuccess;
}

template <typename... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute, size_t bytes) {
  if (bytes > size_t(emulation::gpu.shared_bytes)) return cudaErrorInvalidConfiguration;
  emulation::granted_shared_bytes[reinterpret_cast<const void*>(kernel)] = bytes;
  return cudaSuccess;
}

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(
    const cudaLaunchConfig_t* config, void (*kernel)(Parameters...), Arguments&&... arguments) {
  gridDim = config->gridDim;
  blockDim = config->blockDim;
  const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
  const auto granted = emulation::granted_shared_bytes.find(reinterpret_cast<const void*>(kernel));
  const size_t shared_bytes = granted == emulation::granted_shared_bytes.end()
      ? emulation::kDefaultSharedBytes
      : std::max(emulation::kDefaultSharedBytes, granted->second);
  if (threads == 0 || threads > emulation::max_threads || gridDim.x == 0 ||
      gridDim.x > 0x7fffffffu || config->dynamicSmemBytes > shared_bytes) {
    return cudaErrorInvalidConfiguration;
  }
  emulation::body = [&] { kernel(arguments...); };
  for (unsigned block = 0; block < gridDim.x; ++block) {
    blockIdx = dim3(block, 0, 0);
    emulation::run_block(config->dynamicSmemBytes);
  }
  return cudaSuccess;
}

// What PyTorch's stable ABI has for devices of CUDA: the library finds these functions in itself
// before it looks into PyTorch's.
extern "C" {

AOTITorchError aoti_torch_create_device_guard(int32_t, DeviceGuardHandle* guard) {
  *guard = nullptr;
  return TORCH_SUCCESS;
}

AOTITorchError aoti_torch_delete_device_guard(DeviceGuardHandle) {
  return TORCH_SUCCESS;
}

AOTITorchError aoti_torch_get_current_cuda_stream(int32_t, void** stream) {
  *stream = nullptr;
  return TORCH_SUCCESS;
}

AOTITorchError torch_c10_cuda_check_msg(
    int32_t error, const char*, const char*, uint32_t, bool, char** message) {
  *message = error == cudaSuccess ? nullptr : strdup(("error " + std::to_string(error)).c_str());
  return TORCH_SUCCESS;
}

void torch_c10_cuda_free_error_msg(char* message) {
  free(message);
}

}  // extern "C"
