# LibTorch out of the PyPI wheel, CPU part only: LibTorch::cpu (libtorch_cpu) and LibTorch::c10.
#
# Not find_package(Torch): that drags in libtorch_cuda, demands a CUDA tool chain and defines a fake protobuf target.
# LIBTORCH_PREFIX is made by tools/setup: include/ holds links to ATen, c10, torch and caffe2 only, so the wheel's old protobuf,
# fmt and pybind11 headers stay out of sight; lib/ links to the wheel's torch/lib.
find_path(LibTorch_INCLUDE_DIR ATen/ATen.h HINTS ${LIBTORCH_PREFIX}/include NO_DEFAULT_PATH)
find_library(LibTorch_c10 c10 HINTS ${LIBTORCH_PREFIX}/lib NO_DEFAULT_PATH)
find_library(LibTorch_cpu torch_cpu HINTS ${LIBTORCH_PREFIX}/lib NO_DEFAULT_PATH)
if(LibTorch_INCLUDE_DIR)
  file(READ ${LibTorch_INCLUDE_DIR}/torch/headeronly/version.h _libtorch_version_h)
  set(_libtorch_version)
  foreach(_part MAJOR MINOR PATCH)
    string(REGEX MATCH "TORCH_VERSION_${_part} ([0-9]+)" _ "${_libtorch_version_h}")
    list(APPEND _libtorch_version ${CMAKE_MATCH_1})
  endforeach()
  list(JOIN _libtorch_version . LibTorch_VERSION)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LibTorch_cpu LibTorch_c10 LibTorch_INCLUDE_DIR
  VERSION_VAR LibTorch_VERSION)

if(LibTorch_FOUND AND NOT TARGET LibTorch::cpu)
  # The real directory, so that the wheel's own DT_RPATH ($ORIGIN/../../nvidia/...) resolves.
  file(REAL_PATH ${LIBTORCH_PREFIX}/lib _libtorch_lib)
  add_library(LibTorch::c10 SHARED IMPORTED)
  set_target_properties(LibTorch::c10 PROPERTIES IMPORTED_LOCATION ${_libtorch_lib}/libc10.so)
  target_include_directories(LibTorch::c10 SYSTEM INTERFACE
    ${LibTorch_INCLUDE_DIR} ${LibTorch_INCLUDE_DIR}/torch/csrc/api/include)
  add_library(LibTorch::cpu SHARED IMPORTED)
  set_target_properties(LibTorch::cpu PROPERTIES
    IMPORTED_LOCATION ${_libtorch_lib}/libtorch_cpu.so
    INTERFACE_LINK_LIBRARIES LibTorch::c10)
  target_link_options(LibTorch::cpu INTERFACE
    LINKER:-rpath-link,${_libtorch_lib}/../../nvidia/cu13/lib LINKER:-rpath-link,${_libtorch_lib})
endif()
