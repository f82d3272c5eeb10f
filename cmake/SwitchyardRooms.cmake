# One CMake library a room, one test executable a room. The arrows between rooms are checked by tools/check_layers.
#
#   switchyard_room(NAME [TORCH] SOURCES ... [DEPS ...])
#     A static library switchyard_NAME (alias switchyard::NAME). TORCH rooms get LibTorch and share one precompiled ATen header.
#   switchyard_test(NAME [TORCH] SOURCES ... DEPS ... [LABELS label] [TIMEOUT seconds])
#     A GoogleTest executable NAME, one CTest test per TEST(), labelled with its room (the directory's name) unless LABELS says otherwise.

include(GoogleTest)

# Every test runs with passive OpenMP waiting: libgomp's default spinning stalls each parallel region as soon as another thread wants a core.
set(SWITCHYARD_TEST_ENVIRONMENT "GOMP_SPINCOUNT=0")

# Sanitizers make everything several times slower.
set(SWITCHYARD_TIMEOUT_FACTOR 1)
if(SWITCHYARD_SANITIZE)
  set(SWITCHYARD_TIMEOUT_FACTOR 6)
endif()

function(switchyard_use_torch target)
  target_link_libraries(${target} PUBLIC LibTorch::cpu)
  if(SWITCHYARD_PCH)
    if(NOT TARGET switchyard_aten_pch)
      file(WRITE ${CMAKE_BINARY_DIR}/aten_pch.cc "")
      add_library(switchyard_aten_pch OBJECT ${CMAKE_BINARY_DIR}/aten_pch.cc)
      # Threads: its -pthread changes a predefined macro, and a precompiled header is only used where the macros are the same.
      target_link_libraries(switchyard_aten_pch PUBLIC LibTorch::cpu Threads::Threads)
      target_precompile_headers(switchyard_aten_pch PRIVATE <ATen/ATen.h>)
    endif()
    get_target_property(type ${target} TYPE)
    if(type STREQUAL EXECUTABLE)
      # CMake compiles executables with -fPIE; a precompiled header is only used where the flags are the same.
      set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
      target_compile_options(${target} PRIVATE -fPIC)
    endif()
    target_precompile_headers(${target} REUSE_FROM switchyard_aten_pch)
  endif()
endfunction()

function(switchyard_room name)
  cmake_parse_arguments(ARG "TORCH" "" "SOURCES;DEPS" ${ARGN})
  add_library(switchyard_${name} STATIC ${ARG_SOURCES})
  add_library(switchyard::${name} ALIAS switchyard_${name})
  target_include_directories(switchyard_${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(switchyard_${name} PUBLIC ${ARG_DEPS})
  if(ARG_TORCH)
    switchyard_use_torch(switchyard_${name})
  endif()
endfunction()

function(switchyard_test name)
  cmake_parse_arguments(ARG "TORCH" "TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  if(NOT SWITCHYARD_BUILD_TESTS)
    return()
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  if(ARG_TORCH)
    switchyard_use_torch(${name})
  endif()
  math(EXPR ARG_TIMEOUT "${ARG_TIMEOUT} * ${SWITCHYARD_TIMEOUT_FACTOR}")
  # One label, the room unless LABELS says otherwise: gtest_discover_tests takes lists apart.
  if(NOT ARG_LABELS)
    get_filename_component(ARG_LABELS ${CMAKE_CURRENT_SOURCE_DIR} NAME)
  endif()
  gtest_discover_tests(${name}
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
    # A parameter is named by its test's own generator; printed as bytes it would be another name every run.
    NO_PRETTY_VALUES
    DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 120
    PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS ${ARG_LABELS} ENVIRONMENT "${SWITCHYARD_TEST_ENVIRONMENT}")
endfunction()

# A libFuzzer target when SWITCHYARD_FUZZ is on (clang); otherwise the same entry point runs over its seed corpus and a fixed
# number of mutations of it as an ordinary test.
#   switchyard_fuzz(NAME SOURCES ... DEPS ... [CORPUS directory])
function(switchyard_fuzz name)
  cmake_parse_arguments(ARG "" "CORPUS" "SOURCES;DEPS" ${ARGN})
  if(NOT SWITCHYARD_BUILD_TESTS)
    return()
  endif()
  if(SWITCHYARD_FUZZ)
    add_executable(${name} ${ARG_SOURCES})
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  else()
    add_executable(${name} ${ARG_SOURCES} ${PROJECT_SOURCE_DIR}/tests/fuzz/replay_main.cc)
    add_test(NAME ${name}.replay COMMAND ${name} ${ARG_CORPUS} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    math(EXPR timeout "120 * ${SWITCHYARD_TIMEOUT_FACTOR}")
    set_tests_properties(${name}.replay PROPERTIES TIMEOUT ${timeout} LABELS fuzz)
  endif()
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
endfunction()
