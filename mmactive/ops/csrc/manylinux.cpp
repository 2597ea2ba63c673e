// Copyright (c) mmactive contributors. All rights reserved.
// Lets a library that was compiled on a new Linux load on every Linux that PyTorch's wheels load
// on, from glibc 2.28 and the libstdc++ of GCC 8 on: defines here what the headers would otherwise
// ask newer ones for.
#include <new>
#include <sstream>

#if defined(__x86_64__) && defined(__GLIBC__)

// These constructors are older as templates than as symbols of libstdc++.
template class std::basic_ostringstream<char>;
template class std::basic_stringstream<char>;

// What GCC 11 and later call where a container would be too large.
namespace std {
void __throw_bad_array_new_length() {
  throw bad_array_new_length();
}
}  // namespace std

extern "C" {

// A variable of glibc 2.32, which saves a std::shared_ptr an atomic instruction.
__attribute__((visibility("hidden"))) char __libc_single_threaded;

// glibc 2.34 moved it, and gave it a new version.
__asm__(".symver dlsym_2_2_5, dlsym@GLIBC_2.2.5");
void* dlsym_2_2_5(void* handle, const char* name);

__attribute__((visibility("hidden"))) void* dlsym(void* handle, const char* name) {
  return dlsym_2_2_5(handle, name);
}

}  // extern "C"

#endif
